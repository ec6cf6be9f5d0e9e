"""The witness signs rosters: only approved parties, only newer versions, each version once (docs/protocol.md, 0)."""

from __future__ import annotations

import threading

from pydantic import ValidationError
from sqlalchemy import select

from crypto.canonical import canonical_bytes
from crypto.errors import SignatureError
from crypto.jws import parse_canonical, sign_model
from crypto.keys import Signer
from crypto.wire.link import RosterProposal
from crypto.wire.party import Party, Roster
from nodes.errors import PolicyRefusal
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.witness import SignedRosterRow
from nodes.witness.approvals import Approvals


class RosterSigner:
    """Handles `cosign-roster`."""

    def __init__(
        self,
        store: Store,
        approvals: Approvals,
        book: RosterBook,
        *,
        me: Party,
        voprf_key: bytes,
        identity: Signer,
    ) -> None:
        """Args:
        store, approvals: the witness's.
        book: its own roster book, which takes what it signs.
        me: the witness as its own configuration and keys have it; region and title may differ.
        voprf_key: its own VOPRF public key.
        identity: signs.
        """
        self._store = store
        self._approvals = approvals
        self._book = book
        self._me = me
        self._voprf_key = voprf_key
        self._identity = identity
        self._lock = threading.Lock()

    def sign(self, proposal: bytes) -> bytes:
        """JSON of `RosterProposal` in, a JWS `roster` out.

        Raises:
            PolicyRefusal: `party-not-approved`, with the names in `field`; or the roster is not the next one, or
                contradicts the keys of hub and witness.
            SignatureError: the proposal is malformed.
        """
        try:
            text = RosterProposal.model_validate_json(proposal).roster
        except ValidationError as problem:
            raise SignatureError("the proposal is malformed", field="roster", remedy="propose again") from problem
        roster = parse_canonical(text.encode(), Roster)
        with self._lock:
            self._check_keys(roster)
            known = self._newest()
            if known is not None and known.roster == canonical_bytes(roster):
                return known.token.encode()
            if known is not None and roster.version <= known.version:
                raise _refused(
                    "roster-went-back", f"version {known.version} is signed already; this is version {roster.version}"
                )
            if known is not None:
                before = Roster.model_validate_json(known.roster)
                if before.hub_voprf_key != roster.hub_voprf_key:
                    raise _refused("voprf-key-changed", "the hub's VOPRF key changed, so all pseudonyms would")
            missing = self._approvals.unapproved(p for p in roster.parties if p.party_id != self._me.party_id)
            if missing:
                raise PolicyRefusal(
                    "party-not-approved",
                    f"not approved here with these keys: {', '.join(missing)}",
                    field=",".join(missing),
                    remedy="the witness's owner approves each with digua-node witness approve",
                )
            token = sign_model(roster, self._identity, typ="roster", kid=self._me.party_id)
            with self._store.session() as session:
                session.add(SignedRosterRow(version=roster.version, roster=canonical_bytes(roster), token=token))
            self._book.update(token)
        return token.encode()

    def _check_keys(self, roster: Roster) -> None:
        ids = [party.party_id for party in roster.parties]
        if ids != sorted(set(ids)):
            raise _refused("roster-invalid", "the parties are not in order of distinct names")
        if roster.hub_id != self._book.hub_id or not self._book.hub_keys.holds(roster.hub_sign_key, roster.issued_at):
            raise _refused("hub-key-mismatch", "the roster names another hub or hub key than the pinned one")
        own = next((party for party in roster.parties if party.party_id == self._me.party_id), None)
        if (
            own is None
            or own.kind != "witness"
            or not self._book.witness_keys.holds(own.sign_key, roster.issued_at)
            or own.box_key != self._me.box_key
            or roster.witness_voprf_key != self._voprf_key
        ):
            raise _refused("witness-key-mismatch", "the roster does not have this witness with its own keys")
        if any(party.kind == "witness" for party in roster.parties if party is not own):
            raise _refused("roster-invalid", "the roster has a second witness")

    def _newest(self) -> SignedRosterRow | None:
        with self._store.reading() as session:
            return session.scalars(select(SignedRosterRow).order_by(SignedRosterRow.version.desc()).limit(1)).first()


def _refused(code: str, what: str) -> PolicyRefusal:
    return PolicyRefusal(code, what, field="roster", remedy="the hub's operator must correct the roster")
