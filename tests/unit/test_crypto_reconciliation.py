"""The comparison of the hub's queries with those of one node's journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from crypto.reconciliation import Comparison, Discrepancy, compare_queries
from crypto.wire.audit import LogEntry

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def query(name: str, item: int = 0, *, at: int = 0, sources: str = "tax-01,utility-01") -> LogEntry:
    facts = {"request_hash": name * 64, "item": item, "sources": sources}
    return LogEntry(type="query", time=NOW + timedelta(minutes=at), actor="bank-01", facts=facts)


def test_equal_sides_agree() -> None:
    both = [query("a"), query("a", 1), query("b")]
    assert compare_queries(both, both[::-1], party="tax-01") == Comparison((), 3, 0)


def test_what_one_side_lacks_is_named_in_order_of_time() -> None:
    found = compare_queries(
        [query("a", at=5), query("b", at=1), query("b", at=1), query("c", sources="bank-02")],
        [query("b", at=1), query("d", at=2)],
        party="tax-01",
    )
    assert found.compared == 1
    assert [(each.request_hash[0], each.only_in) for each in found.discrepancies] == [
        ("b", "hub"),
        ("d", "node"),
        ("a", "hub"),
    ]
    assert found.discrepancies[1] == Discrepancy("d" * 64, 0, "node", (NOW + timedelta(minutes=2)).isoformat())


def test_what_is_newer_than_the_other_side_is_undecided() -> None:
    found = compare_queries(
        [query("a", at=5), query("b", at=10)],
        [query("c", at=11), query("d", at=3)],
        party="tax-01",
        hub_end=NOW + timedelta(minutes=11),
        node_end=NOW + timedelta(minutes=10),
    )
    assert found.undecided == 2
    assert [(each.request_hash[0], each.only_in) for each in found.discrepancies] == [("d", "node"), ("a", "hub")]


def test_entries_of_other_types_count_for_nothing() -> None:
    other = LogEntry(type="voprf", time=NOW, actor="tax-01", facts={"sources": "tax-01", "request_hash": "a" * 64})
    assert compare_queries([other], [other], party="tax-01") == Comparison((), 0, 0)
