"""Durable state of the attempts that a node takes part in (docs/protocol.md, 3).

`crypto.attempts` says what may follow what; here it is kept. A state is saved before what it permits leaves the
node, and an attempt's X25519 key is deleted when the attempt ends, so that what was masked under it stays masked.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from crypto.attempts import NodeAttempt
from crypto.keys import BoxKey
from nodes.attempt_states import read_state, write_state
from nodes.clock import Clock, system_clock
from nodes.errors import LedgerError
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow, AttemptKeyRow, AttemptRow


class AttemptStore:
    """Attempt states, their single-use keys, and what they need between two steps."""

    def __init__(self, store: Store, *, clock: Clock = system_clock) -> None:
        self._store = store
        self._clock = clock

    def load(self, attempt: str) -> NodeAttempt | None:
        """The attempt's state, or None if the node never accepted it.

        Raises:
            LedgerError: the stored state cannot be read; the attempt must not go on.
        """
        with self._store.reading() as session:
            row = session.get(AttemptRow, attempt)
        return None if row is None else read_state(NodeAttempt, row)

    def save(self, state: NodeAttempt, **blobs: bytes) -> None:
        """Make a state, and what belongs to it, durable in one transaction; returns once it is on disk.

        Raises:
            LedgerError: the attempt has gone on, so that this state cannot follow what is stored.
        """
        with self._store.session() as session:
            write_state(session, AttemptRow, state)
            for name, data in blobs.items():
                session.merge(self._blob(state.attempt, name, data))

    def tries(self, run: str) -> tuple[str, ...]:
        """Ids of the attempts that lie within an encoder run, in no order."""
        with self._store.reading() as session:
            within = AttemptRow.attempt.startswith(f"{run}/", autoescape=True)
            return tuple(session.scalars(select(AttemptRow.attempt).where(within)))

    def save_key(self, attempt: str, key: BoxKey) -> None:
        """Keep the key of an attempt. A second, different key under one attempt is refused.

        Raises:
            LedgerError: the attempt has another key already.
        """
        with self._store.session() as session:
            row = session.get(AttemptKeyRow, attempt)
            if row is not None and row.key != key.raw:
                raise LedgerError(
                    f"attempt {attempt} has a key already",
                    field="attempt",
                    remedy="use the stored key; an attempt has one key for its whole life",
                )
            if row is None:
                session.add(AttemptKeyRow(attempt=attempt, key=key.raw))

    def key(self, attempt: str) -> BoxKey:
        """The attempt's key.

        Raises:
            LedgerError: there is none: the attempt was never accepted here, or has ended.
        """
        with self._store.reading() as session:
            row = session.get(AttemptKeyRow, attempt)
        if row is None:
            raise LedgerError(
                f"attempt {attempt} has no key: it was not accepted here, or it has ended",
                field="attempt",
                remedy="start a new attempt",
            )
        return BoxKey.from_bytes(row.key)

    def forget_key(self, attempt: str) -> None:
        """Delete the attempt's key and everything kept between its steps; their bytes are overwritten."""
        with self._store.session() as session:
            session.execute(delete(AttemptKeyRow).where(AttemptKeyRow.attempt == attempt))
            session.execute(delete(AttemptBlobRow).where(AttemptBlobRow.attempt == attempt))
        self._store.scrub()

    def save_blob(self, attempt: str, name: str, data: bytes) -> None:
        """Keep bytes under a name until the attempt ends; saving again replaces them."""
        with self._store.session() as session:
            session.merge(self._blob(attempt, name, data))

    def drop_blob(self, attempt: str, name: str) -> None:
        """Delete the bytes kept under a name, if any."""
        with self._store.session() as session:
            named = AttemptBlobRow.attempt == attempt, AttemptBlobRow.name == name
            session.execute(delete(AttemptBlobRow).where(*named))

    def blob(self, attempt: str, name: str) -> bytes | None:
        """The bytes kept under a name, or None."""
        with self._store.reading() as session:
            row = session.get(AttemptBlobRow, (attempt, name))
        return None if row is None else row.data

    def _blob(self, attempt: str, name: str, data: bytes) -> AttemptBlobRow:
        return AttemptBlobRow(attempt=attempt, name=name, data=data, kept_at=int(self._clock().timestamp()))
