"""The audit log: entries committed with their cause, put in order by one sequencer, cosigned by the witness (8).

L1  `append` writes a canonical leaf into the caller's own transaction (an outbox): cause and entry come together.
    `append_durably` does so in one transaction for all who append at that moment (`models.group_commit`).
L2  The sequencer gives waiting leaves their indices, stores entries, what they are searched by, and tiles, and signs a
    checkpoint: one transaction.
L3  The cosigner offers the newest checkpoint to the witness with a consistency proof, verifies and stores its line.
L4  `proof` waits until an entry lies under a cosigned checkpoint. Without the witness L1 and L2 go on, L4 times out.

Subjects, and facts that would name a merchant's consent, enter as SHA-256(salt ‖ value) under a salt of each entry's
own. Salts lie in a table off the log and can be erased (PIPL 47, `hub.erasure`): entries and tree stay as they are, and
without its salt an entry can be matched neither to a merchant nor to another entry about the same consent.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.keys import Signer
from crypto.log_index import commit
from crypto.tiles import MAX_ENTRY, root_from_tiles
from crypto.wire.audit import EntryType, InclusionProof, LogEntry
from hub.clock import Clock, seconds
from hub.cosigning import Cosigner
from hub.db import Database
from hub.errors import CheckpointNotCosignedError, HubError, LogError
from hub.log_placing import place
from hub.log_proofs import ProofDesk
from hub.log_reading import LogReader, StoredTiles, prove_each, prove_pending
from hub.metrics import LOG_BATCH
from hub.restoration import Restoration
from hub.tables.log import CheckpointRow, LogPendingRow, SubjectSaltRow
from models.group_commit import GroupCommit

Fact: TypeAlias = str | int | bool | None
Cause: TypeAlias = Callable[[Session, Sequence[int]], None]
SALT_BYTES = 16
LOOK_S = 1.0
"""How often those who wait for a proof look by themselves: another process may have had it cosigned."""
GROUPING_S = 0.02
"""How long after one checkpoint the sequencer lets others join before it makes the next for somebody who waits; as long
as the witness's signature takes, where that is longer: sooner made, the next one would only wait for it."""
MOST_GROUPING_S = 0.1

