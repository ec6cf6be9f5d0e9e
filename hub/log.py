"""The audit log: entries committed with their cause, put in order by one sequencer, cosigned by the witness (8).

L1  `append` writes a canonical leaf into the caller's own transaction (an outbox): cause and entry come together.
    `append_durably` does so in one transaction for all who append at that moment (`hub.group_commit`).
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

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.keys import IdentityKey
from crypto.log_index import commit, indexed
from crypto.merkle import leaf_hash
from crypto.tiles import MAX_ENTRY, integrate, root_from_tiles
from crypto.wire.audit import EntryType, InclusionProof, LogEntry
from hub.clock import Clock, seconds
from hub.cosigning import Cosigner
from hub.db import Database
from hub.errors import CheckpointNotCosignedError, HubError, LogError
from hub.group_commit import GroupCommit
from hub.log_postings import index_entries
from hub.log_reading import LogReader, StoredTiles, log_size, prove_pending
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow, LogTileRow, SubjectSaltRow

Fact: TypeAlias = str | int | bool | None
Cause: TypeAlias = Callable[[Session, Sequence[int]], None]
SALT_BYTES = 16
GROUPING_S = 0.02
"""How long the sequencer lets others join once somebody waits for a proof."""

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
        key: IdentityKey,
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
        inserted = session.scalars(
            insert(LogPendingRow).returning(LogPendingRow.id, sort_by_parameter_order=True), leaves
        )
        ids = list(inserted)
        linked = [
            {"pending_id": pending_id, "pseudonym": entry.subject, "salt": salt, "appended_at": seconds(now)}
            for pending_id, entry, salt in zip(ids, entries, salts, strict=True)
            if salt is not None
        ]
        if linked:
            session.execute(insert(SubjectSaltRow), linked)
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
            ids = iter(self.append_many(session, [entry for entries, _ in group for entry in entries]))
            given = [[next(ids) for _ in entries] for entries, _ in group]
            for (_, cause), own in zip(group, given, strict=True):
                if cause is not None:
                    cause(session, own)
        return given

    def note_outcomes(self, session: Session, outcomes: Mapping[int, str]) -> None:
        """Keep beside the salts what came of queries, by the ids that `append_many` gave; erased ones stay erased."""
        for pending_id, outcome in outcomes.items():
            row = session.get(SubjectSaltRow, pending_id)
            if row is not None:
                row.outcome = outcome

    def erase_subject(self, session: Session, pseudonym: bytes) -> int:
        """Erase the salts, and with them what links entries to a merchant; return how many there were."""
        result = session.execute(
            delete(SubjectSaltRow).where(SubjectSaltRow.pseudonym == pseudonym).returning(SubjectSaltRow.pending_id)
        )
        return len(result.all())

    # L2

    def sequence(self) -> int:
        """Give up to `max_entries` waiting leaves their place and sign a checkpoint; return how many there were.

        Raises:
            ProofError: a stored tile is missing.
        """
        with self._sequencing, self._db.session() as session:
            pending = session.execute(
                select(LogPendingRow.id, LogPendingRow.leaf).order_by(LogPendingRow.id).limit(self._max_entries)
            ).all()
            if not pending:
                self._unsequenced = 0
                return 0
            start = log_size(session)
            hashes = [leaf_hash(leaf) for _, leaf in pending]
            entries = [indexed(LogEntry.model_validate_json(leaf)) for _, leaf in pending]
            session.execute(
                insert(LogEntryRow),
                [
                    {"index": index, "pending_id": pending_id, "time": entry.time, "leaf": leaf, "hash": leaf_hash_}
                    for index, ((pending_id, leaf), entry, leaf_hash_) in enumerate(
                        zip(pending, entries, hashes, strict=True), start
                    )
                ],
            )
            index_entries(session, start, entries)
            ids = [pending_id for pending_id, _ in pending]
            for first in range(0, len(ids), 500):
                session.execute(delete(LogPendingRow).where(LogPendingRow.id.in_(ids[first : first + 500])))
            size = self._extend(session, start, hashes)
            root = root_from_tiles(size, StoredTiles(session))
            body = Checkpoint(self._origin, size, root).body()
            note = assemble(body, [sign_note(body, self._origin, self._key)])
            session.add(CheckpointRow(size=size, note=note, cosigned=False, created_at=seconds(self._clock())))
        self._unsequenced = max(0, self._unsequenced - len(pending))
        self._cosigner.offer_soon()
        return len(pending)

    @staticmethod
    def _extend(session: Session, start: int, hashes: list[bytes]) -> int:
        size, changed = integrate(start, hashes, StoredTiles(session))
        for (level, index), data in changed.items():
            session.merge(LogTileRow(level=level, index=index, width=len(data) // 32, data=data))
        session.flush()
        return size

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
            if left <= 0 or not self._cosigner.wait(seen, left):
                raise _not_cosigned(timeout)

    async def proofs(self, pending_ids: Sequence[int], timeout: float) -> list[InclusionProof]:
        """Like `proofs_sync`, without holding a thread while waiting."""
        deadline = time.monotonic() + timeout
        while True:
            seen = self._cosigner.generation
            proofs = await asyncio.to_thread(self._prove, pending_ids)
            if proofs is not None:
                return proofs
            self._hurry()
            left = deadline - time.monotonic()
            if left <= 0 or not await self._cosigner.wait_async(seen, left):
                raise _not_cosigned(timeout)

    def proof_sync(self, pending_id: int, timeout: float) -> InclusionProof:
        """Wait for a cosigned checkpoint over one entry; see `proofs_sync`."""
        return self.proofs_sync([pending_id], timeout)[0]

    async def proof(self, pending_id: int, timeout: float) -> InclusionProof:
        """Wait for a cosigned checkpoint over one entry; see `proofs_sync`."""
        return (await self.proofs([pending_id], timeout))[0]

    def _prove(self, pending_ids: Sequence[int]) -> list[InclusionProof] | None:
        with self._db.reading() as session:
            return prove_pending(session, pending_ids)

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
        while True:
            woken = self._wake.wait(self._interval_s)
            stopping = self._stopping.is_set()
            if woken and not stopping:
                time.sleep(GROUPING_S)
            self._wake.clear()
            try:
                while self.sequence():
                    pass
            except Exception:
                # The log must go on once the cause (a full disk, a locked database) is gone; nothing was committed.
                _logger.exception("log-sequencing-failed")
            if stopping:
                return


def commit_subject(salt: bytes, pseudonym: bytes) -> bytes:
    """Return the commitment that stands for a merchant in an entry: SHA-256(salt ‖ pseudonym), 32 bytes."""
    return commit(salt, pseudonym)


def _not_cosigned(timeout: float) -> HubError:
    return CheckpointNotCosignedError(
        f"The entry was written, but the witness cosigned no checkpoint over it within {timeout:g} s.",
        remedy="Check that the witness's agent is connected, then ask again with the same idempotency key.",
    )
