"""The index of the log: written with the entries it speaks of, in their transaction (`crypto.log_index`)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session

from crypto.log_index import BLOCK, IndexedEntry, bits_from_bytes, bits_to_bytes, commitment_key, postings
from hub.tables.log import LogBlockRow, LogCommitmentRow, LogPostingRow

_AT_ONCE = 400


def index_entries(session: Session, start: int, entries: Sequence[IndexedEntry]) -> None:
    """Index entries that take their places from `start` on."""
    _add_bits(session, postings(start, entries))
    _add_times(session, start, entries)
    # A set, as an entry may commit to one value twice; sorted, so that neighbours in the table are written together.
    places = sorted(
        {
            (commitment_key(commitment), index)
            for index, entry in enumerate(entries, start)
            for commitment in entry.commitments
        }
    )
    if places:
        session.execute(insert(LogCommitmentRow), [{"key": key, "index": index} for key, index in places])


def _add_bits(session: Session, added: dict[tuple[str, int], int]) -> None:
    keys = sorted(added)
    stored: dict[tuple[str, int], int] = {}
    for first in range(0, len(keys), _AT_ONCE):
        query = select(LogPostingRow.term, LogPostingRow.block, LogPostingRow.bits).where(
            tuple_(LogPostingRow.term, LogPostingRow.block).in_(keys[first : first + _AT_ONCE])
        )
        stored.update({(term, block): bits_from_bytes(bits) for term, block, bits in session.execute(query)})
    rows = [{"term": key[0], "block": key[1], "bits": bits_to_bytes(added[key] | stored.get(key, 0))} for key in keys]
    fresh = [row for row, key in zip(rows, keys, strict=True) if key not in stored]
    grown = [row for row, key in zip(rows, keys, strict=True) if key in stored]
    if fresh:
        session.execute(insert(LogPostingRow), fresh)
    if grown:
        session.execute(update(LogPostingRow), grown)


def _add_times(session: Session, start: int, entries: Sequence[IndexedEntry]) -> None:
    times: dict[int, list[int]] = {}
    for index, entry in enumerate(entries, start):
        times.setdefault(index // BLOCK, []).append(entry.time)
    for block, each in times.items():
        row = session.get(LogBlockRow, block)
        if row is None:
            session.add(LogBlockRow(block=block, earliest=min(each), latest=max(each)))
        else:
            row.earliest, row.latest = min(row.earliest, *each), max(row.latest, *each)
    session.flush()
