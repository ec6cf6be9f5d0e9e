"""The index of the log: written with the entries it speaks of, in their transaction (`crypto.log_index`)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update
from sqlalchemy.orm import Session

from crypto.log_index import BLOCK, IndexedEntry, bits_from_bytes, bits_to_bytes, commitment_key, postings
from hub.tables.log import LogBlockRow, LogCommitmentRow, LogPostingRow

_AT_ONCE = 400
_COMMIT = insert(LogCommitmentRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_POST = insert(LogPostingRow.__table__)  # type: ignore[arg-type]
_SPAN = insert(LogBlockRow.__table__)  # type: ignore[arg-type]
_POSTED = select(LogPostingRow.term, LogPostingRow.block, LogPostingRow.bits).where(
    tuple_(LogPostingRow.term, LogPostingRow.block).in_(bindparam("keys", expanding=True))
)
_REPOST = (
    update(LogPostingRow)
    .where(LogPostingRow.term == bindparam("of"), LogPostingRow.block == bindparam("at"))
    .values(bits=bindparam("grown"))
)
_SPANNED = select(LogBlockRow.earliest, LogBlockRow.latest).where(LogBlockRow.block == bindparam("at"))
_WIDEN = (
    update(LogBlockRow)
    .where(LogBlockRow.block == bindparam("at"))
    .values(earliest=bindparam("first"), latest=bindparam("last"))
)


def index_entries(session: Session, start: int, entries: Sequence[IndexedEntry]) -> None:
    """Index entries that take their places from `start` on."""
    connection = session.connection()
    _add_bits(connection, postings(start, entries))
    _add_times(connection, start, entries)
    # A set, as an entry may commit to one value twice; sorted, so that neighbours in the table are written together.
    places = sorted(
        {
            (commitment_key(commitment), index)
            for index, entry in enumerate(entries, start)
            for commitment in entry.commitments
        }
    )
    if places:
        connection.execute(_COMMIT, [{"key": key, "index": index} for key, index in places])


def _add_bits(connection: Connection, added: dict[tuple[str, int], int]) -> None:
    keys = sorted(added)
    stored: dict[tuple[str, int], int] = {}
    for first in range(0, len(keys), _AT_ONCE):
        found = connection.execute(_POSTED, {"keys": keys[first : first + _AT_ONCE]})
        stored.update({(term, block): bits_from_bytes(bits) for term, block, bits in found})
    rows = [(key, bits_to_bytes(added[key] | stored.get(key, 0))) for key in keys]
    fresh = [{"term": key[0], "block": key[1], "bits": bits} for key, bits in rows if key not in stored]
    grown = [{"of": key[0], "at": key[1], "grown": bits} for key, bits in rows if key in stored]
    if fresh:
        connection.execute(_POST, fresh)
    if grown:
        connection.execute(_REPOST, grown)


def _add_times(connection: Connection, start: int, entries: Sequence[IndexedEntry]) -> None:
    times: dict[int, list[int]] = {}
    for index, entry in enumerate(entries, start):
        times.setdefault(index // BLOCK, []).append(entry.time)
    for block, each in times.items():
        row = connection.execute(_SPANNED, {"at": block}).first()
        if row is None:
            connection.execute(_SPAN, {"block": block, "earliest": min(each), "latest": max(each)})
            continue
        first, last = min(row.earliest, *each), max(row.latest, *each)
        if (first, last) != (row.earliest, row.latest):
            connection.execute(_WIDEN, {"at": block, "first": first, "last": last})
