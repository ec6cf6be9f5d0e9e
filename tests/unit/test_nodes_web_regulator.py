"""The regulator's pages: what they answer to whom, without a browser."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from crypto.checkpoint import parse_note
from crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from crypto.wire.audit import ConsistencyProof, EntryType, InclusionProof
from models.i18n import catalogue
from models.web.rights import Role, grant_at
from nodes.fingerprint import party_fingerprint
from nodes.web import regulator_desk, regulator_words
from nodes.web.regulator import NAV, ROUTERS
from nodes.witness.inspection import verify_inspection
from tests.regulator_world import RECORD_ID, RegulatorWorld

SITE = "https://witness.example.org"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegulatorWorld]:
    world = RegulatorWorld(tmp_path_factory.mktemp("regulator"), origin=SITE)
    yield world
    world.close()


def client(world: RegulatorWorld, session: str | None) -> TestClient:
    found = TestClient(world.app(), base_url=SITE, headers={"accept": "text/html"}, follow_redirects=False)
    found.cookies.set("digua_lang", "en")
    if session is not None:
        found.cookies.set("__Host-digua", session)
    return found


@pytest.fixture(scope="module")
def inspector(world: RegulatorWorld) -> TestClient:
    return client(world, world.enter("wang", Role.INSPECTOR))


@pytest.fixture
def regulator(world: RegulatorWorld) -> TestClient:
    name = f"li{world.access.now:%m%d%H%M%S}"
    return client(world, world.enter(name, Role.REGULATOR))


def post(browser: TestClient, page: str, path: str | None = None, **sent: Any) -> Any:
    """Send the form of a page as a browser does, with the token that stands in it."""
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page).text)
    assert token is not None
    data = {"csrf_token": token[1], **sent.pop("data", {})}
    headers = {"origin": SITE, "sec-fetch-site": "same-origin"}
    return browser.post(path or page, data=data, headers=headers, **sent)


def test_every_route_stands_in_the_rights_table() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) >= 18
    for route in routes:
        for method in route.methods:
            assert grant_at("witness", f"{method} {route.path}") is not None, (method, route.path)


def test_nobody_reads_without_a_sign_in_and_an_owner_reads_nothing(world: RegulatorWorld) -> None:
    stranger = client(world, None)
    owner = client(world, world.enter("owner", Role.OWNER))
    for item in NAV:
        assert stranger.get(item.path).status_code == 303
        assert owner.get(item.path).status_code == 403


def test_pages_show_the_verified_log(inspector: TestClient, world: RegulatorWorld) -> None:
    page = inspector.get("/regulator").text
    assert f"{len(world.leaves)} / {len(world.leaves)}" in page
    assert "lishui" in page
    found = inspector.get("/regulator/log?type=query&party=tax-01").text
    assert "Query" in found
    assert found.count('<th scope="row"') == 40
    assert inspector.get("/regulator/log?party=nobody").text.count("No entry fits.") == 1
    assert "was left out" in inspector.get("/regulator/log?since=yesterday").text


@pytest.mark.parametrize("path", ["/regulator/log", "/regulator/inspection"])
def test_hostile_searches_stay_text(inspector: TestClient, path: str) -> None:
    fields = ("party", "campaign", "model", "type", "since", "until", "below")
    for value in (HOSTILE, "'; DROP TABLE mirror_entries; --", "\x00", "9" * 400, "-1"):
        response = inspector.get(path, params=dict.fromkeys(fields, value))
        assert response.status_code == 200
        assert HOSTILE not in response.text


def test_an_entry_comes_with_a_proof_that_verifies(inspector: TestClient, world: RegulatorWorld) -> None:
    for index in (0, 17, len(world.leaves) - 1):
        response = inspector.get(f"/regulator/log/{index}/proof.json")
        proof = InclusionProof.model_validate_json(response.content)
        head = parse_note(proof.checkpoint)[0]
        assert proof.entry.encode() == world.leaves[index]
        verify_inclusion(leaf_hash(world.leaves[index]), index, head.size, proof.hashes, head.root)
        assert "attachment" in response.headers["content-disposition"]
        assert inspector.get(f"/regulator/log/{index}").status_code == 200
    for index in (len(world.leaves), "x", -1, 1 << 60):
        assert inspector.get(f"/regulator/log/{index}").status_code in (400, 404)


def test_two_checkpoints_are_compared(inspector: TestClient, world: RegulatorWorld) -> None:
    new, old = (each.size for each in world.desk.checkpoints.newest(limit=2))
    assert inspector.get(f"/regulator/checkpoints?old={old}&new={new}").status_code == 200
    data = inspector.get(f"/regulator/checkpoints/proof.json?old={old}&new={new}").content
    proof = ConsistencyProof.model_validate_json(data)
    first, second = parse_note(proof.old)[0], parse_note(proof.new)[0]
    verify_consistency(first.size, first.root, second.size, second.root, proof.hashes)
    for wrong in (f"old={new}&new={old}", "old=1&new=2", f"old={HOSTILE}&new=", "old=&new=9"):
        response = inspector.get(f"/regulator/checkpoints?{wrong}")
        assert response.status_code == 422
        assert HOSTILE not in response.text


def test_a_refused_checkpoint_is_an_alarm_on_every_page(tmp_path: Path) -> None:
    world = RegulatorWorld(tmp_path, origin=SITE)
    browser = client(world, world.enter("wang", Role.INSPECTOR))
    text = "its log does not extend what was cosigned"
    assert text not in browser.get("/regulator/models").text
    world.fork()
    for path in ("/regulator/models", "/regulator"):
        assert text in browser.get(path).text
    assert "as it was offered" in browser.get("/regulator/checkpoints").text
    world.close()


def test_a_merchants_record_opens_its_entries_and_the_look_is_recorded(
    inspector: TestClient, world: RegulatorWorld
) -> None:
    looks = world.access.access.looks
    before = looks.count()
    file = {"file": ("record.json", world.record(), "application/json")}
    shown = post(inspector, "/regulator/merchant", files=file)
    assert shown.status_code == 200
    assert RECORD_ID in shown.text
    assert "Consent revoked" in shown.text
    assert looks.count() == before + 1
    pasted = post(inspector, "/regulator/merchant", data={"text": world.record().decode()})
    assert pasted.status_code == 200
    assert [each.what for each in looks.newest(limit=2)] == ["merchant-record"] * 2
    for wrong in (b"", HOSTILE.encode(), b"{}"):
        refused = post(inspector, "/regulator/merchant", files={"file": ("x", wrong)})
        assert refused.status_code == 422
        assert HOSTILE not in refused.text
    assert looks.count() == before + 2


def test_a_journal_is_reconciled(inspector: TestClient, world: RegulatorWorld) -> None:
    whole = post(inspector, "/regulator/reconciliation", files={"file": ("j", world.journal_of("tax-01"))})
    assert "tell of the same queries" in whole.text
    lacking = post(
        inspector, "/regulator/reconciliation", files={"file": ("j", world.journal_of("tax-01", lacking=True))}
    )
    assert "do not tell of the same queries" in lacking.text
    assert "in the hub&#39;s log only" in lacking.text
    for wrong in (b"", b"\xff\xfe", HOSTILE.encode()):
        refused = post(inspector, "/regulator/reconciliation", files={"file": ("j", wrong)})
        assert refused.status_code == 422
        assert HOSTILE not in refused.text


def test_an_inspection_file_is_signed_and_names_its_inspector(inspector: TestClient, world: RegulatorWorld) -> None:
    response = post(
        inspector,
        "/regulator/inspection?party=tax-01&type=query",
        "/regulator/inspection",
        data={
            "party": "tax-01",
            "type": "query",
            "since": "2026-02-26",
            "until": "never",
        },
    )
    content = verify_inspection(response.content, world.witness.public)
    assert (content.inspector, content.search.party, content.search.until) == ("wang", "tax-01", None)
    assert content.entries
    assert {json.loads(each.entry)["type"] for each in content.entries} == {"query"}
    strange = post(inspector, "/regulator/inspection", data={"party": HOSTILE})
    assert verify_inspection(strange.content, world.witness.public).entries == ()


def test_a_party_is_approved_by_the_fingerprint_that_was_typed(regulator: TestClient, world: RegulatorWorld) -> None:
    party = world.propose_party("bank-77")
    right = party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)
    wrong = post(
        regulator, "/regulator/parties", "/regulator/parties/bank-77/approve", data={"fingerprint": "SHA256:no"}
    )
    assert wrong.status_code == 422
    assert world.approvals.unapproved([party]) == ["bank-77"]
    done = post(regulator, "/regulator/parties", "/regulator/parties/bank-77/approve", data={"fingerprint": right})
    assert done.status_code == 303
    assert world.approvals.unapproved([party]) == []
    post(regulator, "/regulator/parties", "/regulator/parties/bank-77/withdraw")
    assert world.approvals.unapproved([party]) == ["bank-77"]


def test_a_model_is_decided_with_its_card(regulator: TestClient, world: RegulatorWorld) -> None:
    model_id = world.propose_model()
    path = f"/regulator/models/{model_id}"
    assert "waits for your word" in regulator.get("/regulator/models").text
    assert "ε" in regulator.get(path).text
    assert "<svg" in regulator.get(f"{path}/card").text
    assert post(regulator, path, f"{path}/refuse", data={"reason": "  "}).status_code == 422
    assert post(regulator, path, f"{path}/refuse", data={"reason": HOSTILE}).status_code == 303
    page = regulator.get(path).text
    assert "refused by you" in page
    assert HOSTILE not in page
    assert post(regulator, path, f"{path}/approve").status_code == 303
    assert [each.state for each in world.models.list()] == ["approved"]
    assert regulator.get(f"/regulator/models/sha256:{'0' * 64}").status_code == 404


def test_an_inspector_decides_nothing_and_a_stale_sign_in_neither(
    inspector: TestClient, regulator: TestClient, world: RegulatorWorld
) -> None:
    party = world.propose_party("bank-88")
    fingerprint = party_fingerprint(party.party_id, party.kind, party.sign_key, party.box_key)
    path, sent = "/regulator/parties/bank-88/approve", {"fingerprint": fingerprint}
    assert post(inspector, "/regulator/merchant", path, data=sent).status_code == 403
    assert "Fingerprint as the party" not in inspector.get("/regulator/parties").text
    world.access.later(minutes=6)
    assert post(regulator, "/regulator/parties", path, data=sent).status_code in (303, 401, 403)
    assert world.approvals.unapproved([party]) == ["bank-88"]
    elsewhere = regulator.post(
        path, data=sent, headers={"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    )
    assert elsewhere.status_code == 403


# texts


def test_all_words_of_the_pages_have_a_chinese_text() -> None:
    assert set(regulator_words.TYPES) <= set(get_args(EntryType))
    assert regulator_words.type_text("a-type-without-a-word") == "a-type-without-a-word"
    names = ("TYPES", "FACTS", "EVENTS", "PLACES", "MODEL_STATES")
    texts = {text for name in names for text in getattr(regulator_words, name).values()} - {"ε", "δ"}
    texts |= {item.text for item in NAV}
    texts |= {*regulator_desk._MIRROR_ALARM.values(), *regulator_desk._MIRROR_REMEDY.values()}
    folder = Path(regulator_desk.__file__).parent
    for file in folder.glob("regulator*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(getattr(call.func, "value", call.func), "id", "") == "Column":
                texts.add(ast.literal_eval(call.args[1]))
    known = [catalogue("nodes"), catalogue("models")]
    missing = sorted(text for text in texts - {"ε"} if not any(each.has("zh", text) for each in known))
    assert not missing


SCRIPTS = sorted((Path(regulator_desk.__file__).parent / "static" / "proof").glob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_out_of_text(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|https?:|import\(", text
    )
    assert all(name.startswith("./") for name in re.findall(r"from \"([^\"]+)\"", text))
