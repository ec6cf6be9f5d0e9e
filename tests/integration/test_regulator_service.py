"""The witness's mirror of a served hub's log, over its real link and HTTP, and its pages over that mirror."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from hub.tables.log import LogEntryRow, LogPendingRow
from models.web.access import Access
from models.web.rights import Role
from models.web.signin import Browser
from nodes.config import PagesConfig
from nodes.errors import LogMismatch
from nodes.web.app import create_pages
from nodes.witness.inspection import verify_inspection
from nodes.witness.mirror import Mirror
from nodes.witness.mirror_search import MirrorSearch, Wanted
from nodes.witness.openings import open_record, read_record
from tests.served_world import ServedWorld, wait_until

SITE = "https://witness.example.org"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[ServedWorld]:
    nodes = {"bank": 1, "tax": 1, "utility": 1}
    world = ServedWorld(tmp_path_factory.mktemp("served"), merchants=30, nodes=nodes, scores=5)
    yield world
    world.close()


def mirror_of(world: ServedWorld) -> Mirror:
    witness = world.witness.services.witness
    assert witness is not None
    return witness.mirror


def follow(world: ServedWorld) -> Mirror:
    """Mirror all that the hub has logged by now, once the witness has cosigned it."""
    wait_until(lambda: placed(world), what="a place in the log for every entry")
    mirror, size = mirror_of(world), world.hub.log.reader.size()
    wait_until(lambda: mirror.progress().cosigned >= size, what="a cosigned checkpoint over all entries")
    assert mirror.catch_up().complete
    return mirror


def placed(world: ServedWorld) -> bool:
    with world.hub.db.reading() as session:
        return session.scalars(select(LogPendingRow).limit(1)).first() is None


def log_something(world: ServedWorld, name: str) -> None:
    world.hub.enrolment.issue_token("bank", name, valid_for=timedelta(hours=1))
    before = mirror_of(world).progress().verified
    wait_until(lambda: world.hub.log.reader.size() > before, what="the entry's place")


def test_the_mirror_is_the_hubs_log_and_opens_a_merchants_own_record(world: ServedWorld) -> None:
    mirror = follow(world)
    search = MirrorSearch(mirror.store)
    held = [each.leaf.decode() for each in search.leaves()]
    assert held == world.hub.log.reader.entries(0, 1000)
    assert search.search(Wanted(type="consent")).total == 30
    for row in range(3):
        pseudonym = world.pseudonyms[row].tobytes()
        records = world.hub.merchant_records.of(pseudonym)
        opened = open_record(read_record(records.model_dump_json().encode()), search)
        assert opened.number("verified") == len(opened.entries) >= 1
        (history,) = opened.histories
        assert [(step.entry.type, step.signed) for step in history.steps] == [("consent", True)]


def test_a_hub_that_alters_an_entry_after_it_was_cosigned_is_found_out(world: ServedWorld) -> None:
    mirror = follow(world)
    before = mirror.progress().verified
    log_something(world, "bank-77")
    wait_until(lambda: mirror.progress().cosigned > before, what="a cosigned checkpoint")
    with world.hub.db.session() as session:
        true = session.scalars(select(LogEntryRow.leaf).where(LogEntryRow.index == before)).one()
        lie = true.replace(b"bank-77", b"bank-78")
        session.execute(update(LogEntryRow).where(LogEntryRow.index == before).values(leaf=lie))
    with pytest.raises(LogMismatch):
        mirror.catch_up()
    assert mirror.progress().verified == before
    assert [each.code for each in mirror.alarms()] == ["log-mismatch"]
    notes = [json.loads(line.entry) for line in world.witness.services.journal.lines() if line.type == "mirror-alarm"]
    assert [each["facts"]["code"] for each in notes] == ["log-mismatch"]
    with world.hub.db.session() as session:
        session.execute(update(LogEntryRow).where(LogEntryRow.index == before).values(leaf=true))
    assert mirror.catch_up().complete
    assert mirror.alarms() == []


def test_the_witness_own_application_serves_the_regulator(world: ServedWorld) -> None:
    follow(world)
    runtime = world.witness.runtime
    runtime.config = runtime.config.model_copy(
        update={"pages": PagesConfig.model_validate({"origin": SITE, "proxies": ["127.0.0.1/32"]})}
    )
    app = create_pages(world.witness.services, connected=lambda: True)
    access: Access = app.state.access
    token = access.people.add("li", [Role.REGULATOR])
    code = pyotp.TOTP(access.people.sign_up(token).totp_secret).at(datetime.now(UTC))
    phrase = "four words in a row"
    entry, _ = access.desk.join_by_password(token, phrase, phrase, code, Browser("127.0.0.1"))
    browser = TestClient(app, base_url=SITE, headers={"accept": "text/html"}, follow_redirects=False)
    browser.cookies.set("__Host-digua", entry.session_id)
    size = mirror_of(world).progress().verified
    assert f"{size} / {size}" in browser.get("/regulator").text
    for path in ("log", f"log/{size - 1}", "checkpoints", "parties", "models", "merchant", "reconciliation"):
        assert browser.get(f"/regulator/{path}").status_code == 200, path
    page = browser.get("/regulator/inspection?type=enrolment").text
    token_field = page.partition('name="csrf_token" value="')[2].partition('"')[0]
    sent = {"csrf_token": token_field, "type": "enrolment"}
    headers = {"origin": SITE, "sec-fetch-site": "same-origin"}
    data = browser.post("/regulator/inspection", data=sent, headers=headers).content
    content = verify_inspection(data, runtime.identity.public)
    assert (content.inspector, len(content.entries)) == ("li", 5)
