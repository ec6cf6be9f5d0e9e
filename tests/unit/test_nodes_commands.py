"""Commands beside a running node: keys of merchants, consents, scores, journal, and the witness's decisions."""

from __future__ import annotations

import json
import signal
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

from crypto.consent_receipts import check_acknowledgement
from crypto.jws import generate_merchant_key, merchant_public
from crypto.key_line import KeyLine
from crypto.wire.consent import Acknowledgement
from crypto.wire.party import MerchantKeySubmission
from nodes.fingerprint import party_fingerprint
from nodes.journal import verify_lines
from tests.node_commands import RelayServer, call, done, refused, running
from tests.scoring_answers import expected_score, write_config
from tests.scoring_world import ScoringWorld


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, RelayServer]]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    # Commands have the machine's clock.
    world.now = _now()
    world.heartbeat()
    server = RelayServer(world)
    for name in world.nodes:
        write_config(world, name, server.url)
    yield world, server
    server.close()
    world.close()


@pytest.fixture
def world(served: tuple[ScoringWorld, RelayServer], monkeypatch: pytest.MonkeyPatch) -> ScoringWorld:
    monkeypatch.setenv("DIGUA_LANG", "en")
    served[0].now = _now()
    served[0].heartbeat()
    return served[0]


def _now() -> datetime:
    return datetime.now(UTC)


def batch_of(world: ScoringWorld, keys: Path, out: Path, bank: str = "bank-01") -> Result:
    arguments = ("merchants", "batch", "--keys", keys, "--countersigner", bank, "--out", out, "--json")
    return call(world, "platform", *arguments)


def test_keys_go_from_platform_to_bank_to_hub_beside_running_agents(world: ScoringWorld, tmp_path: Path) -> None:
    agents = [running(world, name) for name in ("platform", "bank-01")]
    try:
        ids = tmp_path / "ids.csv"
        ids.write_text("id\nM001\nM002\nnew-1\n", encoding="utf-8")
        mapped = tmp_path / "pseudonyms.json"
        facts = done(call(world, "platform", "merchants", "pseudonyms", "--ids", ids, "--out", mapped, "--json"))
        assert (facts["merchants"], facts["evaluated"]) == (3, 1)
        pseudonyms = json.loads(mapped.read_text())
        assert urlsafe_b64decode(pseudonyms["M001"]) == world.merchants["M001"].pseudonym
        assert len(urlsafe_b64decode(pseudonyms["new-1"])) == 32

        keys = tmp_path / "keys.ndjson"
        lines = [
            json.dumps({"pseudonym": pseudonyms[each], "jwk": merchant_public(generate_merchant_key())})
            for each in ("M001", "M002")
        ]
        keys.write_text("\n".join(lines) + "\n", encoding="utf-8")
        batch, signed = tmp_path / "batch.json", tmp_path / "signed.json"
        done(batch_of(world, keys, batch))
        done(call(world, "bank-01", "merchants", "countersign", "--batch", batch, "--out", signed, "--json"))
        facts = done(call(world, "platform", "merchants", "submit", "--batch", signed, "--json"))
        assert facts["stored"] == 2
        assert world.relay.submissions[-1] == MerchantKeySubmission.model_validate_json(signed.read_bytes())

        stranger = json.dumps({"pseudonym": pseudonyms["new-1"], "jwk": world.merchants["M003"].leaf.jwk})
        keys.write_text(f"{lines[0]}\n{stranger}\n", encoding="utf-8")
        done(batch_of(world, keys, batch))
        refused(
            call(world, "bank-01", "merchants", "countersign", "--batch", batch, "--out", signed, "--json"),
            "merchant-not-customer",
        )
        # The agents run on, and their own store still takes writes from this process.
        world.give("M001")
        assert world.nodes["bank-01"].consents.of_merchant(world.merchants["M001"].pseudonym, world.now)
        assert [process.poll() for process in agents] == [None, None]
    finally:
        for process in agents:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in agents] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("pseudonyms", "--ids", "absent.csv", "--out", "x"), "batch-invalid"),
        (("pseudonyms", "--ids", "absent.csv", "--out", "x", "--id-type", "name"), "config-invalid"),
        (("batch", "--keys", "absent", "--countersigner", "bank-01", "--out", "x"), "config-invalid"),
        (("submit", "--batch", "absent"), "config-invalid"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    world: ScoringWorld, arguments: tuple[str, ...], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call(world, "platform", "merchants", *arguments, "--json"), code)


def test_a_bad_key_line_is_named(world: ScoringWorld, tmp_path: Path) -> None:
    keys = tmp_path / "keys.ndjson"
    keys.write_text('{"pseudonym": "x"}\n')
    assert f"{keys}:1" in refused(batch_of(world, keys, tmp_path / "x"), "config-invalid")["what"]
    keys.write_text(world.merchants["M001"].leaf.model_dump_json() + "\n")
    refused(batch_of(world, keys, tmp_path / "x", "nobody"), "party-unknown")


