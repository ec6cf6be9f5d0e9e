"""Durable state of the attempts that a node takes part in (docs/protocol.md, 3).

`crypto.attempts` says what may follow what; here it is kept. A state is saved before what it permits leaves the
node, and an attempt's X25519 key is deleted when the attempt ends, so that what was masked under it stays masked.
"""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import delete

from crypto.attempts import NodeAttempt
from crypto.keys import BoxKey
from nodes.errors import LedgerError
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow, AttemptKeyRow, AttemptRow


class AttemptStore:
    """Attempt states, their single-use keys, and what they need between two steps."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, attempt: str) -> NodeAttempt | None:
        """The attempt's state, or None if the node never accepted it.

        Raises:
            LedgerError: the stored state cannot be read; the attempt must not go on.
        """
        with self._store.reading() as session:
            row = session.get(AttemptRow, attempt)
        if row is None:
            return None
        try:
            return NodeAttempt.model_validate_json(row.state)
        except ValidationError as problem:
            raise LedgerError(
                f"the stored state of attempt {attempt} cannot be read",
                field="attempt",
                remedy="restore the store from its backup; let the hub start a new attempt",
            ) from problem

    def save(self, state: NodeAttempt) -> None:
        """Make a state durable; returns once it is on disk."""
        with self._store.session() as session:
            session.merge(AttemptRow(attempt=state.attempt, state=state.model_dump_json().encode()))

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
            session.merge(AttemptBlobRow(attempt=attempt, name=name, data=data))

    def blob(self, attempt: str, name: str) -> bytes | None:
        """The bytes kept under a name, or None."""
        with self._store.reading() as session:
            row = session.get(AttemptBlobRow, (attempt, name))
        return None if row is None else row.data
