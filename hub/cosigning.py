"""L3: the witness cosigns the newest checkpoint after its own consistency check; its line is verified and stored."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import bindparam, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.checkpoint import Verifiers, assemble, parse_note, sign_note, verify_note
from crypto.errors import CryptoError
from crypto.keys import Signer
from crypto.tiles import consistency_from_tiles
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer
from hub.alarms import Alarms
from hub.db import Database
from hub.errors import HubError, LogError, PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from hub.log_reading import StoredCheckpoint, StoredTiles, latest_checkpoint, log_size
from hub.parties import Witness, witness_of
from hub.peers import PeerLinks
from hub.tables.log import CheckpointRow

RETRY_S = 1.0
_MAX_TRIES = 3
_COSIGN = (
    update(CheckpointRow)
    .where(CheckpointRow.size == bindparam("of"), ~CheckpointRow.cosigned)
    .values(note=bindparam("signed"), cosigned=True)
)

_logger = structlog.get_logger("hub.cosigning")


class _OvertakenError(Exception):
    """Another process offered a later checkpoint meanwhile; the next offer proves that it extends that one."""


class Cosigner:
    """Offers checkpoints to the witness, one at a time, and wakes those who wait for the outcome.

    Args:
        db: where checkpoints lie.
        origin, key: the log's name and the hub's signing key.
        links: gives the links when they are needed (they are opened after the log).
        alarms: are told of every refusal, and of its end.
        timeout_s: how long one offer may take.
        leads: whether this process is the one that asks the witness, where several serve.
        tell: tells the others, by a field of `hub.replica_news.News`.
    """

    def __init__(
        self,
        db: Database,
        origin: str,
        key: Signer,
        *,
        links: Callable[[], PeerLinks],
        alarms: Alarms,
        timeout_s: float = 10.0,
        leads: Callable[[], bool] = lambda: True,
        tell: Callable[[str], None] = lambda _what: None,
    ) -> None:
        self._db = db
        self._origin = origin
        self._key = key
        self._links = links
        self._alarms = alarms
        self._timeout_s = timeout_s
        self._leads = leads
        self._tell = tell
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._generation = 0
        self.took = 0.0
        """Seconds from the last offer that was cosigned until its line was stored."""
        self._loops: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._complaint: str | None = None

    @property
    def generation(self) -> int:
        """Counts cosigned checkpoints; read it before you look, then wait for it to move."""
        return self._generation

    def wait(self, seen: int, timeout: float) -> bool:
        """Wait until a checkpoint was cosigned since `seen`; False if none was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._generation != seen, timeout)

    async def wait_async(self, seen: int, timeout: float) -> bool:
        """Like `wait`, on the caller's event loop."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._changed:
            if self._generation != seen:
                return True
            self._loops.add(waiter)
        try:
            await asyncio.wait_for(waiter[1].wait(), timeout)
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._loops.discard(waiter)
        return True

    def offer_soon(self) -> None:
        """Let the thread offer the newest checkpoint now, or that of the process that leads."""
        self._wake.set()
        if not self._leads():
            self._tell("offer")

    def wake(self) -> None:
        """Another process has something to offer."""
        self._wake.set()

    def heard(self) -> None:
        """Another process may have had a checkpoint cosigned: those who wait look again."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()
            for loop, event in self._loops:
                loop.call_soon_threadsafe(event.set)

    def run(self, stopping: threading.Event) -> None:
        """Offer checkpoints until `stopping`; a failure is logged once and tried again each second."""
        while not stopping.is_set():
            self._wake.wait(RETRY_S)
            self._wake.clear()
            if stopping.is_set():
                return
            if not self._leads():
                continue
            try:
                self.offer()
                self._complaint = None
            except (HubError, CryptoError, ValueError) as error:
                self._complain(error)
                stopping.wait(0.05)  # callers in a hurry must not make this a busy loop
            except Exception:
                _logger.exception("cosigning-failed")
                stopping.wait(RETRY_S)

    def _complain(self, error: Exception) -> None:
        code = getattr(error, "code", type(error).__name__)
        if code != self._complaint:
            self._complaint = code
            _logger.warning("checkpoint-not-cosigned", code=code, reason=str(error))

    def offer(self) -> bool:
        """Offer the newest checkpoint; True if it is cosigned now, False if there is none or it was already.

        Raises:
            PeerError: the witness is not reachable or refuses.
            ProofError: its line is wrong.
            LogError: it knows a log longer than ours (the hub's database was set back), or no witness is enrolled.
        """
        began = time.monotonic()
        with self._db.reading() as session:
            newest = latest_checkpoint(session, cosigned=False)
            if newest is None or newest.cosigned:
                return False
            known = latest_checkpoint(session, cosigned=True)
            covered = known.size if known else 0
            witness = witness_of(session)
            if witness is None:
                raise LogError("No witness is enrolled; checkpoints stay uncosigned.", remedy="Enrol the witness.")
            newest = self._signed_anew(newest)
            try:
                first = self._offer(session, newest, covered)
            except CryptoError as error:
                self._refused(error, newest, covered)
                raise
        try:
            note = self._cosigned(witness, newest, first)
        except (PeerUnreachable, PeerTimeout):
            raise  # not a refusal: it was not heard
        except _OvertakenError:
            return False
        except (HubError, CryptoError, ValueError) as error:
            self._refused(error, newest, covered)
            raise
        with self._db.session() as session:
            session.connection().execute(_COSIGN, {"of": newest.size, "signed": note})
            self._alarms.cosigned(session)
        self.took = time.monotonic() - began
        self.heard()
        self._tell("cosigned")
        return True

    def _refused(self, error: Exception, newest: StoredCheckpoint, covered: int) -> None:
        code = error.problem.code if isinstance(error, PeerRefused) else getattr(error, "code", "peer-failed")
        self._alarms.refused(code, str(error), size=newest.size, cosigned_size=covered)

    def _cosigned(self, witness: Witness, newest: StoredCheckpoint, first: CheckpointOffer) -> str:
        """The note with the witness's line, which was verified."""
        line = self._ask(witness, newest, first)
        checkpoint, _ = parse_note(newest.note)
        own_line = newest.note.rpartition("\n\n")[2].splitlines()[0]
        note = assemble(checkpoint.body(), [own_line, line])
        verify_note(note, self._verifiers(witness), required={self._origin, witness.party_id})
        return note

    def _signed_anew(self, newest: StoredCheckpoint) -> StoredCheckpoint:
        """A checkpoint that a former key signed, and nobody cosigned, is offered under the key that holds now."""
        checkpoint, signatures = parse_note(newest.note)
        if any(each.kind(self._key.public) is not None for each in signatures):
            return newest
        body = checkpoint.body()
        return newest._replace(note=assemble(body, [sign_note(body, self._origin, self._key)]))

    def _verifiers(self, witness: Witness) -> Verifiers:
        return {self._origin: self._key.line, witness.party_id: witness.keys}

    def _ask(self, witness: Witness, newest: StoredCheckpoint, offer: CheckpointOffer) -> str:
        for _ in range(_MAX_TRIES):
            body = self._links().request(witness.party_id, "cosign-checkpoint", canonical_bytes(offer), self._timeout_s)
            answer = CheckpointCosignature.model_validate_json(body)
            if answer.line is not None:
                return answer.line
            if answer.known_size > newest.size:
                with self._db.reading() as session:
                    if log_size(session) >= answer.known_size:
                        raise _OvertakenError
                raise LogError(
                    f"The witness cosigned a log of {answer.known_size} entries; here it has {newest.size}.",
                    remedy="The database was set back. Restore the newest one; do not continue the log from here.",
                )
            with self._db.reading() as session:
                offer = self._offer(session, newest, answer.known_size)
        raise PeerError("The witness gives no line and changes its mind.", party=witness.party_id)

    @staticmethod
    def _offer(session: Session, newest: StoredCheckpoint, known: int) -> CheckpointOffer:
        proof = consistency_from_tiles(known, newest.size, StoredTiles(session))
        return CheckpointOffer(old_size=known, proof=tuple(proof), note=newest.note)
