"""The witness gives a hub back what its log lacks after its database was restored: only what it cosigned (8)."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.errors import ProofError
from crypto.wire.audit import LogTail, LogTailRequest
from nodes.store import Store
from nodes.tables.mirror import MirrorEntryRow
from nodes.tables.witness import SignedRosterRow
from nodes.witness.checkpoints import CosignedCheckpoints

MAX_BYTES = 16 << 20
"""Of entries in one answer; the hub asks for the rest."""


class LogTailDesk:
    """Handles `log-tail`.

    Args:
        store: the witness's.
        mirror: its copy of the log, each entry of which was verified against a cosigned checkpoint.
    """

    def __init__(self, store: Store, mirror: Store) -> None:
        self._store = store
        self._mirror = mirror

    def answer(self, body: bytes) -> bytes:
        """JSON of `LogTailRequest` in, of `LogTail` out; ProofError where the request is malformed."""
        try:
            request = LogTailRequest.model_validate_json(body)
        except ValidationError as problem:
            raise ProofError("the request is malformed", field="start", remedy="ask again") from problem
        newest = CosignedCheckpoints(self._store).newest(limit=1)
        size = newest[0].size if newest else 0
        with self._store.reading() as session:
            roster = session.scalar(select(SignedRosterRow.token).order_by(SignedRosterRow.version.desc()).limit(1))
        entries: list[str] = []
        taken = 0
        with self._mirror.reading() as session:
            query = select(MirrorEntryRow.leaf).where(
                MirrorEntryRow.index >= request.start, MirrorEntryRow.index < min(size, request.start + request.limit)
            )
            for leaf in session.scalars(query.order_by(MirrorEntryRow.index)):
                taken += len(leaf)
                if entries and taken > MAX_BYTES:
                    break
                entries.append(leaf.decode())
        note = newest[0].note if newest else None
        return canonical_bytes(LogTail(size=size, note=note, entries=tuple(entries), roster=roster))
