"""The witness's own copy of the hub's log: each entry is verified before it is kept (docs/protocol.md, 8).

What the regulator looks at must not depend on what the hub says today. So the witness fetches the log up to the
checkpoint that it cosigned last:

U1  A block of entries is fetched; the head of the tree with them is computed from the mirror's own tiles.
U2  The hub's proof shows that this tree is the beginning of the cosigned one; for the last block the heads are equal.
U3  Entries, tiles and index of the block are kept in one transaction; the next run goes on from there.

A block that fails is dropped whole and the reason is kept as an alarm until a block fits again. Memory holds one block.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from crypto.checkpoint import Checkpoint
from crypto.errors import ProofError
from crypto.merkle import EMPTY_ROOT, leaf_hash, verify_consistency
from crypto.tiles import integrate, root_from_tiles
from crypto.wire.service import LogPage, LogProof
from nodes.clock import Clock, system_clock
from nodes.errors import LogIncomplete, LogMismatch, MirrorBroken, MirrorError
from nodes.hub_client import HubClient
from nodes.hub_client import parsed as read_answer
from nodes.store import Store, StoreSort
from nodes.tables.mirror import (
    MirrorAlarmRow,
    MirrorDayRow,
    MirrorEntryRow,
    MirrorHeadRow,
    MirrorTableBase,
    MirrorTileRow,
)
from nodes.witness.mirror_index import day_of, figures_of, indexed_leaf, parsed
from nodes.witness.mirror_search import keep_terms

MIRROR_FILE = "mirror.db"
BLOCK = 1000
MIRROR_STORE = StoreSort(
    MirrorTableBase,
    application_id=0x6469676D,  # "digm"
    version=1,
    name="a witness's mirror of the log",
    remedy="remove the file: the mirror is made again from the hub's log",
)
_HASH = 32
_TILE = select(MirrorTileRow.data).where(
    MirrorTileRow.level == bindparam("level"), MirrorTileRow.index == bindparam("index")
)


class LogSource(Protocol):
    """Where the log is fetched from. Nothing that it gives is trusted."""

    def entries(self, start: int, limit: int) -> tuple[str, ...]:
        """Exact leaves from index `start`."""
        ...

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of `new` extends that of `old`."""
        ...


class HubLog:
    """The hub's log over HTTP."""

    def __init__(self, hub: HubClient) -> None:
        self._hub = hub

    def entries(self, start: int, limit: int) -> tuple[str, ...]:
        """Exact leaves from index `start`; PeerError where the hub cannot be reached or refuses."""
        body = self._hub.request("GET", f"/v1/log/entries?start={start}&limit={limit}")
        return read_answer(LogPage, body).entries

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The hub's proof; PeerError likewise."""
        return read_answer(LogProof, self._hub.request("GET", f"/v1/log/consistency?old={old}&new={new}")).hashes


@dataclass(frozen=True)
class Progress:
    """How far the mirror is: `verified` of `cosigned` entries, and since when (Unix seconds; None before the first)."""

    origin: str | None
    verified: int
    cosigned: int
    root: bytes
    verified_at: int | None

    @property
    def complete(self) -> bool:
        """Whether all that was cosigned is here."""
        return self.verified == self.cosigned


@dataclass(frozen=True)
class MirrorAlarm:
    """Why the mirror cannot go on; `code` is that of the error."""

    code: str
    detail: str
    remedy: str
    since: int


class MirrorTiles:
    """The mirror's tiles within one transaction (`crypto.tiles.TileReader`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, or fewer."""
        data: bytes | None = self._session.connection().scalar(_TILE, {"level": level, "index": index})
        return b"" if data is None else data[: width * _HASH]


