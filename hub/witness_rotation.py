"""The witness's signing key followed by another, as the hub takes it in and passes it on (docs/protocol.md, 0).

R1  The witness's owner announces a succession by the old key and the new one, for a moment far enough ahead that every
    connected party hears of it before. The hub adds nothing to it: table, log entry and feed items in one transaction.
R2  Whatever the witness signs is judged by all keys of its line: what it says now by this hub's clock, what it dates by
    its date, what lies in the database by any of them.
R3  A roster with the new key is proposed as soon as that holds, and new terms name it.
R4  A statement comes again where the hub's answer to it was lost, or its database is from before it: then it is stored.
    The log had it already, or takes it back from the witness.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.key_line import TOLERANCE
from crypto.keys import fingerprint
from crypto.succession import line_of, read_succession
from crypto.wire.service import SIGNED_REQUEST_SECONDS, SuccessionReceipt
from crypto.wire.succession import Succession
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import EnrolmentError
from hub.feed import Feed
from hub.log import AuditLog, Fact
from hub.parties import Witness, witness_of
from hub.peers import PeerLinks
from hub.rotation_times import MAX_LEAD, least_lead
from hub.tables.parties import KeySuccessionRow, PartyRow, RevokedKeyRow


class WitnessRotation:
    """Takes in which key of the witness's follows which.

    Args:
        db, log, feed, clock: the hub's.
        heartbeat_s: of the feed, in seconds: so often connected parties hear from the hub at least.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        feed: Feed,
        *,
        heartbeat_s: float,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._feed = feed
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._links = links

    def announce(self, token: str) -> SuccessionReceipt:
        """R1, R4: take in a JWS `key-succession` of the witness's.

        Raises:
            EnrolmentError: it is not the enrolled witness's, not signed by its old key as well, holds too soon or too
                late, or another change is under way.
            SignatureError, SuccessionError: it is not signed by the keys that it names, or contradicts itself or one
                that is known.
        """
        read = read_succession(token)
        said = read.said
        with self._db.session() as session:
            witness = witness_of(session)
            if witness is None or said.party_id != witness.party_id:
                raise _refused(
                    f"{said.party_id} is not the enrolled witness.", "party_id", "Announce the witness's key."
                )
            if not read.forward:
                raise _refused(
                    "The old key has not signed that another one follows it.",
                    "old_key",
                    "Where it is lost, let every node pin the new key, then enrol again with a replacing token.",
                )
            told: list[str] = []
            known = session.scalars(select(KeySuccessionRow).where(KeySuccessionRow.party_id == said.party_id)).all()
            if all(read_succession(row.token).said != said for row in known):
                line_of(witness.sign_key, [*(row.token for row in known), token], said.party_id)
                self._check(session, witness, said)
                told = self._take(session, said, token)
        self._links().notify_feed(told)
        return SuccessionReceipt(party_id=said.party_id, new_key=said.new_key, holds_from=said.holds_from)

    def _check(self, session: Session, witness: Witness, said: Succession) -> None:
        now, latest = self._clock(), witness.keys.keys[-1]
        if said.old_key != latest.public:
            raise _refused(
                "It does not follow the newest key of the witness's.", "old_key", "See `digua-node witness keys`."
            )
        if latest.since is not None and said.issued_at < latest.since + TOLERANCE:
            raise _refused(
                f"A key was announced already that holds from {latest.since.isoformat()}.",
                "issued_at",
                "Wait until a few minutes after that moment; then announce the next one.",
            )
        if said.issued_at > now + timedelta(seconds=SIGNED_REQUEST_SECONDS):
            raise _refused("It is signed in the future.", "issued_at", "Set the witness's clock.")
        least = least_lead(self._heartbeat_s)
        if not least <= said.holds_from - said.issued_at <= MAX_LEAD:
            raise _refused(
                f"The new key has to hold between {least.total_seconds():.0f} s and {MAX_LEAD.days} days after it is"
                " announced.",
                "holds_from",
                "Leave connected parties time to hear of it.",
            )
        taken = session.scalar(select(PartyRow.party_id).where(PartyRow.sign_key == said.new_key))
        if taken is not None or session.get(RevokedKeyRow, said.new_key) is not None:
            raise _refused("This key was revoked, or is another party's.", "new_key", "Make a new one.")

    def _take(self, session: Session, said: Succession, token: str) -> list[str]:
        """Store it; returns whom the feed tells."""
        now = self._clock()
        session.add(
            KeySuccessionRow(
                party_id=said.party_id,
                old_key=said.old_key,
                new_key=said.new_key,
                holds_from=seconds(said.holds_from),
                token=token,
                announced_at=seconds(now),
            )
        )
        if now > said.holds_from + TOLERANCE:  # R4
            return []
        facts: dict[str, Fact] = {
            "party_id": said.party_id,
            "kind": "witness",
            "sign_key": fingerprint(said.new_key),
            "former_key": fingerprint(said.old_key),
            "holds_from": seconds(said.holds_from),
            "by_former_key": True,
        }
        self._log.append(session, "key-rotation", said.party_id, facts=facts)
        parties = sorted(session.scalars(select(PartyRow.party_id)))
        self._feed.publish(session, parties, "key-succession", token=token)
        return parties


def _refused(message: str, field: str, remedy: str) -> EnrolmentError:
    return EnrolmentError(message, field=field, remedy=remedy)
