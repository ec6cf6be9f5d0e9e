"""Search of the witness's mirror against a plain scan."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint
from crypto.log_index import BLOCK, indexed
from crypto.merkle import leaf_hash
from crypto.merkle import root as tree_root
from crypto.wire.audit import LogEntry
from nodes.witness.mirror import Mirror, open_mirror
from nodes.witness.mirror_search import MirrorSearch, Wanted

START = datetime(2026, 3, 1, tzinfo=UTC)
PARTIES = ("bank-01", "bank-02", "tax-01", "hub")
MODELS = tuple(f"sha256:{digit * 64}" for digit in "ab")
SIZE = BLOCK + 900


def made(rng: random.Random, index: int) -> LogEntry:
    time = START + timedelta(seconds=10 * index + rng.randrange(-30, 30))
    actor = rng.choice(PARTIES)
    what = rng.randrange(3)
    if what == 0:
        return LogEntry(type="manifest", time=time, actor="hub", facts={"campaign_id": f"c-{rng.randrange(3)}"})
    if what == 1:
        subject = hashlib.sha256(index.to_bytes(4, "big")).digest()
        facts = {"model_id": rng.choice(MODELS), "sources": "tax-01,utility-01", "consent": f"{index:064x}"}
        return LogEntry(type="query", time=time, actor=actor, subject=subject, facts=facts)
    return LogEntry(type="voprf", time=time, actor=actor, facts={"target": "hub", "count": index})


@pytest.fixture(scope="module")
def entries() -> list[LogEntry]:
    rng = random.Random(5)
    return [made(rng, index) for index in range(SIZE)]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory, entries: list[LogEntry]) -> Iterator[MirrorSearch]:
    store = open_mirror(tmp_path_factory.mktemp("mirror"))
    leaves = [canonical_bytes(each) for each in entries]
    hashes = [leaf_hash(leaf) for leaf in leaves]

    class Hub:
        def entries(self, start: int, limit: int) -> tuple[str, ...]:
            return tuple(leaf.decode() for leaf in leaves[start : start + limit])

        def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
            raise AssertionError("one block needs no proof")

    head = Checkpoint("hub.example/log", SIZE, tree_root(hashes))
    Mirror(store, cosigned=lambda: head, log=Hub(), block=SIZE).catch_up()
    yield MirrorSearch(store)
    store.close()


def at(index: int) -> int:
    return int((START + timedelta(seconds=10 * index)).timestamp())


QUERIES = [
    Wanted(),
    Wanted(type="query"),
    Wanted(party="tax-01"),
    Wanted(party="utility-01", model=MODELS[0]),
    Wanted(campaign="c-1"),
    Wanted(campaign="c-9"),
    Wanted(type="voprf", party="bank-02", since=at(300), until=at(4500)),
    Wanted(since=at(BLOCK - 5), until=at(BLOCK + 5)),
    Wanted(until=at(2)),
    Wanted(since=at(SIZE + 100)),
    Wanted(type="manifest", model=MODELS[0]),
]


def scanned(entries: list[LogEntry], wanted: Wanted) -> list[int]:
    found = []
    for index, entry in enumerate(entries):
        what = indexed(entry)
        fits = (
            (wanted.type in (None, what.type))
            and (wanted.party is None or wanted.party in what.parties)
            and (wanted.campaign in (None, what.campaign))
            and (wanted.model in (None, what.model))
            and (wanted.since is None or what.time >= wanted.since)
            and (wanted.until is None or what.time < wanted.until)
        )
        if fits:
            found.append(index)
    return found[::-1]


@pytest.mark.parametrize("wanted", QUERIES, ids=str)
def test_search_finds_what_a_scan_finds_page_by_page(
    search: MirrorSearch, entries: list[LogEntry], wanted: Wanted
) -> None:
    expected = scanned(entries, wanted)
    found: list[int] = []
    below: int | None = None
    while True:
        page = search.search(wanted, limit=700, below=below)
        assert page.total == len(expected)
        found += [each.index for each in page.entries]
        assert all(each.entry == entries[each.index] for each in page.entries)
        below = page.next_below
        if below is None:
            break
    assert found == expected


def test_a_commitment_is_found_in_its_entry_alone(search: MirrorSearch, entries: list[LogEntry]) -> None:
    index, entry = next((i, each) for i, each in enumerate(entries) if each.subject is not None and i > 100)
    assert entry.subject is not None
    assert [each.index for each in search.with_commitment(entry.subject)] == [index]
    assert [each.index for each in search.with_commitment(bytes.fromhex(f"{index:064x}"))] == [index]
    same_beginning = entry.subject[:8] + bytes(24)
    assert search.with_commitment(same_beginning) == []


def test_values_that_occur_are_listed(search: MirrorSearch) -> None:
    assert search.values("campaign") == ["c-0", "c-1", "c-2"]
    assert search.values("party") == ["bank-01", "bank-02", "hub", "tax-01", "utility-01"]
    assert search.values("model") == sorted(MODELS)
    assert search.values("type") == ["manifest", "query", "voprf"]


def test_single_entries_and_all_leaves(search: MirrorSearch, entries: list[LogEntry]) -> None:
    found = search.entry(7)
    assert found is not None
    assert found.leaf == canonical_bytes(entries[7])
    assert search.entry(SIZE) is None
    assert [each.index for each in search.leaves()] == list(range(SIZE))
    assert [each.index for each in search.leaves(SIZE - 3)] == [SIZE - 3, SIZE - 2, SIZE - 1]
