"""Merchants invited by a party, and the keys that they bring in their own hands (0).

K1  A bank or a client signs an invitation of a pseudonym with the hash of a one-time token that it made; the token goes
    from the inviter to the merchant alone, in the fragment of a link, and never to the hub.
K2  The merchant's browser makes its key and signs an offer of it with that very key, under the token's hash; the offer
    has an HMAC under the token itself. A token is used once; unknown, used and expired ones are answered alike.
K3  The inviter collects what its own invitations brought, and checks the HMAC: the hub, which never had the token,
    cannot put a key of its own in the merchant's place.
K4  From there it goes as ever: the platform signs a batch, a bank countersigns it (`hub.merchant_keys`). A hub alone
    enrols nothing. A newer key supersedes the older, which signs nothing any more; what it signed before stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.jws import merchant_public, parse_canonical, peek_payload, verify_merchant
from crypto.wire.invitation import (
    Invitation,
    InvitationReceipt,
    InvitationStanding,
    InvitationState,
    KeyOffer,
    KeyOfferReceipt,
    OfferedKey,
    OfferedKeys,
)
from crypto.wire.party import MerchantKeyLeaf, Party
from hub.clock import Clock, moment, seconds
from hub.db import Database
from hub.errors import ForbiddenError, RequestSizeError
from hub.log import AuditLog, Fact
from hub.merchant_errors import InvitationError, InvitationInvalidError
from hub.merchant_keys import keys_of, newest_keys
from hub.party_signatures import verify_body
from hub.rate_limits import RateLimit
from hub.roster import RosterKeeper
from hub.tables.invitations import InvitationRow

INVITATION_TYPE = "invitation"
OFFER_TYPE = "merchant-key-offer"
LONGEST = timedelta(days=30)
KEPT = timedelta(days=30)
"""How long after its expiry an offered key is still handed to the inviter."""
MAX_OFFER = 4096
_SKEW_S = 300


class Invitations:
    """The book of invitations.

    Args:
        db, log, roster, clock: the hub's.
        hub_id: the actor of log entries about merchants, who are no parties.
        join_url: the page that a merchant's link opens.
        inviter_kinds: kinds of parties that may invite.
        limit: on questions and offers of one address.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        roster: RosterKeeper,
        *,
        hub_id: str,
        join_url: str,
        inviter_kinds: Iterable[str],
        clock: Clock,
        limit: RateLimit,
    ) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._hub_id = hub_id
        self._join_url = join_url
        self._inviter_kinds = frozenset(inviter_kinds)
        self._clock = clock
        self._limit = limit

    def invite(self, token: str) -> InvitationReceipt:
        """K1: take an invitation; a party's earlier open one of the same merchant ends. Sent again, it changes nothing.

        Args:
            token: JWS `invitation`.

        Raises:
            PartyUnknownError, SignatureError, ForbiddenError, UnauthorisedError: see `verify_body`.
            InvitationError: it lives too long, its token was used, or it contradicts what is enrolled.
        """
        now = self._clock()
        party, body = verify_body(self._roster, token, INVITATION_TYPE, Invitation, now=now)
        if party.kind not in self._inviter_kinds:
            raise ForbiddenError(
                f"A party of kind {party.kind} invites no merchants.",
                field="party_id",
                remedy=f"Let a party of kind {', '.join(sorted(self._inviter_kinds))} invite.",
            )
        if not now < body.expires_at <= now + LONGEST + timedelta(seconds=_SKEW_S):
            raise InvitationError(
                f"An invitation ends in the future, and within {LONGEST.days} days.",
                field="expires_at",
                remedy="Give it another end, and sign again.",
            )
        with self._db.session() as session:
            row = session.get(InvitationRow, body.token_sha256)
            if row is None:
                self._store(session, token, body, seconds(now))
            elif peek_payload(row.token) != peek_payload(token):
                raise InvitationError(
                    "The token was used for another invitation.", field="token_sha256", remedy="Make a fresh one."
                )
        return InvitationReceipt(token_sha256=body.token_sha256, join_url=self._join_url, expires_at=body.expires_at)

    def _store(self, session: Session, token: str, body: Invitation, now: int) -> None:
        enrolled = body.pii_principal_id in newest_keys(session, [body.pii_principal_id])
        if enrolled != body.replaces:
            raise InvitationError(
                "The merchant has a key already." if enrolled else "The merchant has no key that could be replaced.",
                field="replaces",
                remedy="Say that the new key replaces the old one, and only where the merchant lost it."
                if enrolled
                else "Invite it without replacing.",
            )
        earlier = select(InvitationRow).where(
            InvitationRow.party_id == body.party_id,
            InvitationRow.pseudonym == body.pii_principal_id,
            InvitationRow.offer.is_(None),
            InvitationRow.expires_at > now,
        )
        for row in session.scalars(earlier):
            row.expires_at = now
        session.add(
            InvitationRow(
                token_sha256=body.token_sha256,
                party_id=body.party_id,
                pseudonym=body.pii_principal_id,
                replaces=body.replaces,
                token=token,
                expires_at=seconds(body.expires_at),
                created_at=now,
            )
        )
        self._log.append(
            session, "invitation", body.party_id, subject=body.pii_principal_id, facts={"replaces": body.replaces}
        )

    def offer(self, token: str, *, address: str) -> KeyOfferReceipt:
        """K2: take a merchant's new key under its invitation. Sent again, it changes nothing.

        Args:
            token: JWS `merchant-key-offer`, by the key inside.
            address: who asks, for the limit.

        Raises:
            TooManyRequestsError: too many came from this address.
            RequestSizeError: it is larger than an offer can be.
            SignatureError, KeyFormatError: the key did not sign it, or is none that merchants may have.
            InvitationInvalidError: no open invitation has this token.
        """
        self._limit.count(address)
        offer = _verified(token)
        now = seconds(self._clock())
        if abs(now - seconds(offer.time)) > _SKEW_S:
            raise InvitationError(
                "The offer's time is more than 5 minutes from the hub's.",
                field="time",
                remedy="Set the device's clock, and open the link again.",
            )
        with self._db.session() as session:
            row = session.get(InvitationRow, offer.token_sha256, with_for_update=True)
            again = row is not None and row.offer is not None and peek_payload(row.offer) == peek_payload(token)
            if row is None or not (again or (row.offer is None and now < row.expires_at)):
                raise _invalid()
            if not again:
                if (row.pseudonym in newest_keys(session, [row.pseudonym])) != row.replaces:
                    raise _invalid()  # another invitation of the same merchant was quicker
                row.offer, row.offered_at = token, now
                facts: dict[str, Fact] = {"replaces": row.replaces, "inviter": row.party_id}
                self._log.append(session, "key-offer", self._hub_id, subject=row.pseudonym, facts=facts)
            party = self._party(row)
            return KeyOfferReceipt(
                pii_principal_id=row.pseudonym,
                inviter=row.party_id,
                inviter_title=party.title if party else "",
                replaces=row.replaces,
            )

    def standing(self, token_sha256: bytes, *, address: str) -> InvitationStanding:
        """Say where an invitation stands, to whoever has its token.

        Raises:
            TooManyRequestsError: too many came from this address.
            InvitationInvalidError: there is no such invitation, or it expired unused.
        """
        self._limit.count(address)
        now = seconds(self._clock())
        with self._db.reading() as session:
            row = session.get(InvitationRow, token_sha256)
            if row is None or (row.offer is None and row.expires_at <= now):
                raise _invalid()
            state: InvitationState = "open" if row.offer is None else "offered"
            if row.offer is not None and _enrolled(session, row):
                state = "enrolled"
        party = self._party(row)
        return InvitationStanding(
            state=state,
            pii_principal_id=row.pseudonym,
            inviter=row.party_id,
            inviter_title=party.title if party else "",
            replaces=row.replaces,
            expires_at=moment(row.expires_at),
        )

    def pending(self, party_id: str) -> OfferedKeys:
        """K3: the keys that this party's own invitations brought and that are not enrolled yet, the oldest first."""
        now = seconds(self._clock())
        query = (
            select(InvitationRow)
            .where(
                InvitationRow.party_id == party_id,
                InvitationRow.offer.is_not(None),
                InvitationRow.expires_at > now - int(KEPT.total_seconds()),
            )
            .order_by(InvitationRow.offered_at, InvitationRow.token_sha256)
        )
        with self._db.reading() as session:
            waiting = [row for row in session.scalars(query) if not _enrolled(session, row)]
        return OfferedKeys(
            keys=tuple(
                OfferedKey(pii_principal_id=row.pseudonym, replaces=row.replaces, offer=row.offer)
                for row in waiting
                if row.offer is not None
            )
        )

    def _party(self, row: InvitationRow) -> Party | None:
        return self._roster.approved(row.party_id)


