"""The roster: which parties the witness's owner approved, by name and key, under the witness's signature (0).

After each change the hub proposes everybody; the witness refuses naming those it has not approved, and the hub
proposes again without them (with their approved keys where they had some). Nothing the hub alone says gets a key
trusted by a node.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.link import ProblemBody, RosterProposal
from crypto.wire.party import Party, Roster
from crypto.wire.service import WitnessInfo
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import HubError, PartyUnknownError, PeerRefused, RosterError
from hub.log import AuditLog, Fact
from hub.parties import WITNESS, PartyBook
from hub.peers import FeedPublisher, PeerLinks
from hub.tables.parties import RevokedKeyRow, RosterRow
from hub.woken_loop import WokenLoop

RETRY_S = 5.0
REVOKED_S = 1.0
"""How long a process may not have heard that another one revoked a party."""
LOOK_S = 0.2
"""After so long without a look, a process among several sees for itself whether the roster is still the newest."""
_logger = structlog.get_logger("hub.roster")


@dataclass(frozen=True)
class HubIdentity:
    """What a roster says of the hub."""

    hub_id: str
    key: Signer
    voprf_key: bytes


class RosterKeeper:
    """Holds the newest cosigned roster and proposes the next.

    Args:
        db, log, clock, parties: the hub's.
        identity: the hub's name and public keys.
        links, feed: give the links, and the feed where there is one, when they are needed.
        timeout_s: how long the witness may take.
        tell: tells other processes that serve, if any: parties changed, or a roster was adopted.
        shared: other processes adopt rosters as well.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        parties: PartyBook,
        *,
        identity: HubIdentity,
        clock: Clock,
        links: Callable[[], PeerLinks],
        feed: Callable[[], FeedPublisher | None],
        timeout_s: float = 10.0,
        tell: Callable[[], None] = lambda: None,
        shared: bool = False,
    ) -> None:
        self._db = db
        self._log = log
        self._parties = parties
        self._identity = identity
        self._clock = clock
        self._links = links
        self._feed = feed
        self._timeout_s = timeout_s
        self._revoked: frozenset[bytes] = frozenset()
        self._revoked_read = 0.0
        self._tell = tell
        self._shared = shared
        self._looked = time.monotonic()
        self._proposing = threading.Lock()
        self._newest: tuple[str, Roster] | None = self._load()
        self._loop = WokenLoop("roster", RETRY_S, self._turn)
        self._complaint: str | None = None

    def _load(self) -> tuple[str, Roster] | None:
        witness = self._parties.witness()
        with self._db.reading() as session:
            row = session.scalar(select(RosterRow).order_by(RosterRow.version.desc()).limit(1))
        if row is None or witness is None:
            return None
        try:
            return row.token, witness.stored(row.token, Roster, typ="roster")
        except CryptoError:
            # The witness enrolled again with other keys: what it signed before counts no more.
            return None

    def reload(self) -> None:
        """Read what another process of the hub may have adopted since."""
        self._newest = self._load()
        self._revoked_read = 0.0

    def current(self) -> tuple[str, Roster] | None:
        """Return the newest cosigned roster: the witness's JWS and what it says."""
        if self._shared and time.monotonic() - self._looked > LOOK_S:
            self._look()
        return self._newest

    def _look(self) -> None:
        """See whether another process adopted a roster; news of it may have been lost."""
        looked = time.monotonic()
        if self._newest is None or self._last_version() != self._newest[1].version:
            self.reload()
        self._looked = looked

    def heard(self) -> None:
        """Another process tells that parties changed, or that it adopted a roster."""
        self._looked = -math.inf
        self._revoked_read = 0.0
        self._loop.wake()

    def approved(self, party_id: str) -> Party | None:
        """Return a party as the cosigned roster has it; None for one that was revoked, whatever the roster says."""
        current = self.current()
        if current is None:
            return None
        found = next((party for party in current[1].parties if party.party_id == party_id), None)
        return None if found is None or found.sign_key in self._revoked_keys() else found

    def members(self) -> tuple[Party, ...]:
        """Return the parties of the cosigned roster that were not revoked since."""
        gone, current = self._revoked_keys(), self.current()
        return () if current is None else tuple(p for p in current[1].parties if p.sign_key not in gone)

    def _revoked_keys(self) -> frozenset[bytes]:
        now = time.monotonic()
        if not self._revoked_read or now - self._revoked_read > (LOOK_S if self._shared else REVOKED_S):
            with self._db.reading() as session:
                self._revoked = frozenset(session.scalars(select(RevokedKeyRow.sign_key)))
            self._revoked_read = now
        return self._revoked

    def revoked(self) -> None:
        """Refuse a party from now on that was revoked just now, and have the roster proposed without it."""
        self._revoked_read = 0.0
        self.changed()

    def keys_of(self, party: Party) -> KeyLine:
        """The signing keys of a party of the roster; the witness has as many as followed each other."""
        if party.kind != WITNESS:
            return KeyLine.of(party.sign_key)
        witness = self._parties.witness()
        return KeyLine.of(party.sign_key) if witness is None else witness.keys

    def party(self, party_id: str) -> Party:
        """Like `approved`; PartyUnknownError where the roster does not hold the party."""
        party = self.approved(party_id)
        if party is None:
            raise PartyUnknownError(
                f"{party_id} is not on the cosigned roster.",
                field="party_id",
                remedy="Enrol it, and have the witness's owner approve it by name.",
            )
        return party

    def pending(self) -> tuple[str, ...]:
        """Return the ids of parties that are enrolled, but not on the roster with these keys."""
        current = self.current()
        approved = {party.party_id: party for party in current[1].parties} if current else {}
        return tuple(p.party_id for p in self._parties.all() if approved.get(p.party_id) != p)

    def _gone(self) -> bool:
        """Whether the roster holds a party that is enrolled no more."""
        enrolled = {party.party_id for party in self._parties.all()}
        return self._newest is not None and any(each.party_id not in enrolled for each in self._newest[1].parties)

    def _former_key(self) -> bool:
        """Whether the roster names a key of the hub's that another one has followed."""
        return self._newest is not None and self._newest[1].hub_sign_key != self._identity.key.public

    def propose(self) -> tuple[str, ...]:
        """Propose the enrolled parties to the witness and adopt what it signs; return who is still pending.

        Raises:
            RosterError: no witness is enrolled, or it refuses without naming anybody, or signs something else.
            PeerError: the witness cannot be reached.
            SignatureError: what came back is not signed by the witness.
        """
        with self._proposing, self._db.alone("roster"):
            if self._shared:
                self._look()
            self._parties.follow_witness(self._clock())
            witness = self._parties.witness_info()
            if witness is None:
                raise RosterError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
            approved = {party.party_id: party for party in self._newest[1].parties} if self._newest else {}
            candidates = {party.party_id: party for party in self._parties.all()}
            while candidates != approved or not self._newest or self._former_key():
                roster = self._next(witness, candidates)
                try:
                    token = self._ask(witness, roster)
                except PeerRefused as refusal:
                    named = _named(refusal.problem, candidates)
                    if not named or witness.party_id in named:
                        raise RosterError(
                            f"The witness refuses the roster: {refusal.problem.detail}",
                            party=witness.party_id,
                            remedy=refusal.problem.remedy,
                        ) from refusal
                    candidates = _without(candidates, named, approved)
                    continue
                self._adopt(token, roster)
                break
        return self.pending()

    def _next(self, witness: WitnessInfo, candidates: dict[str, Party]) -> Roster:
        return Roster(
            suite=SUITE,
            version=self._last_version() + 1,
            issued_at=self._clock(),
            hub_id=self._identity.hub_id,
            hub_sign_key=self._identity.key.public,
            hub_voprf_key=self._identity.voprf_key,
            witness_voprf_key=witness.voprf_key,
            parties=tuple(candidates[party_id] for party_id in sorted(candidates)),
        )

    def _last_version(self) -> int:
        with self._db.reading() as session:
            row = session.scalar(select(RosterRow).order_by(RosterRow.version.desc()).limit(1))
        return 0 if row is None else row.version

    def _ask(self, witness: WitnessInfo, roster: Roster) -> str:
        proposal = RosterProposal(roster=canonical_bytes(roster).decode())
        body = self._links().request(witness.party_id, "cosign-roster", canonical_bytes(proposal), self._timeout_s)
        token, signer = body.decode("ascii", "replace"), self._parties.witness()
        if signer is None or signer.dated(token, Roster, typ="roster") != roster:
            raise RosterError("The witness signed another roster than was proposed.", party=witness.party_id)
        return token

    def _adopt(self, token: str, roster: Roster) -> None:
        ids = [party.party_id for party in roster.parties]
        feed = self._feed()
        with self._db.session() as session:
            session.add(RosterRow(version=roster.version, token=token, adopted_at=seconds(self._clock())))
            facts: dict[str, Fact] = {
                "version": roster.version,
                "parties": len(ids),
                "sha256": hashlib.sha256(token.encode()).hexdigest(),
            }
            self._log.append(session, "roster", self._identity.hub_id, facts=facts)
            if feed is not None:
                feed.publish(session, ids, "roster", token=token)
        self._newest = (token, roster)
        self._tell()
        self._links().notify_feed(ids)

    def changed(self) -> None:
        """Let the keeper's thread propose now: parties changed, or the witness came back."""
        self._loop.wake()
        self._tell()

    def start(self) -> None:
        """Propose in the background whenever somebody is pending."""
        self._loop.start()

    def stop(self) -> None:
        """Stop the background thread."""
        self._loop.stop()

    def _turn(self, _woken: bool) -> None:
        try:
            self._parties.follow_witness(self._clock())
            if self.pending() or self._gone() or self._former_key():
                self.propose()
            self._complaint = None
        except (HubError, CryptoError) as error:
            if error.code != self._complaint:
                _logger.warning("roster-not-cosigned", code=error.code, reason=error.message)
            self._complaint = error.code
        except Exception:
            _logger.exception("roster-failed")


def _named(problem: ProblemBody, candidates: dict[str, Party]) -> set[str]:
    """Find the parties that a refusal names: in `field` (ids with commas between), else in its text."""
    for text in (problem.field or "", problem.detail):
        named = set(re.findall(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", text)) & set(candidates)
        if named:
            return named
    return set()


def _without(candidates: dict[str, Party], named: set[str], approved: dict[str, Party]) -> dict[str, Party]:
    """Leave the named out; where the roster had one under other keys, these go on to count."""
    kept = {party_id: party for party_id, party in candidates.items() if party_id not in named}
    for party_id in named:
        old = approved.get(party_id)
        if old is not None and old != candidates[party_id]:
            kept[party_id] = old
    return kept
