"""Merchants invited by this node, and the keys that came of it (docs/protocol.md, 0).

K1  The one-time token is made here, kept in the store before the hub hears of its hash, and goes to the merchant alone.
K3  An offered key counts only with an HMAC under that token: a key that the hub put in the merchant's place has none.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, select

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError, SignatureError
from crypto.jws import merchant_public, parse_canonical, peek_payload, sign_model, verify_merchant
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.invitation import Invitation, InvitationReceipt, KeyOffer, OfferedKey, OfferedKeys
from crypto.wire.party import MerchantKeyLeaf
from nodes.clock import Clock, system_clock
from nodes.errors import PeerError
from nodes.hub_client import HUB, HubClient, parsed
from nodes.journal import Journal
from nodes.store import Store
from nodes.tables.invitations import InvitationRow

_LOG = structlog.get_logger("nodes.invitations")
KEPT = timedelta(days=30)
"""How long after its end a token is kept, as its key may still be waiting."""


@dataclass(frozen=True)
class Invited:
    """What goes to the merchant: whoever opens the link first brings the key, so give it to nobody else."""

    link: str
    expires_at: datetime


@dataclass(frozen=True)
class Collected:
    """Keys to be put into a batch, and how many were refused as not the invited merchants' own."""

    leaves: tuple[MerchantKeyLeaf, ...]
    refused: int


class Invitations:
    """The node's side of invitations."""

    def __init__(
        self,
        hub: HubClient,
        store: Store,
        journal: Journal,
        *,
        party_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._journal = journal
        self._party_id = party_id
        self._identity = identity
        self._clock = clock

    def open_link(self, merchant: bytes) -> Invited | None:
        """The link of an invitation that is still open by its date, if there is one."""
        now = int(self._clock().timestamp())
        query = select(InvitationRow).where(
            InvitationRow.pseudonym == merchant, InvitationRow.expires_at > now, InvitationRow.join_url.is_not(None)
        )
        with self._store.reading() as session:
            row = session.scalars(query.order_by(InvitationRow.expires_at.desc()).limit(1)).first()
        if row is None or row.join_url is None:
            return None
        return Invited(f"{row.join_url}#{row.token}", datetime.fromtimestamp(row.expires_at, UTC))

    def invite(self, merchant: bytes, *, replaces: bool = False, life: timedelta = timedelta(days=14)) -> Invited:
        """K1: invite a merchant; an earlier open invitation of this node to it ends.

        Args:
            merchant: its pseudonym.
            replaces: it lost its key.
            life: until when its link works; 30 days at most.

        Raises:
            PeerError: the hub refused (e.g. the merchant has a key, and `replaces` is not set), or is out of reach.
        """
        token, now = secrets.token_urlsafe(32), self._clock()
        body = Invitation(
            suite=SUITE,
            party_id=self._party_id,
            pii_principal_id=merchant,
            token_sha256=hashlib.sha256(token.encode()).digest(),
            replaces=replaces,
            issued_at=now,
            expires_at=now + life,
        )
        row = InvitationRow(
            token_sha256=body.token_sha256,
            token=token,
            pseudonym=merchant,
            replaces=replaces,
            expires_at=int(body.expires_at.timestamp()),
        )
        forgotten = int((now - KEPT).timestamp())
        with self._store.session() as session:
            session.execute(delete(InvitationRow).where(InvitationRow.expires_at < forgotten))
            session.add(row)
        signed = sign_model(body, self._identity, typ="invitation", kid=self._party_id)
        receipt = parsed(InvitationReceipt, self._hub.bring("/v1/invitations", signed))
        with self._store.session() as session:
            session.merge(row).join_url = receipt.join_url
        self._journal.note("merchant-invited", {"replaces": replaces})
        return Invited(f"{receipt.join_url}#{token}", body.expires_at)

    def collect(self) -> Collected:
        """K3: the keys that this node's invitations brought, each checked to be its merchant's own.

        Raises:
            PeerError: the hub is out of reach, or answers nonsense.
        """
        offered = parsed(OfferedKeys, self._hub.request("GET", "/v1/invitations/pending", signed=True))
        leaves: dict[bytes, MerchantKeyLeaf] = {}
        refused = 0
        for each in offered.keys:
            try:
                leaf = self._checked(each)
            except (CryptoError, PeerError) as problem:
                refused += 1
                _LOG.warning("offered-key-refused", code=problem.code)
            else:
                leaves[leaf.pseudonym] = leaf  # the latest offer of a merchant comes last
        if refused:
            self._journal.note("offered-keys-refused", {"number": refused})
        return Collected(tuple(leaves.values()), refused)

    def _checked(self, offered: OfferedKey) -> MerchantKeyLeaf:
        offer = parse_canonical(peek_payload(offered.offer), KeyOffer)
        kid = offer.token_sha256.hex()
        verify_merchant(offered.offer, offer.jwk, typ="merchant-key-offer", kid=kid)
        with self._store.reading() as session:
            row = session.get(InvitationRow, offer.token_sha256)
        if row is None or row.pseudonym != offered.pii_principal_id:
            raise PeerError(
                HUB,
                "a key came for an invitation that this node did not make, or for another merchant",
                peer_code="invitation-invalid",
                remedy="keep the hub's answer, and report it to the witness's owner",
            )
        jwk = merchant_public(offer.jwk)
        proof = hmac.new(row.token.encode(), canonical_bytes(dict(jwk)), hashlib.sha256).digest()
        if not hmac.compare_digest(proof, offer.proof):
            raise SignatureError(
                "a key came without the proof of the merchant's one-time token",
                field="proof",
                remedy="invite the merchant again; if it recurs, report the hub to the witness's owner",
            )
        return MerchantKeyLeaf(pseudonym=row.pseudonym, jwk=jwk)
