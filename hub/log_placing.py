"""Entries get their places in the log: those that waited (L2), and those that come back from the witness."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from crypto.log_index import indexed
from crypto.merkle import leaf_hash
from crypto.tiles import integrate
from crypto.wire.audit import LogEntry
from hub.log_postings import index_entries
from hub.log_reading import StoredTiles, log_size
from hub.tables.log import LogEntryRow, LogPendingRow

_AT_ONCE = 500
_ADD = insert(LogEntryRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_TAKE_OUT = delete(LogPendingRow).where(LogPendingRow.id.in_(bindparam("ids", expanding=True)))


def place(session: Session, leaves: Sequence[tuple[int, bytes]], tiles: StoredTiles) -> int:
    """Give waiting leaves (id, exact bytes) the next places, in this order; return the log's new size.

    Args:
        session: it writes; nothing in it waits to be flushed.
        leaves: with their ids.
        tiles: of the same session; it has those that grew afterwards.

    Raises:
        ProofError: a stored tile is missing.
    """
    start = log_size(session)
    hashes = [leaf_hash(leaf) for _, leaf in leaves]
    entries = [indexed(LogEntry.model_validate_json(leaf)) for _, leaf in leaves]
    connection = session.connection()
    connection.execute(
        _ADD,
        [
            {"index": index, "pending_id": pending_id, "time": entry.time, "leaf": leaf, "hash": hashed}
            for index, ((pending_id, leaf), entry, hashed) in enumerate(
                zip(leaves, entries, hashes, strict=True), start
            )
        ],
    )
    index_entries(session, start, entries)
    ids = [pending_id for pending_id, _ in leaves]
    for first in range(0, len(ids), _AT_ONCE):
        connection.execute(_TAKE_OUT, {"ids": ids[first : first + _AT_ONCE]})
    size, changed = integrate(start, hashes, tiles)
    tiles.grow(changed)
    return size


def take_back(session: Session, leaves: Sequence[bytes]) -> list[bytes]:
    """Place entries that the log had before it was set back, as the witness has them.

    What waited when the backup was made got its place afterwards: the same bytes, in the same order, keep their id, and
    so what links them to a merchant.

    Returns:
        The entries of which the database knows nothing.
    """
    waiting = iter(session.execute(select(LogPendingRow.id, LogPendingRow.leaf).order_by(LogPendingRow.id)).all())
    next_waiting = next(waiting, None)
    placed: list[tuple[int, bytes]] = []
    unknown: list[bytes] = []
    for leaf in leaves:
        if next_waiting is not None and next_waiting.leaf == leaf:
            placed.append((next_waiting.id, leaf))
            next_waiting = next(waiting, None)
            continue
        new = session.scalars(insert(LogPendingRow).returning(LogPendingRow.id), [{"leaf": leaf}]).one()
        placed.append((new, leaf))
        unknown.append(leaf)
    if placed:
        place(session, placed, StoredTiles(session))
    return unknown
