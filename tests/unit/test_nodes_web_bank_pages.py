"""The bank's pages: who may open which, forms that count once, nothing hostile becomes markup, identifiers stay."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from crypto.wire.campaign import TablesMechanism
from models.artefact import PrivacyEntry
from models.published_table import PublishedTable
from models.tables import feature_bins, from_codes
from models.web.rights import Role
from nodes.journal import JournalLine
from tests.bank_site import HTML, SAME_SITE, BankSite, Client
from tests.scoring_answers import expected_score
from tests.scoring_world import SCHEMA, ScoringWorld

HOSTILE = "<script>alert(1)</script>'\"&amp;{{7*7}}"
OFFICER, STEWARD, CLERK, OWNER = Role.RISK_OFFICER, Role.DATA_STEWARD, Role.COUNTER_CLERK, Role.OWNER
READABLE = {
    "/bank/score": {OFFICER},
    "/bank/batches": {OFFICER},
    "/bank/consents": {OFFICER, CLERK},
    "/bank/usage": {OFFICER, STEWARD, OWNER},
    "/bank/ledger": {STEWARD, OWNER},
    "/bank/ledger.csv": {STEWARD, OWNER},
    "/bank/data": {STEWARD},
    "/bank/data/progress": {STEWARD},
    "/bank/contribution": {STEWARD, OWNER},
    "/bank/journal": {STEWARD, OWNER},
    "/bank/journal.ndjson": {STEWARD, OWNER},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.release()
    yield world
    world.close()


@pytest.fixture(scope="module")
def site(world: ScoringWorld) -> Iterator[BankSite]:
    site = BankSite(world.nodes["bank-02"])
    site.desk.start()
    yield site
    site.desk.stop()


@pytest.fixture(scope="module")
def officer(site: BankSite) -> Client:
    return site.client(OFFICER)


@pytest.fixture(scope="module")
def steward(site: BankSite) -> Client:
    return site.client(STEWARD)


@pytest.fixture(autouse=True)
def fresh(world: ScoringWorld) -> None:
    world.heartbeat()
    world.relay.seen.clear()


def customer(world: ScoringWorld, **changes: object) -> str:
    merchant = world.newcomer()
    world.know("bank-02", merchant)
    world.give(merchant, recipients=("bank-02",), **changes)
    return merchant


def test_every_page_is_open_to_its_roles_alone(site: BankSite) -> None:
    nobody = Client(site.app, base_url=site.origin, headers=HTML)
    for path in READABLE:
        led = nobody.get(path, follow_redirects=False)
        assert (led.status_code, led.headers["location"]) == (303, f"/signin?next={path}")
    for role in (OFFICER, STEWARD, CLERK, OWNER):
        client = site.client(role, name=f"only-{role}")
        for path, roles in READABLE.items():
            assert client.get(path).status_code == (200 if role in roles else 403), (role, path)
        first = client.get("/bank", follow_redirects=False).headers["location"]
        assert role in READABLE[first]
        places = set(re.findall(r'<li><a href="(/bank/[^"]+)"', client.get(first).text))
        places.discard("/bank/tickets")  # it asks a hub; its own tests have one
        assert places == {path for path, roles in READABLE.items() if role in roles and "." not in path} - {
            "/bank/data/progress"
        }


def test_a_form_from_elsewhere_is_refused(world: ScoringWorld, site: BankSite, officer: Client) -> None:
    merchant = customer(world)
    hidden = officer.fields("/bank/score")
    data = {**hidden, "identifier": merchant, "purpose": "credit-scoring"}
    for headers in ({"origin": "https://evil.example"}, {**SAME_SITE, "sec-fetch-site": "cross-site"}, {}):
        assert officer.post("/bank/score", data=data, headers=headers).status_code == 403
    assert officer.post("/bank/score", data={**data, "csrf_token": "x"}, headers=SAME_SITE).status_code == 403
    other = site.client(OFFICER, name="other")
    assert other.post("/bank/score", data=data, headers=SAME_SITE).status_code == 403
    assert not world.relay.seen
    for path in ("/bank/batches", "/bank/batches/" + "0" * 32 + "/forget", "/bank/data", "/bank/journal"):
        assert officer.post(path, headers={"origin": "https://evil.example"}).status_code == 403


def test_a_score_in_both_languages(world: ScoringWorld, officer: Client) -> None:
    merchant = customer(world)
    page = officer.submit("/bank/score", {"identifier": merchant.lower(), "purpose": "credit-scoring"})
    assert page.status_code == 200
    for text in (
        str(expected_score(world, merchant)),
        merchant,
        "tax-01",
        "降低了评分",
        "审计日志证明",
        "hub.example/log",
    ):
        assert text in page.text
    officer.get("/bank/score?lang=en")
    again = officer.submit("/bank/score", {"identifier": merchant, "purpose": "credit-scoring"})
    officer.get("/bank/score?lang=zh")
    assert "lowered the score" in again.text
    assert len(world.relay.seen) == 6  # two forms, two questions of three sources


def test_a_repeated_form_asks_nobody_twice(world: ScoringWorld, officer: Client) -> None:
    merchant = customer(world)
    data = {**officer.fields("/bank/score"), "identifier": merchant, "purpose": "credit-scoring", "model": ""}
    first, second = (officer.post("/bank/score", data=data, headers=SAME_SITE) for _ in range(2))
    assert first.text == second.text
    assert len(world.relay.seen) == 3


def test_refusals_say_in_words_what_to_do(world: ScoringWorld, officer: Client) -> None:
    found = officer.submit("/bank/score", {"identifier": "M003", "purpose": "credit-scoring"})
    assert found.status_code == 422
    assert "请先取得商户授权" in found.text
    assert 'href="/bank/consents"' in found.text
    merchant = customer(world)
    world.relay.lost = {"tax-01"}
    lost = officer.submit("/bank/score", {"identifier": merchant, "purpose": "credit-scoring"})
    world.relay.lost = set()
    assert "数据来源无法连接" in lost.text
    assert lost.text.count("已答复") == 2
    wrong = officer.submit("/bank/score", {"identifier": "a\x07", "purpose": "credit-scoring"})
    assert "含有控制字符。请去掉控制字符。" in wrong.text
    assert 'aria-invalid="true"' in wrong.text
    assert not [request for _, request in world.relay.seen if request.items[0].pseudonym not in known(world)]


def known(world: ScoringWorld) -> set[bytes]:
    return {each.pseudonym for each in world.merchants.values()}


@pytest.mark.parametrize(
    "changes",
    [{"purpose": "model-training"}, {"purpose": HOSTILE}, {"model": "../x"}, {"form": "short"}, {"identifier": ""}],
)
def test_a_form_with_other_values_than_it_offers_asks_nobody(
    world: ScoringWorld, officer: Client, changes: dict[str, str]
) -> None:
    data = {"identifier": "M001", "purpose": "credit-scoring", **changes}
    assert officer.submit("/bank/score", data).status_code == 422
    assert not world.relay.seen


def test_identifiers_are_in_no_address_log_or_title(
    world: ScoringWorld, site: BankSite, officer: Client, caplog: pytest.LogCaptureFixture
) -> None:
    merchant = customer(world)
    caplog.set_level(logging.DEBUG)
    pages = [
        officer.submit("/bank/score", {"identifier": merchant, "purpose": "credit-scoring"}),
        officer.submit("/bank/consents", {"identifier": merchant, "purpose": "credit-scoring"}),
    ]
    for page in pages:
        assert page.status_code == 200
        assert merchant in page.text
        assert merchant not in str(page.url)
        assert merchant not in re.search(r"<title>(.*?)</title>", page.text, re.S)[1]  # type: ignore[index]
        assert not [
            value for _, name, value in Seen(page.text).attributes if name in ("href", "action") and merchant in value
        ]
        assert page.headers["cache-control"] == "no-store"
        assert merchant not in str(page.headers)
    assert merchant not in caplog.text
    lines: list[JournalLine] = list(world.nodes["bank-02"].journal.lines())
    assert not [line for line in lines if merchant.encode() in line.entry]
    looks = site.access.looks
    assert {each.what for each in looks.at(merchant)} == {"score", "consents"}


class Seen(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def test_hostile_identifiers_stay_text(world: ScoringWorld, officer: Client) -> None:
    for path in ("/bank/score", "/bank/consents"):
        page = officer.submit(path, {"identifier": HOSTILE, "purpose": "credit-scoring"})
        seen = Seen(page.text)
        assert "script" not in seen.tags
        assert HOSTILE.upper() in [value for _, name, value in seen.attributes if name == "value"]
        assert "49" not in re.findall(r"\{\{.*?\}\}", page.text)


def test_consents_of_a_merchant(world: ScoringWorld, officer: Client) -> None:
    merchant = customer(world)
    page = officer.submit("/bank/consents", {"identifier": merchant, "purpose": "credit-scoring"})
    for text in ("可以查询评分", "信用评分、模型训练", "每日 5 次", "商户授权", "tax-01"):
        assert text in page.text
    other = officer.submit("/bank/consents", {"identifier": "nobody-here", "purpose": "pre-qualification"})
    assert "本节点没有该商户的信息" in other.text


def hand_in(officer: Client, text: str | bytes, name: str = "list.csv") -> object:
    data = text.encode() if isinstance(text, str) else text
    return officer.submit("/bank/batches", {"purpose": "credit-scoring"}, files={"file": (name, data, "text/csv")})


def test_a_file_from_hand_in_to_download(world: ScoringWorld, site: BankSite, officer: Client) -> None:
    merchants = [customer(world), customer(world)]
    page = hand_in(officer, "id\n" + "\n".join(merchants) + "\nM003\n", name=HOSTILE + ".csv")
    path = page.url.path  # type: ignore[attr-defined]
    assert re.fullmatch(r"/bank/batches/[0-9a-f]{32}", path)
    deadline = time.monotonic() + 60
    while officer.get(path + "/progress").json()["state"] != "finished":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shown = officer.get(path).text
    assert "请先取得商户授权" in shown
    assert not [each for each in (*merchants, HOSTILE) if each in shown]
    csv = officer.get(path + "/results")
    assert csv.headers["content-disposition"].endswith('-zh.csv"')
    lines = csv.text.splitlines()
    assert lines[0].startswith("\ufeff商户标识,评分")
    assert lines[1].startswith(f"{merchants[0]},{expected_score(world, merchants[0])},")
    assert [each.what for each in site.access.looks.at(path.rpartition("/")[2])] == ["batch-results"]
    assert path in officer.get("/bank/batches").text
    gone = officer.submit(path + "/forget", page=path)
    assert gone.url.path == "/bank/batches"
    assert officer.get(path).status_code == 404
    assert officer.get("/bank/batches/" + "x" * 32).status_code == 404
    assert officer.get("/bank/batches/..%2f..%2fetc").status_code == 404


def test_a_wrong_file_is_told_row_by_row(world: ScoringWorld, officer: Client) -> None:
    page = hand_in(officer, "id\nM001\n\nm001\na\x07\n")
    text = page.text  # type: ignore[attr-defined]
    assert page.status_code == 422  # type: ignore[attr-defined]
    assert "有误的行：2 行" in text
    assert "该商户已在第 1 行出现" in text
    assert "含有控制字符" in text
    assert "没有名为 id 的列" in hand_in(officer, "name\nx\n").text  # type: ignore[attr-defined]
    assert "请选择文件" in officer.submit("/bank/batches", {"purpose": "credit-scoring"}).text
    assert not world.relay.seen


def test_a_file_that_is_too_large_is_refused(officer: Client) -> None:
    assert hand_in(officer, b"id\n" + b"x" * (17 << 20)).status_code == 413  # type: ignore[attr-defined]


def test_the_books_of_the_node(world: ScoringWorld, steward: Client) -> None:
    ledger = world.nodes["bank-02"].runtime.ledger
    ledger.record_send(
        campaign_id=HOSTILE,
        attempt=f"{HOSTILE}/scorecard/1",
        h=bytes(32),
        payload=b"x",
        mechanisms=(TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=40.0, count=10),),
    )
    for path in ("/bank/usage?days=366", "/bank/ledger?q=" + "%3Cscript%3E", "/bank/contribution", "/bank/journal"):
        page = steward.get(path)
        assert page.status_code == 200, path
        assert "alert(1)</script>" not in page.text
        assert "script" not in Seen(page.text).tags
    assert "预算已用" in steward.get("/bank/ledger").text
    rows = steward.get("/bank/ledger.csv").text.splitlines()
    assert rows[0].startswith("campaign,attempt,sent_at")
    assert len(rows) == 2
    assert '"seq": 1' in steward.get("/bank/journal.ndjson").text
    checked = steward.submit("/bank/journal")
    assert "哈希链完整" in checked.text
    for query in ("?before=x", "?before=" + "9" * 15, "?group=" + HOSTILE, "?group=asked&before=5"):
        assert steward.get("/bank/journal" + query).status_code == 200


def test_points_of_a_model_are_given_as_files(world: ScoringWorld, officer: Client) -> None:
    features = feature_bins(world.schema)
    rng = np.random.default_rng(6)
    kinds = {kind: [each for each in features if each.kind == kind] for kind in ("bank", "tax", "utility")}
    codes = {
        kind: np.stack([rng.integers(0, each.width, 900) for each in held], axis=1).astype(np.uint8)
        for kind, held in kinds.items()
    }
    table = from_codes(features, codes, rng.integers(0, 2, 900)).with_gaussian_noise(rng, 6.0, 6.0)
    model_id = world.release(world.artefact(cohort_size=900, table_digest=table.digest()))
    path = f"/bank/models/{model_id}/points"
    assert f'href="{path}?format=xlsx"' in officer.get("/bank/usage").text
    bare = openpyxl.load_workbook(BytesIO(officer.get(path).content))["分值"]
    assert all(bare.cell(row, 5).value is None for row in range(2, bare.max_row + 1))
    world.relay.tables[f"/v1/models/{model_id}/table"] = PublishedTable.of(table).model_dump_json().encode()
    full = openpyxl.load_workbook(BytesIO(officer.get(path).content))["分值"]
    assert full.max_row == bare.max_row == 1 + 1 + 3 + sum(each.width for each in features)
    assert sum(full.cell(row, 5).value is not None for row in range(2, full.max_row + 1)) == full.max_row - 5
    text = officer.get(f"{path}?format=csv")
    assert text.headers["content-disposition"].endswith('.csv"')
    other = table.with_gaussian_noise(rng, 6.0, 6.0)
    world.relay.tables[f"/v1/models/{model_id}/table"] = PublishedTable.of(other).model_dump_json().encode()
    assert officer.get(path).status_code >= 400
    assert officer.get("/bank/models/sha256:" + "0" * 64 + "/points").status_code >= 400
    world.withdraw(model_id)


def test_the_data_are_checked_beside_the_server(world: ScoringWorld, steward: Client) -> None:
    assert "尚未检查过数据" in steward.get("/bank/data").text
    table = world.nodes["bank-02"].runtime.config.datasets[0].file
    assert table is not None
    before = table.read_text()
    table.write_text(before.replace("M001,25", "M001,<script>alert(1)</script>"))
    assert steward.submit("/bank/data").url.path == "/bank/data"
    finish(steward)
    shown = steward.get("/bank/data").text
    table.write_text(before)
    assert "第 2 行，age 列" in shown
    assert "alert(1)" not in shown
    assert str(table.parent) not in shown
    steward.submit("/bank/data")
    finish(steward)
    assert "年龄" in steward.get("/bank/data").text


def finish(steward: Client) -> None:
    deadline = time.monotonic() + 60
    while steward.get("/bank/data/progress").json()["state"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_hostile_names_of_a_schema_stay_text(tmp_path: Path) -> None:
    """Titles come from a YAML file that others wrote."""
    hostile = json.dumps(HOSTILE)
    (tmp_path / "w").mkdir()
    world = ScoringWorld(tmp_path / "w", schema=SCHEMA.replace("Age", hostile).replace("年龄", hostile))
    world.release(world.artefact(privacy=privacy()))
    site = BankSite(world.nodes["bank-02"])
    client = site.client(OFFICER, STEWARD)
    merchant = customer(world)
    pages = [client.submit("/bank/score", {"identifier": merchant, "purpose": "credit-scoring"})]
    client.submit("/bank/data")
    finish(client)
    pages += [client.get(path) for path in ("/bank/data", "/bank/contribution", "/bank/usage")]
    world.close()
    for page in pages:
        assert page.status_code == 200
        assert "script" not in Seen(page.text).tags
    assert "&lt;script&gt;alert" in pages[0].text


def privacy() -> PrivacyEntry:
    return PrivacyEntry(
        noise="on",
        epsilon=1.0,
        delta=1e-5,
        epsilon_replace_one=2.0,
        t_collude=1,
        mu=0.3,
        stages=("scorecard",),
        mechanisms=(),
    )
