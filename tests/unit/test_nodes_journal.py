"""The node's journal: a chain that shows what was altered, and an export that reconciles with the hub's log."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crypto.canonical import canonical_bytes
from crypto.wire.audit import LogEntry
from hub.reconciliation import reconcile
from nodes.errors import JournalError
from nodes.journal import Decided, Decision, Journal, read_export, verify_lines
from nodes.store import Store

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "node.db")


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store, "bank-01", clock=lambda: NOW)


def query(journal: Journal, store: Store, number: int, codes: tuple[str, ...] = ("answered",)) -> None:
    with store.session() as session:
        decisions = [Decision(item, code) for item, code in enumerate(codes)]
        journal.queries(session, [Decided(bytes([number]) * 32, {"requester": "lender"}, decisions)], NOW)


def test_entries_are_chained_and_come_back_in_order(journal: Journal, store: Store) -> None:
    journal.note("model-release", {"model_id": "m"})
    query(journal, store, 1, ("answered", "consent-revoked"))
    query(journal, store, 1, ("feed-stale", "feed-stale"))  # decided again
    with store.session() as session:
        journal.note("feed-item-refused", {"seq": 1, "code": "x"}, session=session)
    lines = list(journal.lines())
    types = ["model-release", "query", "query", "query-decided-again", "feed-item-refused"]
    assert [line.type for line in lines] == types
    assert json.loads(lines[3].entry)["facts"]["decisions"] == "feed-stale"
    assert [line.seq for line in lines] == [1, 2, 3, 4, 5]
    assert verify_lines(lines) == (5, lines[-1].hash)
    assert journal.count() == 5
    entry = LogEntry.model_validate_json(lines[2].entry)
    assert entry.facts == {
        "request_hash": "01" * 32,
        "item": 1,
        "decision": "consent-revoked",
        "requester": "lender",
    }


def test_entries_are_found_by_their_type_alone(journal: Journal, store: Store) -> None:
    journal.note("query-sent", {"items": 1})
    query(journal, store, 1)
    journal.note("other", {"words": ',"type":"query-sent"}'})
    journal.note("query-sent", {"items": 2})
    assert [line.seq for line in journal.of_types("query-sent")] == [1, 4]
    assert [line.seq for line in journal.of_types("query-sent", "query")] == [1, 2, 4]
    assert [line.seq for line in journal.of_types("query_sent")] == []  # no wildcard
    assert [line.seq for line in journal.page(limit=2)] == [4, 3]
    assert [line.seq for line in journal.page(before=3)] == [2, 1]
    assert [line.seq for line in journal.page("query-sent", before=4)] == [1]


def test_a_failed_transaction_leaves_no_entry(journal: Journal, store: Store) -> None:
    def fail() -> None:
        with store.session() as session:
            journal.note("model-release", {}, session=session)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert journal.count() == 0


def test_an_export_verifies_and_shows_every_change(journal: Journal, store: Store, tmp_path: Path) -> None:
    for number in range(5):
        query(journal, store, number)
    path = tmp_path / "journal.ndjson"
    assert journal.export(path) == 5
    assert verify_lines(read_export(path))[0] == 5
    lines = path.read_text().splitlines()
    changed = {
        "altered": [*lines[:2], lines[2].replace("lender", "lendor"), *lines[3:]],
        "left out": [*lines[:1], *lines[2:]],
        "moved": [lines[1], lines[0], *lines[2:]],
        "twice": [lines[0], *lines],
    }
    for bad in changed.values():
        path.write_text("\n".join(bad) + "\n")
        with pytest.raises(JournalError, match="hold together"):
            verify_lines(read_export(path))
    path.write_text("[]\n")
    with pytest.raises(JournalError, match=re.escape(f"{path}:1")):
        verify_lines(read_export(path))
    with pytest.raises(JournalError):
        list(read_export(tmp_path / "absent"))
    with pytest.raises(JournalError):
        journal.export(tmp_path / "no" / "folder")


def test_a_change_in_the_store_shows(journal: Journal, store: Store) -> None:
    query(journal, store, 1)
    query(journal, store, 2)
    with sqlite3.connect(store.path) as raw:
        raw.execute("UPDATE journal SET entry = CAST(replace(entry, 'answered', 'refused!') AS BLOB) WHERE seq = 1")
    with pytest.raises(JournalError, match="entry 1"):
        verify_lines(journal.lines())


def test_two_writers_make_one_chain(journal: Journal, store: Store) -> None:
    other = Journal(Store.open(store.path), "bank-01", clock=lambda: NOW)

    def write(mine: Journal) -> None:
        for number in range(20):
            mine.note("model-release", {"number": number})

    threads = [threading.Thread(target=write, args=(each,)) for each in (journal, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify_lines(journal.lines())[0] == 40


def test_queries_reconcile_with_the_hubs_log(journal: Journal, store: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        query(journal, store, number)
    journal.note("model-release", {})
    journal.export(tmp_path / "node.ndjson")
    with (tmp_path / "hub.ndjson").open("w") as file:
        for number in (2, 3):
            facts: dict[str, str | int | bool | None] = {
                "request_hash": (bytes([number]) * 32).hex(),
                "item": 0,
                "sources": "bank-01,tax-01",
            }
            entry = LogEntry(type="query", time=NOW, actor="lender", facts=facts)
            file.write(json.dumps({"index": number, "entry": canonical_bytes(entry).decode()}) + "\n")
    found = reconcile(tmp_path / "hub.ndjson", tmp_path / "node.ndjson")
    assert {(each.request_hash[:2], each.only_in) for each in found} == {("01", "node"), ("03", "hub")}
