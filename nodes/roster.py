"""Whom the node trusts: the roster that the witness signed, checked against the keys pinned at enrolment.

Keys that came with a message are never trusted (docs/protocol.md, 0): whoever verifies something asks the book for the
party's key. Versions never go back: an old roster could bring back a party or a key that was taken out.
"""

from __future__ import annotations

import threading
from datetime import datetime

from sqlalchemy import select

from crypto.dated import verify_dated, verify_signer
from crypto.errors import SignatureError
from crypto.key_line import TOLERANCE, KeyLine
from crypto.wire.party import Party, Roster
from nodes.config import TrustConfig
from nodes.errors import PeerError
from nodes.store import Store
from nodes.successions import SuccessionBook
from nodes.tables.roster import RosterRow


class RosterBook:
    """The newest cosigned roster, and the keys of hub and witness from the two that are pinned."""

    def __init__(self, store: Store, trust: TrustConfig) -> None:
        self._complete: datetime | None = None
        self._store = store
        self._trust = trust
        self.successions = SuccessionBook(store, trust)
        self._lock = threading.Lock()
        self._roster: Roster | None = None
        self._token: str | None = None
        self._parties: dict[str, Party] = {}
        with store.reading() as session:
            row = session.scalars(select(RosterRow).order_by(RosterRow.version.desc()).limit(1)).first()
        if row is not None:
            self._take(row.token, self._verified(row.token))

    @property
    def hub_id(self) -> str:
        """The hub's id, pinned."""
        return self._trust.hub_id

    @property
    def hub_keys(self) -> KeyLine:
        """The hub's Ed25519 keys: the pinned one, with those before and after it."""
        return self.successions.line(self.hub_id)

    @property
    def witness_id(self) -> str:
        """The witness's id, pinned."""
        return self._trust.witness_id

    @property
    def witness_keys(self) -> KeyLine:
        """The witness's Ed25519 keys: the pinned one, with those before and after it."""
        return self.successions.line(self.witness_id)

    @property
    def arriving_witness_keys(self) -> KeyLine:
        """Those of its keys by which something may be signed that the feed brings only now.

        Once the feed was complete well after a key's end, all that it signed in time has come: what comes later under
        it is back-dated, whatever its date says.
        """
        keys = self.witness_keys.keys
        if self._complete is None:
            return KeyLine(keys)
        known = self._complete - 2 * TOLERANCE
        return KeyLine(tuple(key for key in keys if key.until is None or known <= key.until))

    def feed_complete(self, moment: datetime) -> None:
        """The feed was complete at a moment."""
        self._complete = moment

    @property
    def version(self) -> int:
        """The newest roster's version, 0 before the first."""
        return 0 if self._roster is None else self._roster.version

    @property
    def token(self) -> str | None:
        """The newest roster's exact JWS."""
        return self._token

    @property
    def hub_voprf_key(self) -> bytes:
        """The hub's VOPRF public key, 32 bytes."""
        return self.current().hub_voprf_key

    @property
    def witness_voprf_key(self) -> bytes:
        """The witness's VOPRF public key, 32 bytes."""
        return self.current().witness_voprf_key

    def current(self) -> Roster:
        """The newest roster.

        Raises:
            PeerError: there is none yet.
        """
        if self._roster is None:
            raise PeerError(
                self.witness_id,
                "there is no roster signed by the witness yet",
                peer_code="roster-missing",
                remedy="wait until the witness's owner has approved the parties",
            )
        return self._roster

    def party(self, party_id: str) -> Party:
        """A party by id.

        Raises:
            PeerError: the witness's roster does not have it.
        """
        self.current()
        party = self._parties.get(party_id)
        if party is None:
            raise PeerError(
                party_id,
                f"{party_id} is not in the roster that the witness signed (version {self.version})",
                peer_code="party-unknown",
                remedy="let the witness's owner approve the party, or correct its id",
            )
        return party

    def parties(self) -> tuple[Party, ...]:
        """All parties of the newest roster, in order of their ids; empty before the first."""
        return () if self._roster is None else self._roster.parties

    def update(self, token: str) -> Roster:
        """Verify a roster and take it if it is newer; the same version with the same bytes changes nothing.

        Raises:
            SignatureError: it is not signed by the witness's key of its date.
            PeerError: an older or another roster of the same version; one by a key before that of the newest; another
                hub key, witness key or VOPRF key.
        """
        roster = self._verified(token)
        with self._lock:
            if self._roster is not None:
                if roster.version < self.version or (roster.version == self.version and token != self._token):
                    raise self._refusal(
                        f"roster version {roster.version} came after version {self.version}", "roster-went-back"
                    )
                if roster.version == self.version:
                    return self._roster
                if self._place(token) < self._place(self._token or ""):
                    raise self._refusal("a key of the witness's that another one has followed signed it", "former-key")
                if (roster.hub_voprf_key, roster.witness_voprf_key) != (self.hub_voprf_key, self.witness_voprf_key):
                    raise self._refusal("a VOPRF key changed, so all pseudonyms would", "voprf-key-changed")
            with self._store.session() as session:
                session.merge(RosterRow(version=roster.version, token=token))
            self._take(token, roster)
        return roster

    def _place(self, token: str) -> int:
        """The place in the witness's line of the key that signed a roster, which was verified; None is before all."""
        publics = [key.public for key in self.witness_keys.keys]
        return publics.index(verify_signer(token, self.witness_keys, Roster, typ="roster", kid=self.witness_id)[1])

    def _take(self, token: str, roster: Roster) -> None:
        self._parties = {party.party_id: party for party in roster.parties}
        self._roster, self._token = roster, token

    def _verified(self, token: str) -> Roster:
        roster = verify_dated(token, self.witness_keys, Roster, typ="roster", kid=self.witness_id)
        ids = [party.party_id for party in roster.parties]
        if ids != sorted(set(ids)):
            raise SignatureError(
                "the roster's parties are not in order of distinct ids",
                field="parties",
                remedy="ask the witness for a correct roster",
            )
        if roster.hub_id != self.hub_id or not self.hub_keys.holds(roster.hub_sign_key, roster.issued_at):
            raise self._refusal(
                "the roster names another hub or hub key than the pinned one and those that follow it",
                "hub-key-mismatch",
            )
        witness = next((party for party in roster.parties if party.party_id == self.witness_id), None)
        if (
            witness is None
            or witness.kind != "witness"
            or not self.witness_keys.holds(witness.sign_key, roster.issued_at)
        ):
            raise self._refusal("the roster lacks the witness with its pinned key", "witness-key-mismatch")
        return roster

    def _refusal(self, what: str, code: str) -> PeerError:
        return PeerError(
            self.witness_id,
            what,
            peer_code=code,
            field="roster",
            remedy="compare the keys under trust in the configuration with those of hub and witness, out of band",
        )
