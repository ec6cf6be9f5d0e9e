"""L3: the witness cosigns the newest checkpoint after its own consistency check; its line is verified and stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.checkpoint import assemble, parse_note, verify_note
from crypto.errors import CryptoError
from crypto.tiles import consistency_from_tiles
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer
from crypto.wire.party import Party
from hub.alarms import Alarms
from hub.db import Database
from hub.errors import HubError, LogError, PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from hub.log_reading import StoredTiles, latest_checkpoint
from hub.peers import PeerLinks
from hub.tables.log import CheckpointRow

RETRY_S = 1.0
_MAX_TRIES = 3

_logger = structlog.get_logger("hub.cosigning")


class Cosigner:
    """Offers checkpoints to the witness, one at a time, and wakes those who wait for the outcome.

    Args:
        db: where checkpoints lie.
        origin, sign_key: the log's name and the hub's public key.
        witness: says who the witness is, or None before its enrolment.
        links: gives the links when they are needed (they are opened after the log).
        alarms: are told of every refusal, and of its end.
        timeout_s: how long one offer may take.
    """

    def __init__(
        self,
        db: Database,
        origin: str,
        sign_key: bytes,
        *,
        witness: Callable[[], Party | None],
        links: Callable[[], PeerLinks],
        alarms: Alarms,
        timeout_s: float = 10.0,
    ) -> None:
        self._db = db
        self._origin = origin
        self._sign_key = sign_key
        self._witness = witness
        self._links = links
        self._alarms = alarms
        self._timeout_s = timeout_s
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._generation = 0
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
        """Let the thread offer the newest checkpoint now."""
        self._wake.set()

    def run(self, stopping: threading.Event) -> None:
        """Offer checkpoints until `stopping`; a failure is logged once and tried again each second."""
        while not stopping.is_set():
            self._wake.wait(RETRY_S)
            self._wake.clear()
            if stopping.is_set():
                return
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
        with self._db.reading() as session:
            newest = latest_checkpoint(session, cosigned=False)
            known = latest_checkpoint(session, cosigned=True)
        if newest is None or newest.cosigned:
            return False
        witness = self._witness()
        if witness is None:
            raise LogError("No witness is enrolled; checkpoints stay uncosigned.", remedy="Enrol the witness.")
        covered = known.size if known else 0
        try:
            note = self._cosigned(witness, newest, covered)
        except (PeerUnreachable, PeerTimeout):
            raise  # not a refusal: it was not heard
        except (HubError, CryptoError, ValueError) as error:
            code = error.problem.code if isinstance(error, PeerRefused) else getattr(error, "code", "peer-failed")
            self._alarms.refused(code, str(error), size=newest.size, cosigned_size=covered)
            raise
        with self._db.session() as session:
            row = session.get_one(CheckpointRow, newest.size)
            row.note, row.cosigned = note, True
            self._alarms.cosigned(session)
        with self._changed:
            self._generation += 1
            self._changed.notify_all()
            for loop, event in self._loops:
                loop.call_soon_threadsafe(event.set)
        return True

    def _cosigned(self, witness: Party, newest: CheckpointRow, covered: int) -> str:
        """The note with the witness's line, which was verified."""
        line = self._ask(witness, newest, covered)
        checkpoint, _ = parse_note(newest.note)
        own_line = newest.note.rpartition("\n\n")[2].splitlines()[0]
        note = assemble(checkpoint.body(), [own_line, line])
        verify_note(note, self._verifiers(witness), required={self._origin, witness.party_id})
        return note

    def _verifiers(self, witness: Party) -> Mapping[str, bytes]:
        return {self._origin: self._sign_key, witness.party_id: witness.sign_key}

    def _ask(self, witness: Party, newest: CheckpointRow, known: int) -> str:
        for _ in range(_MAX_TRIES):
            with self._db.reading() as session:
                offer = self._offer(session, newest, known)
            body = self._links().request(witness.party_id, "cosign-checkpoint", canonical_bytes(offer), self._timeout_s)
            answer = CheckpointCosignature.model_validate_json(body)
            if answer.line is not None:
                return answer.line
            if answer.known_size > newest.size:
                raise LogError(
                    f"The witness cosigned a log of {answer.known_size} entries; here it has {newest.size}.",
                    remedy="The database was set back. Restore the newest one; do not continue the log from here.",
                )
            known = answer.known_size
        raise PeerError("The witness gives no line and changes its mind.", party=witness.party_id)

    @staticmethod
    def _offer(session: Session, newest: CheckpointRow, known: int) -> CheckpointOffer:
        proof = consistency_from_tiles(known, newest.size, StoredTiles(session))
        return CheckpointOffer(old_size=known, proof=tuple(proof), note=newest.note)