class Mirror:
    """Follows the cosigned log.

    Args:
        store: from `open_mirror`.
        cosigned: says which checkpoint the witness cosigned last.
        log: where entries come from.
        report: told of an error when it first occurs, for the journal.
        clock: the time.
        block: entries that are fetched at once.
    """

    def __init__(
        self,
        store: Store,
        *,
        cosigned: Callable[[], Checkpoint | None],
        log: LogSource,
        report: Callable[[MirrorError], None] = lambda problem: None,
        clock: Clock = system_clock,
        block: int = BLOCK,
    ) -> None:
        self.store = store
        self._cosigned = cosigned
        self._log = log
        self._report = report
        self._clock = clock
        self._block = block
        self._lock = threading.Lock()

    def progress(self) -> Progress:
        """How far it is."""
        target = self._cosigned()
        with self.store.reading() as session:
            head = session.get(MirrorHeadRow, 1)
        cosigned = 0 if target is None else target.size
        if head is None:
            return Progress(None if target is None else target.origin, 0, cosigned, EMPTY_ROOT, None)
        return Progress(head.origin, head.size, cosigned, head.root, head.verified_at)

    def alarms(self) -> list[MirrorAlarm]:
        """What is wrong now."""
        with self.store.reading() as session:
            rows = session.scalars(select(MirrorAlarmRow).order_by(MirrorAlarmRow.since))
            return [MirrorAlarm(row.code, row.detail, row.remedy, row.since) for row in rows]

    def check(self) -> None:
        """Compare the stored tiles with the head that was verified.

        Raises:
            MirrorBroken: the file was altered or damaged; the same as an alarm.
        """
        with self.store.reading() as session:
            head = session.get(MirrorHeadRow, 1)
            if head is None:
                return
            try:
                intact = root_from_tiles(head.size, MirrorTiles(session)) == head.root
            except ProofError:
                intact = False
        if not intact:
            problem = _broken("the mirror's tree does not have the root that was verified")
            self._alarm(problem)
            raise problem

    def catch_up(self, *, stopping: Callable[[], bool] = lambda: False) -> Progress:
        """Fetch, verify and keep what is missing, a block at a time, until all is here or `stopping` says so.

        Raises:
            LogMismatch, LogIncomplete, MirrorBroken: and the same as an alarm; the block was not kept.
            PeerError: the hub cannot be reached.
        """
        with self._lock:
            try:
                while not stopping() and self._take_block():
                    pass
            except MirrorError as problem:
                self._alarm(problem)
                raise
        return self.progress()

    def _take_block(self) -> bool:
        """U1–U3; False where nothing is missing."""
        target = self._cosigned()
        at = self.progress()
        if target is None or (at.verified == target.size and at.root == target.root):
            return False
        if at.origin != target.origin or at.verified >= target.size:
            raise _broken(
                f"the mirror has {at.verified} entries of {at.origin}; cosigned are {target.size} of {target.origin}"
            )
        wanted = min(self._block, target.size - at.verified)
        leaves = [each.encode() for each in self._log.entries(at.verified, wanted)][:wanted]
        if not leaves:
            raise LogIncomplete(
                f"the hub gives no entry {at.verified}, though the cosigned checkpoint has {target.size}",
                field="entries",
                remedy="ask the hub's operator whether its database was set back; keep the cosigned checkpoint",
            )
        hashes = [leaf_hash(leaf) for leaf in leaves]
        try:
            with self.store.reading() as session:
                size, tiles = integrate(at.verified, hashes, MirrorTiles(session))
                root = root_from_tiles(size, _Grown(tiles, MirrorTiles(session)))
        except ProofError as problem:
            raise _broken("a tile of the mirror is missing") from problem
        proof = () if size == target.size else self._log.consistency(size, target.size)
        try:
            verify_consistency(size, root, target.size, target.root, proof)
        except ProofError as problem:
            raise LogMismatch(
                f"entries {at.verified} to {size - 1} are not those of the log that was cosigned at {target.size}",
                field="entries",
                remedy="keep the cosigned checkpoint, and call the hub's operator to account for these entries",
            ) from problem
        self._keep(Checkpoint(target.origin, size, root), at.verified, leaves, tiles)
        return True

    def _keep(self, head: Checkpoint, start: int, leaves: list[bytes], tiles: dict[tuple[int, int], bytes]) -> None:
        """U3."""
        now = int(self._clock().timestamp())
        read = [parsed(leaf) for leaf in leaves]
        found = [indexed_leaf(entry) for entry in read]
        entries = [
            {"index": index, "time": what.time, "leaf": leaf}
            for index, (leaf, what) in enumerate(zip(leaves, found, strict=True), start=start)
        ]
        figures: Counter[tuple[str, str]] = Counter()
        for entry, what in zip(read, found, strict=True):
            for figure, number in figures_of(entry):
                figures[day_of(what.time), figure] += number
        with self.store.session() as session:
            row = session.get(MirrorHeadRow, 1)
            if (0 if row is None else row.size) != start:
                return  # another process has kept this block meanwhile
            session.connection().execute(insert(MirrorEntryRow), entries)
            keep_terms(session, start, found)
            for (level, place), data in tiles.items():
                session.merge(MirrorTileRow(level=level, index=place, data=data))
            for (day, name), number in figures.items():
                adding = upsert(MirrorDayRow).values(day=day, what=name, number=number)
                added = {"number": MirrorDayRow.number + adding.excluded.number}
                session.execute(adding.on_conflict_do_update(index_elements=["day", "what"], set_=added))
            session.execute(delete(MirrorAlarmRow))
            session.merge(MirrorHeadRow(id=1, origin=head.origin, size=head.size, root=head.root, verified_at=now))

    def _alarm(self, problem: MirrorError) -> None:
        now = int(self._clock().timestamp())
        with self.store.session() as session:
            known = session.get(MirrorAlarmRow, problem.code)
            session.merge(
                MirrorAlarmRow(
                    code=problem.code,
                    detail=problem.message,
                    remedy=problem.remedy or "",
                    since=now if known is None else known.since,
                )
            )
        if known is None:
            self._report(problem)


class _Grown:
    """Tiles as they would be with a block that is not kept yet."""

    def __init__(self, grown: dict[tuple[int, int], bytes], below: MirrorTiles) -> None:
        self._grown = grown
        self._below = below

    def read(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, or fewer."""
        data = self._grown.get((level, index))
        return self._below.read(level, index, width) if data is None else data[: width * _HASH]


def open_mirror(folder: Path) -> Store:
    """The mirror's file in the witness's data folder; ConfigError where it cannot be used."""
    return Store.open(folder / MIRROR_FILE, MIRROR_STORE)


def _broken(what: str) -> MirrorBroken:
    return MirrorBroken(
        what, field="data_dir", remedy=f"remove {MIRROR_FILE}: the mirror is made again from the hub's log"
    )
