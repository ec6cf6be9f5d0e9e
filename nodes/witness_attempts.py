"""Durable state of the attempts that the witness cosigned (docs/protocol.md, 3 and 4).

`crypto.attempts.WitnessAttempt` says what may follow what; here each state is on disk before what it permits leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, select

from crypto.attempts import WitnessAttempt
from crypto.keys import BoxKey
from nodes.attempt_states import read_state, replace_state, state_columns
from nodes.errors import LedgerError
from nodes.store import Store
from nodes.tables.witness_attempts import WitnessAttemptRow
from nodes.tables.witness_slices import WitnessPiecesRow
from nodes.witness_slices import SlicesBlock

Positions = NDArray[np.uint32]


@dataclass(frozen=True)
class WitnessRecord:
    """An attempt as the witness keeps it.

    Attributes:
        state: protocol state.
        terms: the hub's signed terms, exact.
        positions: per node in order of the roster.
        key: the X25519 key, None once the attempt has ended.
    """

    state: WitnessAttempt
    campaign_id: str
    terms: str
    positions: tuple[Positions, ...]
    key: BoxKey | None


class WitnessAttemptStore:
    """The witness's attempts in its node's store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, attempt: str) -> WitnessRecord | None:
        """The record, or None if this attempt was never cosigned here.

        Raises:
            LedgerError: the stored state cannot be read; the attempt must not go on.
        """
        with self._store.reading() as session:
            row = session.get(WitnessAttemptRow, attempt)
        if row is None:
            return None
        key = None if row.key is None else BoxKey.from_bytes(row.key)
        return WitnessRecord(read_state(WitnessAttempt, row), row.campaign_id, row.terms, _cut(row.positions), key)

    def create(self, record: WitnessRecord) -> None:
        """Make a new attempt durable (T0).

        Raises:
            LedgerError: the attempt is on record already.
        """
        with self._store.session() as session:
            if session.get(WitnessAttemptRow, record.state.attempt) is not None:
                raise LedgerError(
                    f"attempt {record.state.attempt} is on record already",
                    field="attempt",
                    remedy="an attempt's id is never used twice",
                )
            session.add(
                WitnessAttemptRow(
                    attempt=record.state.attempt,
                    campaign_id=record.campaign_id,
                    key=None if record.key is None else record.key.raw,
                    terms=record.terms,
                    positions=_joined(record.positions),
                    **state_columns(record.state),
                )
            )

    def save(self, state: WitnessAttempt, *, forget_key: bool = False) -> None:
        """Make a state durable; returns once it is on disk.

        Raises:
            LedgerError: the attempt is not on record, or has gone on, so that this state cannot follow what is stored.
        """
        forgotten = {"key": None} if forget_key else {}
        with self._store.session() as session:
            replace_state(session, WitnessAttemptRow, state, **forgotten)
            if forget_key:
                session.execute(delete(WitnessPiecesRow).where(WitnessPiecesRow.attempt == state.attempt))

    def keep_block(self, attempt: str, block: int, slices: SlicesBlock) -> None:
        """Keep a block of the slices until the attempt ends; those of a cosigned attempt are not replaced."""
        with self._store.session() as session:
            if session.get(WitnessAttemptRow, attempt) is None:
                session.merge(WitnessPiecesRow(attempt=attempt, block=block, data=slices.to_bytes()))

    def blocks(self, attempt: str) -> dict[int, SlicesBlock]:
        """The blocks of slices that are kept of an attempt."""
        with self._store.reading() as session:
            found = session.scalars(select(WitnessPiecesRow).where(WitnessPiecesRow.attempt == attempt))
            return {row.block: SlicesBlock.from_bytes(row.data) for row in found}

    def attempts(self, campaign_id: str) -> tuple[str, ...]:
        """Ids of a campaign's attempts, in order."""
        with self._store.reading() as session:
            found = session.scalars(
                select(WitnessAttemptRow.attempt).where(WitnessAttemptRow.campaign_id == campaign_id)
            )
            return tuple(sorted(found))


def _joined(positions: Sequence[Positions]) -> bytes:
    parts = [np.append(np.uint32(len(each)), each).astype("<u4").tobytes() for each in positions]
    return b"".join(parts)


def _cut(data: bytes) -> tuple[Positions, ...]:
    words = np.frombuffer(data, dtype="<u4").astype(np.uint32, copy=False)
    parts: list[Positions] = []
    at = 0
    while at < len(words):
        end = at + 1 + int(words[at])
        parts.append(words[at + 1 : end])
        at = end
    return tuple(parts)
