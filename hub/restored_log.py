"""Whether the database is older than the log that the witness cosigned; and if so, the log is made whole again (8).

X1  When the witness's link opens, and each second while the hub is held, the hub asks what was cosigned last. Is that
    more than what is here, the hub is held.
X2  The witness gives the missing entries from its own verified copy. They are placed as they were; the tree must have
    the cosigned root, signed by both. One transaction: otherwise nothing is taken.
X3  What the entries themselves say comes into force again: revoked parties, what quotas are used up, and from the
    witness's newest roster the parties and their keys.
X4  The rest of what they speak of is counted by type. While there is any, the hub is `resubmitting`.

No entry is ever left out, altered or written twice, and no second log begins under the hub's key. Where the witness's
copy ends before its last cosignature, the hub stays held: only a newer backup helps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError
from sqlalchemy import delete
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.checkpoint import verify_note
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.keys import Signer, fingerprint
from crypto.tiles import root_from_tiles
from crypto.wire.audit import LogEntry, LogTail, LogTailRequest
from crypto.wire.party import Roster
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import HubError, LogError
from hub.log_placing import take_back
from hub.log_reading import StoredTiles, log_size
from hub.parties import Witness
from hub.peers import PeerLinks
from hub.restoration import ENDED, HELD, RESUBMITTING, Restoration, newest
from hub.tables.log import CheckpointRow
from hub.tables.parties import PartyRow, RevokedKeyRow, RosterRow
from hub.tables.voprf import VoprfUseRow
from hub.woken_loop import WokenLoop

BLOCK = 1000
AGAIN_S = 1.0
WHOLE_BY_THEMSELVES = frozenset(
    {"enrolment-token", "roster", "enrolment", "key-rotation", "party-revoked", "voprf", "erasure", "data-look"}
    | {"hub-initialised", "hub-restored", "feed-moved", "query", "query-result"}
)
"""Types of entries of which nothing else has to come back: X3 does it, or nobody needs it any more."""

_logger = structlog.get_logger("hub.restored_log")


class RestoredLog:
    """X1 to X4.

    Args:
        db, clock: the hub's.
        origin, hub_key: the log's name, and the hub's key.
        restoration: where the hub stands.
        witness: says who the witness is, or None before its enrolment.
        links: gives the links when they are needed.
        on_change: called after parties or roster changed.
        timeout_s: how long the witness may take for one answer.
    """

    def __init__(
        self,
        db: Database,
        *,
        clock: Clock,
        origin: str,
        hub_key: Signer,
        restoration: Restoration,
        witness: Callable[[], Witness | None],
        links: Callable[[], PeerLinks],
        on_change: Callable[[], None],
        timeout_s: float = 10.0,
    ) -> None:
        self._db = db
        self._clock = clock
        self._origin = origin
        self._hub_key = hub_key
        self._restoration = restoration
        self._witness = witness
        self._links = links
        self._on_change = on_change
        self._timeout_s = timeout_s
        self._loop = WokenLoop("restored-log", AGAIN_S, self._turn)
        self._complaint: str | None = None

    def look_soon(self) -> None:
        """X1: the witness's link has opened."""
        self._loop.wake()

    def start(self) -> None:
        """Look in the background."""
        self._loop.start()

    def stop(self) -> None:
        """Stop the background thread."""
        self._loop.stop()

    def _turn(self, woken: bool) -> None:
        try:
            if woken or self._restoration.held():
                self.look()
            self._complaint = None
        except (HubError, CryptoError, ValidationError) as error:
            if str(error) != self._complaint:
                _logger.warning("log-not-compared", reason=str(error))
            self._complaint = str(error)
        except Exception:
            _logger.exception("restored-log-failed")

    def look(self) -> str | None:
        """X1, and X2 to X4 where they are due; returns the phase afterwards.

        Raises:
            PeerError: the witness cannot be asked, or refuses.
            LogError: its copy lacks entries, or does not fit to what is here.
        """
        witness = self._witness()
        if witness is None:
            return self._restoration.phase()
        tail = self._ask(witness, 0, 0)
        with self._db.reading() as session:
            here = log_size(session)
        if tail.size > here:
            self._restoration.hold(log_size=here, witness_size=tail.size, now=self._clock())
        self._restoration.look_again()
        if self._restoration.held():
            self._take_back(witness)
            self._restoration.look_again()
            self._on_change()
        return self._restoration.phase()

    def _ask(self, witness: Witness, start: int, limit: int) -> LogTail:
        body = canonical_bytes(LogTailRequest(start=start, limit=limit))
        return LogTail.model_validate_json(self._links().request(witness.party_id, "log-tail", body, self._timeout_s))

    def _take_back(self, witness: Witness) -> None:
        with self._db.session() as session:
            row = newest(session)
            if row is None or row.phase != HELD:
                return
            tail = self._ask(witness, 0, 0)
            unknown: list[bytes] = []
            while (size := log_size(session)) < tail.size:
                part = self._ask(witness, size, min(BLOCK, tail.size - size))
                if not part.entries:
                    raise LogError(
                        f"The witness cosigned {tail.size} entries; its copy of the log ends at {size}.",
                        remedy="Restore a newer backup; the log cannot be continued from here.",
                    )
                unknown += take_back(session, [entry.encode() for entry in part.entries])
            if tail.size > row.log_size:
                self._check(session, witness, tail)
            entries = [LogEntry.model_validate_json(leaf) for leaf in unknown]
            self._bring_parties(session, witness, tail, entries)
            self._bring_quotas(session, entries)
            lost = Counter(entry.type for entry in entries if entry.type not in WHOLE_BY_THEMSELVES)
            row.witness_size = tail.size
            row.lost = json.dumps(dict(sorted(lost.items())))
            row.phase = RESUBMITTING if lost else ENDED
            row.ended_at = None if lost else seconds(self._clock())
        _logger.warning("log-taken-back", count=len(entries))

    def _check(self, session: Session, witness: Witness, tail: LogTail) -> None:
        """X2: the tree has the root that both signed; the note is kept as the newest checkpoint."""
        required: dict[str, bytes | KeyLine] = {self._origin: self._hub_key.line, witness.party_id: witness.keys}
        checkpoint = verify_note(tail.note or "", required, required=set(required))
        if (checkpoint.size, checkpoint.root) != (tail.size, root_from_tiles(tail.size, StoredTiles(session))):
            raise LogError(
                "The witness's entries do not continue this log to what it cosigned.",
                remedy="Keep backup and checkpoint, and compare with the witness's owner.",
            )
        session.merge(CheckpointRow(size=tail.size, note=tail.note, cosigned=True, created_at=seconds(self._clock())))

    def _bring_parties(self, session: Session, witness: Witness, tail: LogTail, entries: Sequence[LogEntry]) -> None:
        """X3: parties as the witness's newest roster has them, but for those that were revoked since."""
        now = seconds(self._clock())
        gone = {str(e.facts["sign_key"]): e for e in entries if e.type == "party-revoked"}
        known = {party.party_id: party for party in session.query(PartyRow)}
        if tail.roster is not None:
            roster = witness.dated(tail.roster, Roster, typ="roster")
            last = session.query(RosterRow).order_by(RosterRow.version.desc()).first()
            if last is None or last.version < roster.version:
                session.add(RosterRow(version=roster.version, token=tail.roster, adopted_at=now))
            for party in roster.parties:
                row = known.get(party.party_id)
                if session.get(RevokedKeyRow, party.sign_key) is not None:
                    continue
                if row is None:
                    row = PartyRow(**party.model_dump(), voprf_key=None, enrolled_at=now, changed_at=now)
                    session.add(row)
                    known[party.party_id] = row
                elif row.sign_key != party.sign_key and last is not None and last.version < roster.version:
                    row.sign_key, row.box_key, row.training_key = party.sign_key, party.box_key, party.training_key
                    row.changed_at = now
            session.flush()
        for row in list(known.values()):
            entry = gone.get(fingerprint(row.sign_key))
            if entry is not None:
                session.add(
                    RevokedKeyRow(
                        sign_key=row.sign_key,
                        party_id=row.party_id,
                        kind=row.kind,
                        title=row.title,
                        reason=str(entry.facts["reason"]),
                        revoked_at=seconds(entry.time),
                    )
                )
                session.execute(delete(PartyRow).where(PartyRow.party_id == row.party_id))

    @staticmethod
    def _bring_quotas(session: Session, entries: Sequence[LogEntry]) -> None:
        """X3: what each party had evaluated, as the entries say."""
        for entry in entries:
            if entry.type == "voprf":
                key = (entry.actor, str(entry.facts["target"]))
                row = session.get(VoprfUseRow, key)
                used = int(entry.facts["used"] or 0)
                if row is None:
                    session.add(VoprfUseRow(party_id=key[0], target=key[1], used=used))
                else:
                    row.used = max(row.used, used)
                session.flush()