def test_consents_are_listed_and_shown(world: ScoringWorld) -> None:
    record = world.give("M003")
    world.nodes["lender"].runtime.pseudonyms.ensure(["M003"])
    lines = done(call(world, "lender", "consent", "list", "--id", "M003", "--json"))["consents"]
    assert isinstance(lines, list)
    assert [line["consent_id"] for line in lines] == [record.record_id]
    lines = done(call(world, "lender", "consent", "list", "--json"))["consents"]
    assert isinstance(lines, list)
    assert record.record_id in {line["consent_id"] for line in lines}
    shown = done(call(world, "lender", "consent", "show", record.record_id, "--json"))
    assert shown["state"] == "active"
    world.change(record, "revoked", merchant="M003")
    assert done(call(world, "lender", "consent", "state", record.record_id, "--json"))["state"] == "revoked"
    assert done(call(world, "lender", "consent", "state", "0" * 32, "--json"))["state"] == "unknown"
    refused(call(world, "lender", "consent", "show", "0" * 32, "--json"), "consent-unknown")
    plain = call(world, "lender", "consent", "list")
    assert plain.exit_code == 0
    assert "revoked" in plain.stdout


def test_consents_are_brought_to_the_hub_for_receipts(world: ScoringWorld, tmp_path: Path) -> None:
    record = world.record("M001")
    items = [world.consent_item(record), world.event_item(record, "revoked")]
    assert items[0].consent is not None
    receipts = tmp_path / "receipts.ndjson"
    for token, more in ((items[0].consent.consent, ()), (items[1].token, ("--events",))):
        file = tmp_path / "tokens.json"
        file.write_text(json.dumps({"tokens": [token]}), encoding="utf-8")
        arguments = ("consent", "submit", file, "--receipts", receipts, *more)
        facts = done(call(world, "platform", *arguments, "--json"))
        assert facts == {"stored": 1, "known": 0, "receipts": 1, "file": str(receipts)}
    kept = [Acknowledgement.model_validate_json(line) for line in receipts.read_text().splitlines()]
    found = [check_acknowledgement(each, KeyLine.of(world.hub_key.public), hub_id="hub") for each in kept]
    assert [each.kind for each in found] == ["consent", "consent-event"]
    assert call(world, "platform", *arguments).exit_code == 0
    file.write_text("{}")
    refused(call(world, "platform", *arguments, "--json"), "config-invalid")


def test_scores_are_asked_for(world: ScoringWorld, tmp_path: Path) -> None:
    model_id = world.release()
    for merchant in ("M002", "M004"):
        world.give(merchant)
    one = done(call(world, "lender", "query", "score", "--id", "M002", "--json"))
    assert (one["score"], one["model_id"]) == (expected_score(world, "M002"), model_id)
    assert one["reason_texts"]
    plain = call(world, "lender", "query", "score", "--id", "M002")
    assert str(one["score"]) in plain.stdout

    world.relay.lost = {"tax-01"}
    failed = refused(call(world, "lender", "query", "score", "--id", "M002", "--json"), "score-unavailable")
    world.relay.lost = set()
    assert "tax-01: source-unreachable" in failed["what"]
    refused(call(world, "lender", "query", "score", "--id", "M002", "--purpose", "fun", "--json"), "config-invalid")


def test_the_journal_is_exported_and_verified(world: ScoringWorld, tmp_path: Path) -> None:
    world.release(world.artefact(7))
    path = tmp_path / "journal.ndjson"
    facts = done(call(world, "tax-01", "audit", "journal", "export", "--out", path, "--json"))
    number, last = verify_lines(world.nodes["tax-01"].journal.lines())
    assert facts["entries"] == number > 0
    for more in ((), (path,)):
        checked = done(call(world, "tax-01", "audit", "journal", "verify", *more, "--json"))
        assert checked == {"entries": number, "last_hash": last.hex()}
    path.write_text(path.read_text().replace("model-release", "model-relapse", 1))
    refused(call(world, "tax-01", "audit", "journal", "verify", path, "--json"), "journal-broken")


def test_the_witnesss_owner_decides(world: ScoringWorld) -> None:
    party = world.parties["tax-02"]
    fingerprint = party_fingerprint("tax-02", "tax", party.sign_key, party.box_key)
    listed = done(call(world, "witness", "witness", "list", "--json"))["parties"]
    assert isinstance(listed, list)
    assert {line["party_id"]: line["approved"] for line in listed}["tax-02"] == fingerprint
    assert done(call(world, "witness", "witness", "revoke", "tax-02", "--json"))["was_approved"] is True
    assert "tax-02" in world.witness.approvals.unapproved([party])
    assert call(world, "witness", "witness", "list").exit_code == 0
    wrong = "SHA256:" + "A" * 43
    refused(call(world, "witness", "witness", "approve", "tax-02", wrong, "--json"), "config-invalid")
    assert done(call(world, "witness", "witness", "approve", "tax-02", fingerprint, "--json"))["approved"] is True
    assert world.witness.approvals.unapproved([party]) == []
    spent = done(call(world, "witness", "witness", "ledger", "--json"))
    assert (spent["epsilon_spent"], spent["campaigns"]) == (0.0, [])
    assert call(world, "witness", "witness", "ledger").exit_code == 0
    refused(call(world, "tax-01", "witness", "ledger", "--json"), "config-invalid")