_ADD_SALTS = insert(SubjectSaltRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_ADD_PENDING = insert(LogPendingRow).returning(LogPendingRow.id, sort_by_parameter_order=True)
_ADD_CHECKPOINT = insert(CheckpointRow.__table__)  # type: ignore[arg-type]
_WAITING = select(LogPendingRow.id, LogPendingRow.leaf).order_by(LogPendingRow.id).limit(bindparam("most"))
_NOTE_OUTCOME = (
    update(SubjectSaltRow).where(SubjectSaltRow.pending_id == bindparam("of")).values(outcome=bindparam("said"))
)

_logger = structlog.get_logger("hub.log")


@dataclass(frozen=True)
class NewEntry:
    """An entry to append.

    Attributes:
        subject: a merchant's pseudonym, which enters only as a salted commitment.
        hidden: further facts that enter as commitments under the same salt; they need a subject.
    """

    type: EntryType
    actor: str
    subject: bytes | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    hidden: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse hidden facts that nobody could ever open."""
        if self.hidden and self.subject is None:
            raise LogError("Hidden facts need a subject.", field="hidden", remedy="Give the merchant's pseudonym.")


class AuditLog:
    """The hub's log.

    Args:
        db: where it lies.
        key: the hub's signing key.
        origin: the log's name in checkpoints.
        clock: gives entries their times.
        cosigner: asks the witness (L3).
        interval_s, max_entries: a checkpoint is made at least this often while entries come.
        randomness: makes salts.
    """

    def __init__(
        self,
        db: Database,
        key: Signer,
        origin: str,
        *,
        clock: Clock,
        cosigner: Cosigner,
        reader: LogReader,
        interval_s: float = 1.0,
        max_entries: int = 1000,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.reader = reader
        self.guard = Restoration(db)
        self._db = db
        self._key = key
        self._origin = origin
        self._clock = clock
        self._cosigner = cosigner
        self._interval_s = interval_s
        self._max_entries = max_entries
        self._randomness = randomness
        self._wake = threading.Event()
        self._sequencing = threading.Lock()
        self._unsequenced = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._group = GroupCommit(self._append_group)
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, ProofDesk] = WeakKeyDictionary()

    # L1

    def append(
        self,
        session: Session,
        type: EntryType,
        actor: str,
        *,
        subject: bytes | None = None,
        facts: Mapping[str, Fact] | None = None,
    ) -> int:
        """Append an entry in the caller's transaction and return the id to ask `proof` for."""
        return self.append_many(session, [NewEntry(type, actor, subject, facts or {})])[0]

    def append_many(self, session: Session, entries: Sequence[NewEntry]) -> list[int]:
        """Append entries in one bulk insert; ids are in the order of `entries`."""
        if not entries:
            return []
        self.guard.check({entry.type for entry in entries})
        now = self._clock()
        leaves: list[dict[str, bytes]] = []
        salts: list[bytes | None] = []
        for entry in entries:
            salt = None if entry.subject is None else self._randomness(SALT_BYTES)
            commitment, facts = None, dict(entry.facts)
            if salt is not None and entry.subject is not None:
                commitment = commit_subject(salt, entry.subject)
                facts |= {name: commit(salt, value).hex() for name, value in entry.hidden.items()}
            body = LogEntry(type=entry.type, time=now, actor=entry.actor, subject=commitment, facts=facts)
            leaf = canonical_bytes(body)
            if len(leaf) > MAX_ENTRY:
                raise LogError(
                    f"An entry of type {entry.type} has {len(leaf)} bytes; {MAX_ENTRY} is the most.",
                    field="facts",
                    remedy="Log a hash of what is long.",
                )
            leaves.append({"leaf": leaf})
            salts.append(salt)
        connection = session.connection()
        ids = list(connection.scalars(_ADD_PENDING, leaves))
        linked = [
            {"pending_id": pending_id, "pseudonym": entry.subject, "salt": salt, "appended_at": seconds(now)}
            for pending_id, entry, salt in zip(ids, entries, salts, strict=True)
            if salt is not None
        ]
        if linked:
            connection.execute(_ADD_SALTS, linked)
        self._unsequenced += len(ids)
        if self._unsequenced >= self._max_entries:
            self._wake.set()
        return ids

    def append_durably(self, entries: Sequence[NewEntry], cause: Cause | None = None) -> list[int]:
        """Append entries in a transaction shared with all who append at the same time; they are on disk on return.

        Args:
            entries: what to append.
            cause: writes, in the same transaction, what the entries speak of; it gets the session and the entries'
                ids. It may be called anew after a roll-back, and changes nothing but the database.

        Returns:
            Ids in the order of `entries`.
        """
        return self._group.submit((entries, cause))

    def _append_group(self, group: Sequence[tuple[Sequence[NewEntry], Cause | None]]) -> list[list[int]]:
        with self._db.session() as session:
            together = [entry for entries, _ in group for entry in entries]
            LOG_BATCH.observe(len(together))
            ids = iter(self.append_many(session, together))
            given = [[next(ids) for _ in entries] for entries, _ in group]
            for (_, cause), own in zip(group, given, strict=True):
                if cause is not None:
                    cause(session, own)
        return given

    def note_outcomes(self, session: Session, outcomes: Mapping[int, str]) -> None:
        """Keep beside the salts what came of queries, by the ids that `append_many` gave; erased ones stay erased."""
        if outcomes:
            rows = [{"of": pending_id, "said": outcome} for pending_id, outcome in outcomes.items()]
            session.connection().execute(_NOTE_OUTCOME, rows)

    def erase_subject(self, session: Session, pseudonym: bytes) -> int:
        """Erase the salts, and with them what links entries to a merchant; return how many there were."""
        result = session.execute(
            delete(SubjectSaltRow).where(SubjectSaltRow.pseudonym == pseudonym).returning(SubjectSaltRow.pending_id)
        )
        return len(result.all())

    # L2

    def sequence(self) -> int:
        """Give up to `max_entries` waiting leaves their place and sign a checkpoint; return how many there were.

        Nothing gets a place while the hub is held after a restoring.

        Raises:
            ProofError: a stored tile is missing.
        """
        if self.guard.held():
            return 0
        with self._sequencing, self._db.session() as session:
            connection = session.connection()
            pending = connection.execute(_WAITING, {"most": self._max_entries}).all()
            if not pending:
                self._unsequenced = 0
                return 0
            tiles = StoredTiles(session)
            size = place(session, [(row.id, row.leaf) for row in pending], tiles)
            root = root_from_tiles(size, tiles)
            body = Checkpoint(self._origin, size, root).body()
            note = assemble(body, [sign_note(body, self._origin, self._key)])
            signed = {"size": size, "note": note, "cosigned": False, "created_at": seconds(self._clock())}
            connection.execute(_ADD_CHECKPOINT, signed)
        self._unsequenced = max(0, self._unsequenced - len(pending))
        self._cosigner.offer_soon()
        return len(pending)

    # L4

    def proofs_sync(self, pending_ids: Sequence[int], timeout: float) -> list[InclusionProof]:
        """Wait for a cosigned checkpoint over all these entries and prove each under it, in order.

        Raises:
            CheckpointNotCosignedError: there is none within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            seen = self._cosigner.generation
            proofs = self._prove(pending_ids)
            if proofs is not None:
                return proofs
            self._hurry()
            left = deadline - time.monotonic()
            if left <= 0:
                raise _not_cosigned(timeout)
            self._cosigner.wait(seen, min(left, LOOK_S))

    async def proofs(
        self, pending_ids: Sequence[int], timeout: float, *, seen: int | None = None
    ) -> list[InclusionProof]:
        """Like `proofs_sync`, without holding a thread while waiting, and together with all who wait on this loop.

        Args:
            pending_ids, timeout: as for `proofs_sync`.
            seen: `generation` from before the entries were appended; saves a look that finds nothing.
        """
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = ProofDesk(self._cosigner, self._prove_each, self._hurry)
        try:
            return await desk.of(pending_ids, timeout, seen)
        except TimeoutError:
            raise _not_cosigned(timeout) from None

    @property
    def generation(self) -> int:
        """Counts cosigned checkpoints; see `proofs`."""
        return self._cosigner.generation

    def proof_sync(self, pending_id: int, timeout: float) -> InclusionProof:
        """Wait for a cosigned checkpoint over one entry; see `proofs_sync`."""
        return self.proofs_sync([pending_id], timeout)[0]

    async def proof(self, pending_id: int, timeout: float) -> InclusionProof:
        """Wait for a cosigned checkpoint over one entry; see `proofs_sync`."""
        return (await self.proofs([pending_id], timeout))[0]

    def _prove(self, pending_ids: Sequence[int]) -> list[InclusionProof] | None:
        with self._db.reading() as session:
            return prove_pending(session, pending_ids)

    def _prove_each(self, groups: Sequence[Sequence[int]]) -> list[list[InclusionProof] | None]:
        with self._db.reading() as session:
            return prove_each(session, groups)

    def _hurry(self) -> None:
        self._wake.set()
        self._cosigner.offer_soon()

    # threads

    def check(self) -> None:
        """Check at start-up that entries, tiles and the newest checkpoint agree; LogError otherwise."""
        if not self.reader.root_matches():
            raise LogError(
                "The stored log does not have the root of its newest checkpoint.",
                remedy="Restore the database from a backup that is whole; do not start a new log under the old key.",
            )

    def start(self) -> None:
        """Check the stored log, then start the sequencer and the cosigner."""
        self.check()
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._run, name="log-sequencer", daemon=True),
            threading.Thread(target=self._cosigner.run, args=(self._stopping,), name="log-cosigner", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Put what waits in order once more, then stop both threads."""
        self._stopping.set()
        self._wake.set()
        self._cosigner.offer_soon()
        for thread in self._threads:
            thread.join(timeout=30)
        self._threads = []

    def _run(self) -> None:
        earliest = 0.0
        while True:
            woken = self._wake.wait(self._interval_s)
            stopping = self._stopping.is_set()
            if woken and not stopping:
                # Whoever comes alone does not wait; under load others join.
                time.sleep(max(0.0, earliest - time.monotonic()))
            self._wake.clear()
            try:
                while self.sequence() == self._max_entries:
                    pass
            except Exception:
                # The log must go on once the cause (a full disk, a locked database) is gone; nothing was committed.
                _logger.exception("log-sequencing-failed")
            earliest = time.monotonic() + grouping_s(self._cosigner.took)
            if stopping:
                return


def grouping_s(took: float) -> float:
    """How many seconds after one checkpoint the next is made, where a signature of the witness took so many."""
    return min(MOST_GROUPING_S, max(GROUPING_S, took))


def commit_subject(salt: bytes, pseudonym: bytes) -> bytes:
    """Return the commitment that stands for a merchant in an entry: SHA-256(salt ‖ pseudonym), 32 bytes."""
    return commit(salt, pseudonym)


def _not_cosigned(timeout: float) -> HubError:
    return CheckpointNotCosignedError(
        f"The entry was written, but the witness cosigned no checkpoint over it within {timeout:g} s.",
        remedy="Check that the witness's agent is connected, then ask again with the same idempotency key.",
    )
