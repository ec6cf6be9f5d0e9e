"""Reading the audit log: tiles, proofs, entries and the export that an auditor takes away."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from crypto.checkpoint import parse_note
from crypto.tiles import (
    TILE_WIDTH,
    consistency_from_tiles,
    encode_bundle,
    inclusion_from_tiles,
    inclusions_from_tiles,
    root_from_tiles,
)
from crypto.wire.audit import InclusionProof
from hub.audit import EXPORT_FORMAT
from hub.db import Database
from hub.errors import NotFoundError, RequestError
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow, LogTileRow, SubjectSaltRow
from hub.tables.parties import KeySuccessionRow

MAX_PAGE = 1000
_EXPORT_CHUNK = 5000
_HASH = 32
_TILE = select(LogTileRow.data).where(LogTileRow.level == bindparam("level"), LogTileRow.index == bindparam("index"))
_NEWEST = select(CheckpointRow.size, CheckpointRow.note, CheckpointRow.cosigned, CheckpointRow.created_at)
_NEWEST = _NEWEST.order_by(CheckpointRow.size.desc()).limit(1)
_NEWEST_COSIGNED = _NEWEST.where(CheckpointRow.cosigned)
_GROW = (
    update(LogTileRow)
    .where(LogTileRow.level == bindparam("at"), LogTileRow.index == bindparam("of"))
    .values(width=bindparam("hashes"), data=bindparam("bytes"))
)
_LAST_INDEX = select(func.max(LogEntryRow.index))
_PLACED = select(LogEntryRow.pending_id, LogEntryRow.index, LogEntryRow.leaf).where(
    LogEntryRow.pending_id.in_(bindparam("ids", expanding=True))
)


@dataclass(frozen=True)
class MerchantEntry:
    """An entry about a merchant with what opens its commitments; `index` is None while it waits for its place."""

    index: int | None
    leaf: str
    salt: bytes
    outcome: str | None


class StoredCheckpoint(NamedTuple):
    """A signed note as it is stored; with the witness's line when `cosigned`."""

    size: int
    note: str
    cosigned: bool
    created_at: int