def _verified(token: str) -> KeyOffer:
    """The offer, proved by the very key inside."""
    if len(token) > MAX_OFFER:
        raise RequestSizeError(
            f"An offer has at most {MAX_OFFER} characters.", field="body", remedy="Send the token alone."
        )
    offer = parse_canonical(peek_payload(token), KeyOffer)
    verify_merchant(token, offer.jwk, typ=OFFER_TYPE, kid=offer.token_sha256.hex())
    if merchant_public(offer.jwk) != offer.jwk:
        raise InvitationError(
            "The key has more than the members of one public key.",
            field="jwk",
            remedy="Send kty, crv and x alone (and y for P-256).",
        )
    return offer


def _enrolled(session: Session, row: InvitationRow) -> bool:
    """Whether the key that was offered is one of the merchant's enrolled ones."""
    if row.offer is None:
        return False
    offered = KeyOffer.model_validate_json(peek_payload(row.offer)).jwk
    keys = keys_of(session, row.pseudonym)
    return any(MerchantKeyLeaf.model_validate_json(key.leaf).jwk == offered for key in keys)


def _invalid() -> InvitationInvalidError:
    return InvitationInvalidError(
        "This invitation is unknown, used or expired.",
        field="token_sha256",
        remedy="Ask the bank or the platform for a new link.",
    )
