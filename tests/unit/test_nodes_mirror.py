"""The witness's mirror of the log: honest hubs, lying hubs, resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint
from crypto.keys import IdentityKey
from crypto.merkle import EMPTY_ROOT, consistency_proof, leaf_hash
from crypto.merkle import root as tree_root
from crypto.tiles import root_from_tiles
from crypto.wire.audit import LogEntry
from crypto.wire.service import LogPage, LogProof
from nodes.config import HubAddress
from nodes.errors import ConfigError, LogIncomplete, LogMismatch, MirrorBroken, MirrorError, PeerError
from nodes.hub_client import HubClient
from nodes.store import Store
from nodes.tables.mirror import MirrorDayRow, MirrorEntryRow
from nodes.witness.mirror import HubLog, Mirror, MirrorTiles, open_mirror
from nodes.witness.mirror_follower import MirrorFollower

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
ORIGIN = "hub.example/log"


def entry(number: int, **fields: object) -> bytes:
    values: dict[str, object] = {"type": "voprf", "time": NOW + timedelta(seconds=number), "actor": "bank-01"}
    facts = {"target": "hub", "count": number, "used": number}
    return canonical_bytes(LogEntry.model_validate({**values, "facts": facts, **fields}))


LEAVES = [entry(number) for number in range(700)]


@dataclass
class FakeHub:
    """What a hub gives out; a test makes it lie."""

    leaves: list[bytes] = field(default_factory=lambda: list(LEAVES))
    asked: list[tuple[int, int]] = field(default_factory=list)
    proof: Callable[[int, int], Sequence[bytes]] | None = None

    def entries(self, start: int, limit: int) -> tuple[str, ...]:
        self.asked.append((start, limit))
        return tuple(leaf.decode() for leaf in self.leaves[start : start + limit])

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        if self.proof is not None:
            return tuple(self.proof(old, new))
        return tuple(consistency_proof(old, [leaf_hash(leaf) for leaf in self.leaves[:new]]))


@dataclass
class Cosigned:
    checkpoint: Checkpoint | None

    def __call__(self) -> Checkpoint | None:
        return self.checkpoint


def head(leaves: Sequence[bytes], origin: str = ORIGIN) -> Checkpoint:
    return Checkpoint(origin, len(leaves), tree_root([leaf_hash(leaf) for leaf in leaves]))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_mirror(tmp_path)
    yield opened
    opened.close()


def make(store: Store, hub: FakeHub, cosigned: Cosigned, *, block: int = 100) -> Mirror:
    return Mirror(store, cosigned=cosigned, log=hub, clock=lambda: NOW, block=block)


def kept(store: Store) -> list[bytes]:
    with store.reading() as session:
        return list(session.scalars(select(MirrorEntryRow.leaf).order_by(MirrorEntryRow.index)))


def test_all_that_was_cosigned_is_kept_in_blocks(store: Store) -> None:
    hub, cosigned = FakeHub(), Cosigned(head(LEAVES[:650]))
    progress = make(store, hub, cosigned).catch_up()
    assert (progress.verified, progress.cosigned, progress.complete) == (650, 650, True)
    assert kept(store) == LEAVES[:650]
    assert hub.asked == [(start, min(100, 650 - start)) for start in range(0, 650, 100)]
    with store.reading() as session:
        assert root_from_tiles(650, MirrorTiles(session)) == head(LEAVES[:650]).root
        assert root_from_tiles(333, MirrorTiles(session)) == head(LEAVES[:333]).root


def test_it_goes_on_where_it_was(store: Store) -> None:
    hub, cosigned = FakeHub(), Cosigned(head(LEAVES[:250]))
    make(store, hub, cosigned).catch_up()
    cosigned.checkpoint = head(LEAVES[:420])
    again = make(store, hub, cosigned)
    assert again.progress().verified == 250
    assert not again.progress().complete
    hub.asked.clear()
    assert again.catch_up().complete
    assert hub.asked == [(250, 100), (350, 70)]
    hub.asked.clear()
    assert again.catch_up().complete
    assert hub.asked == []


def test_it_stops_between_blocks_when_told_to(store: Store) -> None:
    hub, calls = FakeHub(), iter([False, False, True])
    progress = make(store, hub, Cosigned(head(LEAVES))).catch_up(stopping=lambda: next(calls))
    assert (progress.verified, progress.cosigned) == (200, 700)


def test_a_hub_that_gives_less_than_asked_is_followed_slowly(store: Store) -> None:
    class Slow(FakeHub):
        def entries(self, start: int, limit: int) -> tuple[str, ...]:
            return super().entries(start, min(limit, 7))

    assert make(store, Slow(), Cosigned(head(LEAVES[:100]))).catch_up().complete
    assert kept(store) == LEAVES[:100]


def altered(leaves: list[bytes]) -> None:
    leaves[130] = leaves[130].replace(b'"count":130', b'"count":131')


def omitted(leaves: list[bytes]) -> None:
    del leaves[130]


def moved(leaves: list[bytes]) -> None:
    leaves[130], leaves[131] = leaves[131], leaves[130]


def added(leaves: list[bytes]) -> None:
    leaves.insert(130, entry(1000))


def true_proof(old: int, new: int) -> list[bytes]:
    return consistency_proof(old, [leaf_hash(leaf) for leaf in LEAVES[:new]])


@pytest.mark.parametrize("lie", [altered, omitted, moved, added])
def test_a_log_that_proves_itself_and_was_not_cosigned_is_refused_from_the_start(
    store: Store, lie: Callable[[list[bytes]], None]
) -> None:
    hub = FakeHub()
    lie(hub.leaves)
    with pytest.raises(LogMismatch, match="entries 0 to 99"):
        make(store, hub, Cosigned(head(LEAVES[:400]))).catch_up()
    assert kept(store) == []


@pytest.mark.parametrize("lie", [altered, omitted, moved, added])
def test_a_block_that_was_not_cosigned_is_dropped_whole(store: Store, lie: Callable[[list[bytes]], None]) -> None:
    hub, cosigned = FakeHub(proof=true_proof), Cosigned(head(LEAVES[:400]))
    lie(hub.leaves)
    mirror = make(store, hub, cosigned)
    with pytest.raises(LogMismatch, match="entries 100 to 199") as caught:
        mirror.catch_up()
    assert caught.value.remedy
    assert kept(store) == LEAVES[:100]
    assert mirror.progress().verified == 100
    (alarm,) = mirror.alarms()
    assert (alarm.code, alarm.since) == ("log-mismatch", int(NOW.timestamp()))
    mirror.check()

    hub.leaves = list(LEAVES)
    assert mirror.catch_up().complete
    assert mirror.alarms() == []
    assert kept(store) == LEAVES[:400]


def test_a_lie_in_the_last_block_is_found_without_any_proof_of_the_hub(store: Store) -> None:
    hub = FakeHub(proof=lambda old, new: ())
    hub.leaves[650] = entry(9)
    with pytest.raises(LogMismatch, match="entries 0 to 699"):
        make(store, hub, Cosigned(head(LEAVES)), block=1000).catch_up()
    assert kept(store) == []


def test_a_forked_log_is_refused_though_its_own_proofs_hold(store: Store) -> None:
    cosigned = Cosigned(head(LEAVES[:200]))
    mirror = make(store, FakeHub(), cosigned)
    mirror.catch_up()
    fork = [*LEAVES[:150], *(entry(number + 5000) for number in range(300))]
    cosigned.checkpoint = head(LEAVES[:400])
    with pytest.raises(LogMismatch):
        make(store, FakeHub(fork), cosigned).catch_up()
    # and where the witness's own record was replaced by the fork's, the mirror knows that it held another history
    cosigned.checkpoint = head(fork[:400])
    with pytest.raises(LogMismatch):
        make(store, FakeHub(fork), cosigned).catch_up()
    assert kept(store) == LEAVES[:200]


def test_a_shorter_log_is_told_from_an_altered_one(store: Store) -> None:
    hub = FakeHub(list(LEAVES[:300]), proof=true_proof)
    mirror = make(store, hub, Cosigned(head(LEAVES[:500])))
    with pytest.raises(LogIncomplete, match="no entry 300"):
        mirror.catch_up()
    assert kept(store) == LEAVES[:300]
    assert [alarm.code for alarm in mirror.alarms()] == ["log-incomplete"]


def test_another_origin_or_a_witness_set_back_is_refused(store: Store) -> None:
    cosigned = Cosigned(head(LEAVES[:200]))
    mirror = make(store, FakeHub(), cosigned)
    mirror.catch_up()
    for checkpoint in (head(LEAVES[:300], "other.example/log"), head(LEAVES[:100]), head([*LEAVES[:199], entry(5)])):
        cosigned.checkpoint = checkpoint
        with pytest.raises(MirrorBroken, match="the mirror has 200 entries"):
            mirror.catch_up()
    assert kept(store) == LEAVES[:200]


def test_an_alarm_is_reported_once(store: Store) -> None:
    heard: list[MirrorError] = []
    mirror = Mirror(store, cosigned=Cosigned(head(LEAVES)), log=FakeHub([]), report=heard.append, clock=lambda: NOW)
    for _ in range(3):
        with pytest.raises(LogIncomplete):
            mirror.catch_up()
    assert [problem.code for problem in heard] == ["log-incomplete"]


def test_an_altered_mirror_is_noticed(store: Store) -> None:
    mirror = make(store, FakeHub(), Cosigned(head(LEAVES[:300])))
    mirror.catch_up()
    mirror.check()
    with store.session() as session:
        session.execute(text('UPDATE mirror_tiles SET data = zeroblob(length(data)) WHERE level = 0 AND "index" = 1'))
    with pytest.raises(MirrorBroken):
        mirror.check()
    follower = MirrorFollower(mirror, look_seconds=0.01)
    follower.start()
    wait_for(lambda: [alarm.code for alarm in mirror.alarms()] == ["mirror-broken"])
    follower.stop()
    with store.session() as session:
        session.execute(text("DELETE FROM mirror_tiles"))
    with pytest.raises(MirrorBroken):
        make(store, FakeHub(), Cosigned(head(LEAVES[:400]))).catch_up()


def test_before_the_first_checkpoint_there_is_nothing(store: Store) -> None:
    hub = FakeHub()
    mirror = make(store, hub, Cosigned(None))
    progress = mirror.catch_up()
    assert (progress.origin, progress.verified, progress.cosigned, progress.root) == (None, 0, 0, EMPTY_ROOT)
    assert hub.asked == []
    mirror.check()


def test_a_leaf_that_is_no_entry_is_kept_as_it_is(store: Store) -> None:
    leaves = [*LEAVES[:3], b"no entry", *LEAVES[3:6]]
    assert make(store, FakeHub(leaves), Cosigned(head(leaves))).catch_up().complete
    assert kept(store) == leaves


def test_figures_of_days_are_by_the_time_in_china(store: Store) -> None:
    late = datetime(2026, 3, 1, 15, 59, tzinfo=UTC)
    of_day = {"time": late}
    next_day = {"time": late + timedelta(minutes=1)}
    leaves = [
        entry(0, type="query", **of_day),
        entry(1, type="query", **of_day),
        entry(2, type="query", **next_day),
        entry(3, type="query-result", facts={"failures": 2}, **next_day),
        entry(4, type="consent-event", facts={"event": "revoked"}, **next_day),
        entry(5, type="consent-event", facts={"event": "paused"}, **next_day),
    ]
    make(store, FakeHub(leaves), Cosigned(head(leaves)), block=2).catch_up()
    with store.reading() as session:
        figures = {(row.day, row.what): row.number for row in session.scalars(select(MirrorDayRow))}
    assert figures == {
        ("2026-03-01", "queries"): 2,
        ("2026-03-02", "queries"): 1,
        ("2026-03-02", "refusals"): 2,
        ("2026-03-02", "revocations"): 1,
    }


def test_a_store_of_another_sort_is_not_opened(tmp_path: Path, store: Store) -> None:
    with pytest.raises(ConfigError, match="is not a node's store"):
        Store.open(store.path)
    Store.open(tmp_path / "sub" / "mirror.db").close()
    with pytest.raises(ConfigError, match="is not a witness's mirror"):
        open_mirror(tmp_path / "sub")


def test_over_http_exact_leaves_and_proofs_are_read() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        if request.url.path == "/v1/log/entries":
            assert query == {"start": "3", "limit": "2"}
            return httpx.Response(200, text=LogPage(start=3, size=9, entries=("a", "b")).model_dump_json())
        assert (request.url.path, query) == ("/v1/log/consistency", {"old": "3", "new": "9"})
        return httpx.Response(200, text=LogProof(hashes=(bytes(32),)).model_dump_json())

    address = HubAddress(url="http://127.0.0.1:1")
    transport = httpx.MockTransport(answer)
    with HubClient(address, party_id="witness", identity=IdentityKey.generate(), transport=transport) as hub:
        log = HubLog(hub)
        assert log.entries(3, 2) == ("a", "b")
        assert log.consistency(3, 9) == (bytes(32),)
    wrong = httpx.MockTransport(lambda request: httpx.Response(200, text="{}"))
    with (
        HubClient(address, party_id="witness", identity=IdentityKey.generate(), transport=wrong) as hub,
        pytest.raises(PeerError, match="no LogPage"),
    ):
        HubLog(hub).entries(0, 1)


def test_the_follower_follows_until_it_is_stopped(store: Store) -> None:
    cosigned = Cosigned(head(LEAVES[:50]))
    mirror = make(store, FakeHub(), cosigned)
    follower = MirrorFollower(mirror, look_seconds=0.01)
    follower.start()
    wait_for(lambda: mirror.progress().verified == 50)
    cosigned.checkpoint = head(LEAVES[:90])
    wait_for(lambda: mirror.progress().verified == 90)
    follower.stop()
    assert kept(store) == LEAVES[:90]


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)