class StoredTiles:
    """Tiles in the database, kept for as long as one question lasts (crypto.tiles.TileReader)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile, or fewer where it is not as wide (the caller refuses)."""
        data = self._kept.get((level, index))
        if data is None:
            found = self._session.connection().scalar(_TILE, {"level": level, "index": index})
            data = self._kept[level, index] = found or b""
        return data[: width * _HASH]

    def grow(self, changed: Mapping[tuple[int, int], bytes]) -> None:
        """Write tiles that are new or have grown; whoever reads here afterwards reads them as they are now."""
        grown = []
        for (level, index), data in changed.items():
            if self._kept.get((level, index)):
                grown.append({"at": level, "of": index, "hashes": len(data) // _HASH, "bytes": data})
            else:
                self._session.merge(LogTileRow(level=level, index=index, width=len(data) // _HASH, data=data))
            self._kept[level, index] = data
        if grown:
            self._session.connection().execute(_GROW, grown)
        self._session.flush()


def latest_checkpoint(session: Session, *, cosigned: bool) -> StoredCheckpoint | None:
    """Return the largest checkpoint; with `cosigned` the largest that the witness has signed."""
    row = session.connection().execute(_NEWEST_COSIGNED if cosigned else _NEWEST).first()
    return None if row is None else StoredCheckpoint(*row)


def log_size(session: Session) -> int:
    """Return the number of entries that have their place."""
    last = session.connection().scalar(_LAST_INDEX)
    return 0 if last is None else int(last) + 1


def prove_pending(session: Session, pending_ids: Sequence[int]) -> list[InclusionProof] | None:
    """Prove entries, by the ids that `append` gave, under the newest cosigned checkpoint; None if one is not there."""
    return prove_each(session, [pending_ids])[0]


def prove_each(session: Session, groups: Sequence[Sequence[int]]) -> list[list[InclusionProof] | None]:
    """Like `prove_pending`, for several groups of entries at once."""
    checkpoint = latest_checkpoint(session, cosigned=True)
    if checkpoint is None:
        return [None] * len(groups)
    rows: dict[int, tuple[int, bytes]] = {}
    ids = [pending_id for group in groups for pending_id in group]
    for start in range(0, len(ids), 500):
        found = session.connection().execute(_PLACED, {"ids": ids[start : start + 500]})
        rows.update((pending_id, (index, leaf)) for pending_id, index, leaf in found if index < checkpoint.size)
    due = [group if all(each in rows for each in group) else None for group in groups]
    wanted = list(dict.fromkeys(each for group in due if group is not None for each in group))
    paths = inclusions_from_tiles([rows[each][0] for each in wanted], checkpoint.size, StoredTiles(session))
    proofs = {
        each: InclusionProof(
            index=rows[each][0], entry=rows[each][1].decode(), hashes=tuple(path), checkpoint=checkpoint.note
        )
        for each, path in zip(wanted, paths, strict=True)
    }
    return [None if group is None else [proofs[each] for each in group] for group in due]


def read_bundle(session: Session, index: int, width: int) -> bytes:
    """Return `width` entries of bundle `index` as C2SP writes them; NotFoundError where the log has not so many."""
    start = index * TILE_WIDTH
    query = select(LogEntryRow.leaf).where(LogEntryRow.index >= start, LogEntryRow.index < start + width)
    leaves = session.scalars(query.order_by(LogEntryRow.index)).all()
    if width < 1 or len(leaves) < width:
        raise NotFoundError("There is no such bundle.", field="path", remedy="Ask for a bundle of the log's size.")
    return encode_bundle(leaves)


class LogReader:
    """Questions anybody may ask of the log; each is answered from one consistent view."""

    def __init__(self, db: Database, *, hub_id: str, origin: str) -> None:
        self._db = db
        self._hub_id = hub_id
        self._origin = origin

    def size(self) -> int:
        """Return the number of entries that have their place."""
        with self._db.reading() as session:
            return log_size(session)

    def checkpoint(self, *, cosigned: bool = True) -> str:
        """Return the newest checkpoint's note; NotFoundError where there is none."""
        with self._db.reading() as session:
            row = latest_checkpoint(session, cosigned=cosigned)
        if row is None:
            raise NotFoundError(
                "There is no cosigned checkpoint yet.", remedy="Enrol the witness and start its agent, then ask again."
            )
        return row.note

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Return `width` hashes of a tile; NotFoundError where it is not as wide."""
        with self._db.reading() as session:
            data = StoredTiles(session).read(level, index, width)
        if width < 1 or len(data) < width * _HASH:
            raise NotFoundError("There is no such tile.", field="path", remedy="Ask for a tile of the log's size.")
        return data

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """Return `width` entries of a bundle as C2SP writes them; NotFoundError where there are fewer."""
        with self._db.reading() as session:
            return read_bundle(session, index, width)

    def entries(self, start: int, limit: int) -> list[str]:
        """Return up to `limit` (at most 1,000) exact leaves from index `start`."""
        with self._db.reading() as session:
            query = select(LogEntryRow.leaf).where(LogEntryRow.index >= start).order_by(LogEntryRow.index)
            return [leaf.decode() for leaf in session.scalars(query.limit(min(limit, MAX_PAGE)))]

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove that entry `index` is in the tree of `size`; RequestError beyond the log's size."""
        with self._db.reading() as session:
            self._check_size(session, size)
            return inclusion_from_tiles(index, size, StoredTiles(session))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the tree of `new` extends that of `old`; RequestError beyond the log's size."""
        with self._db.reading() as session:
            self._check_size(session, new)
            return consistency_from_tiles(old, new, StoredTiles(session))

    def _check_size(self, session: Session, size: int) -> None:
        if size > (present := log_size(session)):
            raise RequestError(
                f"The log has {present} entries, not {size}.", field="size", remedy="Ask for a size up to the log's."
            )

    def of_merchant(self, pseudonym: bytes) -> list[MerchantEntry]:
        """Return all entries about a merchant whose salts were not erased, in order."""
        with self._db.reading() as session:
            query = (
                select(SubjectSaltRow, LogEntryRow.index, LogEntryRow.leaf, LogPendingRow.leaf)
                .outerjoin(LogEntryRow, LogEntryRow.pending_id == SubjectSaltRow.pending_id)
                .outerjoin(LogPendingRow, LogPendingRow.id == SubjectSaltRow.pending_id)
                .where(SubjectSaltRow.pseudonym == pseudonym)
                .order_by(SubjectSaltRow.pending_id)
            )
            return [
                MerchantEntry(index, (placed or waiting or b"").decode(), row.salt, row.outcome)
                for row, index, placed, waiting in session.execute(query)
            ]

    @staticmethod
    def opened(session: Session, pending_ids: Sequence[int]) -> list[MerchantEntry]:
        """Return entries about merchants that this transaction appended, by the ids that `append_many` gave."""
        found: dict[int, MerchantEntry] = {}
        for start in range(0, len(pending_ids), 500):
            query = (
                select(SubjectSaltRow.pending_id, SubjectSaltRow.salt, LogPendingRow.leaf)
                .join(LogPendingRow, LogPendingRow.id == SubjectSaltRow.pending_id)
                .where(SubjectSaltRow.pending_id.in_(pending_ids[start : start + 500]))
            )
            for pending_id, salt, leaf in session.execute(query):
                found[pending_id] = MerchantEntry(None, leaf.decode(), salt, None)
        return [found[pending_id] for pending_id in pending_ids]

    def root_matches(self) -> bool:
        """Say whether the newest checkpoint has the size and the root of what is stored."""
        with self._db.reading() as session:
            row = latest_checkpoint(session, cosigned=False)
            size = log_size(session)
            if row is None:
                return size == 0
            checkpoint, _ = parse_note(row.note)
            return checkpoint.size == size and checkpoint.root == root_from_tiles(size, StoredTiles(session))

    def export(self) -> Iterator[bytes]:
        """Yield the log up to its newest cosigned checkpoint as NDJSON lines (all of it where there is none).

        Line 1 is a header; then entries by index, and after the entry that completes it each checkpoint.
        """
        with self._db.reading() as session:
            last = latest_checkpoint(session, cosigned=True)
            size = last.size if last else log_size(session)
            header = {
                "format": EXPORT_FORMAT,
                "hub_id": self._hub_id,
                "origin": self._origin,
                "witness": parse_note(last.note)[1][-1].name if last else None,
                "size": size,
                "successions": successions(session),
            }
            yield _line(header)
            for start in range(0, size, _EXPORT_CHUNK):
                end = min(start + _EXPORT_CHUNK, size)
                yield from _chunk(session, start, end)


def successions(session: Session) -> list[str]:
    """Read which keys of hub and witness follow which, oldest first; each statement is signed for itself."""
    return list(session.scalars(select(KeySuccessionRow.token).order_by(KeySuccessionRow.holds_from)))


def _chunk(session: Session, start: int, end: int) -> Iterator[bytes]:
    notes = session.scalars(
        select(CheckpointRow).where(CheckpointRow.size > start, CheckpointRow.size <= end).order_by(CheckpointRow.size)
    )
    by_size = {row.size: row for row in notes}
    rows = session.execute(
        select(LogEntryRow.index, LogEntryRow.hash, LogEntryRow.leaf)
        .where(LogEntryRow.index >= start, LogEntryRow.index < end)
        .order_by(LogEntryRow.index)
    )
    for index, leaf_hash, leaf in rows:
        yield _line({"index": index, "hash": leaf_hash.hex(), "entry": leaf.decode()})
        checkpoint = by_size.get(index + 1)
        if checkpoint is not None:
            yield _line({"checkpoint": checkpoint.note, "cosigned": checkpoint.cosigned})


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
