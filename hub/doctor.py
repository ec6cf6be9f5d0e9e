"""An independent look at the stored log: tiles, search index and checkpoint are rebuilt from the entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.checkpoint import verify_note
from crypto.errors import ProofError
from crypto.log_index import bits_from_bytes, indexed, postings
from crypto.merkle import leaf_hash
from crypto.tiles import integrate, root_from_tiles
from crypto.wire.audit import LogEntry
from hub.log_reading import latest_checkpoint
from hub.migrations.runner import differences
from hub.services import Hub
from hub.tables.log import LogEntryRow, LogPostingRow, LogTileRow

_CHUNK = 10_000


class _Rebuilt:
    """Tiles in memory."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, index: int, width: int) -> bytes:
        return self.tiles.get((level, index), b"")[: width * 32]


def examine(hub: Hub) -> list[str]:
    """Rebuild the log's tree from its entries and compare; return what is wrong, a sentence each."""
    complaints: list[str] = []
    if differences(hub.db):
        complaints.append("the database's tables are not those of this program")
    rebuilt = _Rebuilt()
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
                    return [*complaints, f"entry {size + offset} is missing"]
                if leaf_hash(row.leaf) != row.hash:
                    altered = True
                    complaints.append(f"the bytes of entry {row.index} do not have its hash")
            if not altered:
                entries = (indexed(LogEntry.model_validate_json(row.leaf)) for row in rows)
                for key, bits in postings(size, entries).items():
                    terms[key] = terms.get(key, 0) | bits
            size, changed = integrate(size, [row.hash for row in rows], rebuilt)
            rebuilt.tiles.update(changed)
            session.expunge_all()
        stored = {(tile.level, tile.index): tile.data for tile in session.scalars(select(LogTileRow))}
        complaints += [
            f"tile {level}/{index} is not what the entries give"
            for level, index in sorted(stored.keys() | rebuilt.tiles.keys())
            if stored.get((level, index)) != rebuilt.tiles.get((level, index))
        ]
        complaints += [] if altered else _index_faults(session, terms)
        newest = latest_checkpoint(session, cosigned=False)
    if newest is None:
        return complaints if not size else [*complaints, "there is no checkpoint"]
    try:
        origin = hub.config.log_origin
        checkpoint = verify_note(newest.note, {origin: hub.keys.identity.public}, required={origin})
    except ProofError as error:
        return [*complaints, f"the newest checkpoint: {error.message}"]
    if (checkpoint.size, checkpoint.root) != (size, root_from_tiles(size, rebuilt)):
        complaints.append(f"the newest checkpoint of size {checkpoint.size} is not of these {size} entries")
    return complaints


def _index_faults(session: Session, terms: Mapping[tuple[str, int], int]) -> Iterator[str]:
    rows = session.execute(select(LogPostingRow.term, LogPostingRow.block, LogPostingRow.bits))
    stored = {(term, block): bits_from_bytes(bits) for term, block, bits in rows}
    for term, block in sorted(terms.keys() | stored.keys()):
        if terms.get((term, block)) != stored.get((term, block)):
            yield f"the search index of {term} in block {block} is not what the entries give"
