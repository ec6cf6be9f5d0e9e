"""An independent look at the stored log: tiles, search index and checkpoint are rebuilt from the entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.checkpoint import verify_note
from crypto.errors import ProofError
from crypto.log_index import bits_from_bytes, indexed, postings
from crypto.merkle import leaf_hash
from crypto.tiles import integrate, root_from_tiles
from crypto.wire.audit import LogEntry
from hub.log_reading import StoredCheckpoint, latest_checkpoint
from hub.migrations.runner import differences
from hub.services import Hub
from hub.tables.log import LogEntryRow, LogPostingRow, LogTileRow
from models.said import Said, said

_CHUNK = 10_000


class Rebuilt:
    """Tiles in memory (`crypto.tiles.TileReader`)."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile, or fewer."""
        return self.tiles.get((level, index), b"")[: width * 32]


@dataclass(frozen=True)
class RebuiltLog:
    """The log made anew from its entries: its size and tiles, and what was wrong with what is stored."""

    size: int
    tiles: Rebuilt
    faults: tuple[Said, ...]


def examine(hub: Hub) -> list[str]:
    """Rebuild the log's tree from its entries and compare; return what is wrong, a sentence each, in English."""
    return [str(each) for each in rebuild_log(hub).faults]


def rebuild_log(hub: Hub, *, progress: Callable[[int], None] = lambda _entries: None) -> RebuiltLog:
    """Rebuild tree, tiles and search index from the entries, and compare.

    Args:
        hub: whose log it is.
        progress: told how many entries were read.
    """
    complaints: list[Said] = []
    if differences(hub.db):
        complaints.append(said("the database's tables are not those of this program"))
    rebuilt = Rebuilt()
    size, altered = 0, False
    terms: dict[tuple[str, int], int] = {}
    with hub.db.reading() as session:
        while True:
            query = select(LogEntryRow).where(LogEntryRow.index >= size).order_by(LogEntryRow.index).limit(_CHUNK)
            rows = session.scalars(query).all()
            if not rows:
                break
            for offset, row in enumerate(rows):
                if row.index != size + offset:
                    return RebuiltLog(
                        size, rebuilt, (*complaints, said("entry {index} is missing", index=size + offset))
                    )
                if leaf_hash(row.leaf) != row.hash:
                    altered = True
                    complaints.append(said("the bytes of entry {index} do not have its hash", index=row.index))
            if not altered:
                entries = (indexed(LogEntry.model_validate_json(row.leaf)) for row in rows)
                for key, bits in postings(size, entries).items():
                    terms[key] = terms.get(key, 0) | bits
            size, changed = integrate(size, [row.hash for row in rows], rebuilt)
            rebuilt.tiles.update(changed)
            session.expunge_all()
            progress(size)
        stored = {(tile.level, tile.index): tile.data for tile in session.scalars(select(LogTileRow))}
        complaints += [
            said("tile {level}/{index} is not what the entries give", level=level, index=index)
            for level, index in sorted(stored.keys() | rebuilt.tiles.keys())
            if stored.get((level, index)) != rebuilt.tiles.get((level, index))
        ]
        complaints += [] if altered else _index_faults(session, terms)
        newest = latest_checkpoint(session, cosigned=False)
    complaints += _newest_fault(hub, newest, size, rebuilt)
    return RebuiltLog(size, rebuilt, tuple(complaints))


def _newest_fault(hub: Hub, newest: StoredCheckpoint | None, size: int, rebuilt: Rebuilt) -> list[Said]:
    if newest is None:
        return [said("there is no checkpoint")] if size else []
    try:
        origin = hub.config.log_origin
        checkpoint = verify_note(newest.note, {origin: hub.keys.identity.line}, required={origin})
    except ProofError as error:
        return [said("the newest checkpoint: {what}", what=error.message)]
    if (checkpoint.size, checkpoint.root) != (size, root_from_tiles(size, rebuilt)):
        return [
            said(
                "the newest checkpoint of size {size} is not of these {entries} entries",
                size=checkpoint.size,
                entries=size,
            )
        ]
    return []


def _index_faults(session: Session, terms: Mapping[tuple[str, int], int]) -> Iterator[Said]:
    rows = session.execute(select(LogPostingRow.term, LogPostingRow.block, LogPostingRow.bits))
    stored = {(term, block): bits_from_bytes(bits) for term, block, bits in rows}
    for term, block in sorted(terms.keys() | stored.keys()):
        if terms.get((term, block)) != stored.get((term, block)):
            yield said(
                "the search index of {term} in block {block} is not what the entries give", term=term, block=block
            )
