"""The witness cosigns checkpoints of the hub's log: only what extends all that it cosigned before (8).

Its last checkpoint is on disk before the line leaves, so that not even a crash lets it cosign two histories.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError
from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, parse_note, sign_note, verify_note
from crypto.errors import ProofError
from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.merkle import EMPTY_ROOT, verify_consistency
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer
from nodes.clock import Clock, system_clock
from nodes.store import Store
from nodes.tables.witness import CosignedCheckpointRow, CosignedLogRow, RefusedCheckpointRow

_KNOWN = select(CosignedLogRow.origin, CosignedLogRow.size, CosignedLogRow.root).where(CosignedLogRow.id == 1)
_FIRST = insert(CosignedLogRow).values(id=1)
_NEXT = update(CosignedLogRow).where(CosignedLogRow.id == 1)
_END = update(RefusedCheckpointRow).where(RefusedCheckpointRow.open).values(open=False)
_KEEP = insert(CosignedCheckpointRow).on_conflict_do_nothing(index_elements=["size"])
"""One of the same size is kept already: the hub asked again."""


@dataclass(frozen=True)
class Cosigned:
    """A checkpoint that the witness cosigned: the note with the hub's line and its own, and when (Unix seconds)."""

    size: int
    root: bytes
    note: str
    time: int


@dataclass(frozen=True)
class Refused:
    """A checkpoint that the witness refused, while it knew `known_size` entries; times in Unix seconds."""

    detail: str
    remedy: str
    note: str
    known_size: int
    first: int
    last: int
    open: bool


class CosignedCheckpoints:
    """All checkpoints that the witness cosigned, as it keeps them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self) -> int:
        """How many there are."""
        with self._store.reading() as session:
            return session.scalar(select(func.count()).select_from(CosignedCheckpointRow)) or 0

    def newest(self, *, limit: int, below: int | None = None) -> list[Cosigned]:
        """The largest ones, largest first; with `below` those of fewer entries than that."""
        query = select(CosignedCheckpointRow).order_by(CosignedCheckpointRow.size.desc()).limit(limit)
        if below is not None:
            query = query.where(CosignedCheckpointRow.size < below)
        with self._store.reading() as session:
            return [_cosigned(row) for row in session.scalars(query)]

    def refused(self, *, limit: int = 50) -> list[Refused]:
        """Those that the witness refused, the newest first."""
        query = select(RefusedCheckpointRow).order_by(RefusedCheckpointRow.id.desc()).limit(limit)
        with self._store.reading() as session:
            return [
                Refused(row.detail, row.remedy, row.note, row.known_size, row.first, row.last, row.open)
                for row in session.scalars(query)
            ]

    def up_to(self, size: int) -> Cosigned | None:
        """The largest one of at most `size` entries."""
        found = self.newest(limit=1, below=size + 1)
        return found[0] if found else None

    def of(self, size: int) -> Cosigned | None:
        """The one of exactly `size` entries."""
        found = self.up_to(size)
        return found if found is not None and found.size == size else None


class CheckpointCosigner:
    """Handles `cosign-checkpoint`."""

    def __init__(
        self,
        store: Store,
        *,
        hub_keys: Callable[[], KeyLine],
        witness_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        """Args:
        store: the witness's.
        hub_keys: gives the hub's keys, from the pinned one on.
        witness_id, identity: name and key of the cosignature.
        clock: its time.
        """
        self._store = store
        self._hub_keys = hub_keys
        self._witness_id = witness_id
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()

    def cosign(self, body: bytes) -> bytes:
        """As `_cosign`; what is refused is kept as evidence, and shown as an alarm until the next cosignature."""
        try:
            return self._cosign(body)
        except ProofError as problem:
            self._keep_refusal(body, problem)
            raise

    def _cosign(self, body: bytes) -> bytes:
        """JSON of `CheckpointOffer` in, of `CheckpointCosignature` out.

        There is no line where the hub starts from another size than the one cosigned last.

        Raises:
            ProofError: not signed by the hub's key of now, of another log, or not an extension: a forked history.
        """
        try:
            offer = CheckpointOffer.model_validate_json(body)
        except ValidationError as problem:
            raise ProofError("the offer is malformed", field="offer", remedy="offer the checkpoint again") from problem
        origin = parse_note(offer.note)[0].origin
        checkpoint = verify_note(offer.note, {origin: self._hub_keys()}, required={origin}, moment=self._clock())
        with self._lock, self._store.session() as session:
            connection = session.connection()
            row = connection.execute(_KNOWN).first()
            known = Checkpoint(origin, 0, EMPTY_ROOT) if row is None else Checkpoint(row.origin, row.size, row.root)
            if known.origin != origin:
                raise ProofError(
                    f"the log calls itself {origin}; until now it was {known.origin}",
                    field="origin",
                    remedy="a hub has one log: restore its configuration",
                )
            if offer.old_size != known.size or checkpoint.size < known.size:
                return canonical_bytes(CheckpointCosignature(known_size=known.size))
            verify_consistency(known.size, known.root, checkpoint.size, checkpoint.root, offer.proof)
            told = {"origin": origin, "size": checkpoint.size, "root": checkpoint.root}
            connection.execute(_FIRST if row is None else _NEXT, told)
            connection.execute(_END)
            moment = int(self._clock().timestamp())
            line = sign_note(checkpoint.body(), self._witness_id, self._identity, cosignature_time=moment)
            kept = {
                "size": checkpoint.size,
                "root": checkpoint.root,
                "note": assemble(checkpoint.body(), [_line_of(offer.note, origin), line]),
                "cosigned_at": moment,
            }
            connection.execute(_KEEP, kept)
        return canonical_bytes(CheckpointCosignature(line=line, known_size=checkpoint.size))

    def _keep_refusal(self, body: bytes, problem: ProofError) -> None:
        """The same offer again changes only when it came last: a hub asks each second."""
        try:
            note = CheckpointOffer.model_validate_json(body).note
        except ValidationError:
            note = ""
        moment = int(self._clock().timestamp())
        with self._store.session() as session:
            known = session.get(CosignedLogRow, 1)
            query = select(RefusedCheckpointRow).where(RefusedCheckpointRow.open, RefusedCheckpointRow.note == note)
            row = session.scalars(query.limit(1)).first()
            if row is not None:
                row.last = moment
                return
            session.add(
                RefusedCheckpointRow(
                    detail=problem.message,
                    remedy=problem.remedy or "",
                    note=note,
                    known_size=0 if known is None else known.size,
                    first=moment,
                    last=moment,
                    open=True,
                )
            )

    def known(self) -> Checkpoint | None:
        """The checkpoint that was cosigned last."""
        with self._store.reading() as session:
            row = session.get(CosignedLogRow, 1)
        return None if row is None else Checkpoint(row.origin, row.size, row.root)


def _line_of(note: str, name: str) -> str:
    """The signature line of `name`, which was verified."""
    lines = note.rpartition("\n\n")[2].splitlines()
    return next(line for line in lines if line.startswith(f"\u2014 {name} "))


def _cosigned(row: CosignedCheckpointRow) -> Cosigned:
    return Cosigned(row.size, row.root, row.note, row.cosigned_at)
