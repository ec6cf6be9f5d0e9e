"""Consents asked for by identifier, which never leaves this node: collect, look up, lead to revocation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from crypto.identifiers import IdentifierType, normalise
from crypto.jws import peek_payload, sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentRecord, ConsentTerms
from crypto.wire.consent_request import (
    ConsentRequest,
    ConsentRequestReceipt,
    ConsentRequestStanding,
    ConsentsQuestion,
    ConsentViews,
)
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore, HeldConsent
from nodes.errors import GatewayError, PeerError, PolicyRefusal
from nodes.hub_client import HubClient, parsed
from nodes.invitations import Invitations, Invited
from nodes.journal import Journal
from nodes.pseudonyms import PseudonymMap

LONGEST_DAYS = 90


@dataclass(frozen=True)
class Collection:
    """A request that waits for its merchant. `invitation`: where the merchant has no key yet, its link comes first."""

    receipt: ConsentRequestReceipt
    invitation: Invited | None


@dataclass(frozen=True)
class ConsentStanding:
    """A consent that names this node.

    Attributes:
        held: where it stands for this node, which alone decides; None before its feed brought it.
        at_hub: where the hub says that it stands; None where the hub did not answer.
    """

    record: ConsentRecord
    held: str | None
    at_hub: str | None


@dataclass(frozen=True)
class Standings:
    """A merchant's consents, the newest first; `manage_url` is the page on which it ends one."""

    consents: tuple[ConsentStanding, ...]
    hub_answered: bool
    manage_url: str | None


class ConsentDesk:
    """What the owner's systems do about merchants' consents."""

    def __init__(
        self,
        hub: HubClient,
        pseudonyms: PseudonymMap,
        consents: ConsentStore,
        invitations: Invitations,
        journal: Journal,
        *,
        party_id: str,
        identity: Signer,
        clock: Clock = system_clock,
    ) -> None:
        self._hub = hub
        self._pseudonyms = pseudonyms
        self._consents = consents
        self._invitations = invitations
        self._journal = journal
        self._party_id = party_id
        self._identity = identity
        self._clock = clock

    def merchant(self, identifier: str, id_type: IdentifierType | None) -> bytes:
        """The pseudonym of an identifier; one that is new here is evaluated by hub and witness, blinded.

        Raises:
            IdentifierError: it is malformed.
            GatewayError: it is new here, and its type is not given.
            PeerError: hub or witness evaluate no pseudonyms now.
        """
        known = self._pseudonyms.merchant_of(identifier)
        if known is not None:
            return known
        if id_type is None:
            raise GatewayError(
                "the identifier is new to this node, and its type is not given",
                field="id_type",
                remedy="send id_type: uscc, resident-id or opaque",
            )
        normalised = normalise(id_type, identifier)
        self._pseudonyms.ensure([normalised], id_type=id_type)
        return self._pseudonyms.pseudonym_of(normalised, id_type=id_type)

    def collect(self, merchant: bytes, terms: ConsentTerms, *, request_id: str, answer_days: int) -> Collection:
        """Ask a merchant for a consent, and invite it where it has no key.

        Args:
            merchant: its pseudonym.
            terms: what it is asked for.
            request_id: 32 hex digits, random; the same for a request that is sent again.
            answer_days: until when it may answer, 90 at most.

        Raises:
            PeerError: the hub refused, or is out of reach.
        """
        now = self._clock()
        request = ConsentRequest(
            suite=SUITE,
            request_id=request_id,
            party_id=self._party_id,
            pii_principal_id=merchant,
            terms=terms,
            issued_at=now,
            answer_by=now + timedelta(days=answer_days),
        )
        signed = sign_model(request, self._identity, typ="consent-request", kid=self._party_id)
        receipt = parsed(ConsentRequestReceipt, self._hub.bring("/v1/consent-requests", signed))
        self._journal.note("consent-requested", {"request_id": receipt.request_id})
        invited = None
        if not receipt.enrolled:
            invited = self._invitations.open_link(merchant) or self._invitations.invite(merchant)
        return Collection(receipt, invited)

    def request(self, request_id: str) -> ConsentRequestStanding:
        """Where a request of this node stands.

        Raises:
            PeerError: the hub has none of this id, or is out of reach.
        """
        return parsed(
            ConsentRequestStanding, self._hub.request("GET", f"/v1/consent-requests/{request_id}", signed=True)
        )

    def withdraw(self, request_id: str) -> ConsentRequestStanding:
        """End a request that was not answered; raises as `request`."""
        return parsed(
            ConsentRequestStanding, self._hub.request("DELETE", f"/v1/consent-requests/{request_id}", signed=True)
        )

    def standings(self, identifier: str) -> Standings:
        """A merchant's consents that name this node: as it holds them, and as the hub says now.

        The hub's word fills the moment until the feed has brought a change; what this node holds decides. A hub that is
        out of reach leaves its half empty.
        """
        merchant = self._pseudonyms.merchant_of(identifier)
        if merchant is None:
            return Standings((), hub_answered=False, manage_url=None)
        now = self._clock()
        self._journal.note("consents-looked-up", {"subject": "merchant"})
        held = {each.record.record_id: each for each in self._consents.of_merchant(merchant, now)}
        try:
            views = self._ask(merchant, now)
        except PeerError:
            return Standings(tuple(_standing(each, None) for each in held.values()), False, None)
        at_hub = {}
        records = {record_id: each.record for record_id, each in held.items()}
        for view in views.consents:
            record = ConsentRecord.model_validate_json(peek_payload(view.item.consent))
            if record.pii_principal_id == merchant:
                at_hub[record.record_id] = view.state
                records.setdefault(record.record_id, record)
        newest = sorted(records.values(), key=lambda each: (each.event_time, each.record_id), reverse=True)
        found = (
            ConsentStanding(
                record,
                held[record.record_id].state if record.record_id in held else None,
                at_hub.get(record.record_id),
            )
            for record in newest
        )
        return Standings(tuple(found), hub_answered=True, manage_url=views.manage_url)

    def revoke_link(self, identifier: str, consent_id: str | None) -> str:
        """The page on which the merchant, and nobody else, revokes a consent that names this node.

        Raises:
            PolicyRefusal: there is no such consent.
            PeerError: the hub is out of reach.
        """
        merchant = self._pseudonyms.merchant_of(identifier)
        if merchant is None:
            raise _no_consent()
        views = self._ask(merchant, self._clock())
        ids = [ConsentRecord.model_validate_json(peek_payload(each.item.consent)).record_id for each in views.consents]
        if not ids or (consent_id is not None and consent_id not in ids):
            raise _no_consent()
        return views.manage_url if consent_id is None else f"{views.manage_url}#{consent_id}"

    def _ask(self, merchant: bytes, now: datetime) -> ConsentViews:
        question = ConsentsQuestion(
            suite=SUITE,
            party_id=self._party_id,
            pii_principal_id=merchant,
            nonce=secrets.token_bytes(16),
            issued_at=now,
        )
        signed = sign_model(question, self._identity, typ="consents-question", kid=self._party_id)
        return parsed(ConsentViews, self._hub.bring("/v1/consents/of-merchant", signed))


def _standing(held: HeldConsent, at_hub: str | None) -> ConsentStanding:
    return ConsentStanding(held.record, held.state, at_hub)


def _no_consent() -> PolicyRefusal:
    return PolicyRefusal(
        "consent-unknown",
        "there is no such consent of this merchant that names this node",
        field="consent_id",
        remedy="ask the merchant for its consent",
    )
