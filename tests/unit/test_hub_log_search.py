"""Search: what is found is what a look at every entry finds, page by page, with its number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.log_index import BLOCK, commit
from crypto.wire.audit import EntryType, LogEntry
from crypto.wire.service import LogSearchPage, MerchantRecords, OpenedEntry
from hub.app import create_app
from hub.commands.audit_search import commitments_of
from hub.doctor import examine
from hub.errors import RequestError
from hub.log import NewEntry
from hub.log_search import LogQuery
from hub.tables.log import LogPostingRow
from tests.hub_world import START, HubWorld

MODEL = "sha256:" + "ab" * 32
PSEUDONYM = b"p" * 32
TYPES: tuple[EntryType, ...] = ("query", "query-result", "voprf")


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    world.join(world.witness)
    world.settle()
    for number in range(1, 10):
        world.now = START + timedelta(hours=number if number % 5 else number - 2)
        entries = [
            NewEntry(
                "query",
                f"bank-0{1 + place % 3}",
                PSEUDONYM if place % 7 == 0 else b"q" * 32,
                {"sources": f"tax-0{number % 2},utility-01", "model_id": MODEL if place % 2 else None},
                {"consent": b"consent"},
            )
            for place in range(60 * number)
        ]
        entries += [NewEntry("query-result", "hub-lishui", facts={"answers": 2})] * number
        entries.append(NewEntry("table-opened", "hub-lishui", facts={"campaign_id": f"c-{number % 3}"}))
        with world.hub.db.session() as session:
            world.hub.log.append_many(session, entries)
        world.settle()
    yield world
    world.hub.close()


@pytest.fixture(scope="module")
def every(world: HubWorld) -> list[tuple[int, LogEntry]]:
    leaves: list[str] = []
    while page := world.hub.log.reader.entries(len(leaves), 1000):
        leaves += page
    return list(enumerate(map(LogEntry.model_validate_json, leaves)))


def looked_at(every: list[tuple[int, LogEntry]], query: LogQuery) -> list[int]:
    """The same question put to every entry, plainly."""
    found = []
    for index, entry in every:
        named = {entry.actor, *str(entry.facts.get("sources")).split(","), entry.facts.get("party_id")}
        if (
            (query.party is None or query.party in named)
            and (query.campaign is None or entry.facts.get("campaign_id") == query.campaign)
            and (query.model is None or entry.facts.get("model_id") == query.model)
            and (not query.types or entry.type in query.types)
            and (query.since is None or entry.time >= query.since)
            and (query.until is None or entry.time <= query.until)
            and (query.commitments is None or entry.subject in query.commitments)
        ):
            found.append(index)
    return found[::-1]


moments = st.none() | st.integers(-2, 12).map(lambda number: START + timedelta(hours=number))


@given(
    party=st.none() | st.sampled_from(["bank-01", "tax-01", "utility-01", "hub-lishui", "witness-zj", "nobody"]),
    campaign=st.none() | st.none() | st.sampled_from(["c-0", "c-9"]),
    model=st.none() | st.sampled_from([MODEL]),
    types=st.lists(st.sampled_from(TYPES), max_size=2).map(tuple),
    times=st.tuples(moments, moments).filter(lambda each: each[0] is None or each[1] is None or each[0] <= each[1]),
    limit=st.sampled_from([1, 7, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_search_finds_what_a_look_at_every_entry_finds(
    world: HubWorld,
    every: list[tuple[int, LogEntry]],
    party: str | None,
    campaign: str | None,
    model: str | None,
    types: tuple[str, ...],
    times: tuple[datetime | None, datetime | None],
    limit: int,
) -> None:
    query = LogQuery(
        party=party, campaign=campaign, model=model, types=types, since=times[0], until=times[1], limit=limit
    )
    page = world.hub.log_search.find(query)
    expected = looked_at(every, query)
    assert [each.index for each in page.entries] == expected[:limit]
    assert (page.count, page.size) == (len(expected), len(every))
    assert page.next == (expected[limit - 1] if len(expected) > limit else None)
    assert all(each.entry == every[each.index][1] for each in page.entries)


def test_pages_join_to_the_whole(world: HubWorld, every: list[tuple[int, LogEntry]]) -> None:
    query = LogQuery(party="tax-01", limit=90)
    found: list[int] = []
    before: int | None = None
    while True:
        page = world.hub.log_search.find(LogQuery(party="tax-01", limit=90, before=before))
        found += [each.index for each in page.entries]
        before = page.next
        if before is None:
            break
    assert len(found) > BLOCK // 4
    assert found == looked_at(every, query)


def test_a_merchants_entries_are_found_by_its_salts_alone(world: HubWorld, tmp_path: Path) -> None:
    own = world.hub.log.reader.of_merchant(PSEUDONYM)
    assert len(own) > 300
    entries = tuple(OpenedEntry(log_index=None, entry=each.leaf, salt=each.salt) for each in own)
    records = MerchantRecords(pii_principal_id=PSEUDONYM, time=START, consents=(), queries=(), keys=(), entries=entries)
    file = tmp_path / "record.json"
    file.write_text(records.model_dump_json())
    found = world.hub.log_search.find(LogQuery(commitments=commitments_of(file), limit=1000))
    assert [each.index for each in found.entries] == [each.index for each in own][::-1]
    by_consent = LogQuery(commitments=(commit(own[5].salt, b"consent"),))
    assert [each.index for each in world.hub.log_search.find(by_consent).entries] == [own[5].index]
    # Without the salt, or with another, nothing is found; so too where only the first bytes agree.
    near = commit(own[5].salt, PSEUDONYM)[:8] + bytes(24)
    for nothing in ((), (PSEUDONYM,), (near,), (commit(b"other", PSEUDONYM),)):
        assert world.hub.log_search.find(LogQuery(commitments=nothing)).count == 0
    file.write_text("{}")
    with pytest.raises(RequestError, match="no merchant's record"):
        commitments_of(file)


def test_an_entry_may_commit_to_one_value_twice(world: HubWorld) -> None:
    twice = b"t" * 32
    with world.hub.db.session() as session:
        world.hub.log.append(session, "query-result", "hub-lishui")
        world.hub.log.append_many(session, [NewEntry("consent", "hub-lishui", twice, {}, {"consent": twice})])
    world.settle()
    (own,) = world.hub.log.reader.of_merchant(twice)
    found = world.hub.log_search.find(LogQuery(commitments=(commit(own.salt, twice),)))
    assert [each.index for each in found.entries] == [own.index]


def test_over_http(world: HubWorld, every: list[tuple[int, LogEntry]]) -> None:
    client = TestClient(create_app(world.hub))
    asked = {"party": "tax-01", "type": ["query"], "limit": 3, "since": "2026-03-01T10:00:00Z"}
    answer = client.get("/v1/log/search", params=asked)
    page = LogSearchPage.model_validate_json(answer.content)
    query = LogQuery(party="tax-01", types=("query",), since=START + timedelta(hours=2), limit=3)
    assert [each.index for each in page.entries] == looked_at(every, query)[:3]
    assert page.count == len(looked_at(every, query))
    assert json.loads(page.entries[0].entry)["type"] == "query"
    for wrong in (
        {"type": "nothing"},
        {"since": "yesterday"},
        {"since": "2026-03-01T10:00:00"},
        {"commitment": "zz"},
        {"commitment": ["ab" * 32] * 65},
        {"limit": 1001},
        {"before": -1},
        {"since": "2026-03-02T10:00:00Z", "until": "2026-03-01T10:00:00Z"},
    ):
        refused = client.get("/v1/log/search", params=wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "request-invalid"), wrong


def test_an_index_that_says_something_else_is_found_by_the_doctor(world: HubWorld) -> None:
    assert examine(world.hub) == []
    with world.hub.db.session() as session:
        row = session.get_one(LogPostingRow, ("party:tax-01", 0))
        kept, row.bits = row.bits, row.bits[:-1]
    assert examine(world.hub) == ["the search index of party:tax-01 in block 0 is not what the entries give"]
    with world.hub.db.session() as session:
        session.get_one(LogPostingRow, ("party:tax-01", 0)).bits = kept
