"""What a scoring request must be before the hub forwards it (7.1).

The hub checks what cannot change: who asks, until when, sources of the right kinds, and that a consent of this merchant
names requester and sources, so that no source learns of a question that nobody consented to. Everything that changes
(revocation, frequency, model versions) is decided by each source itself, item by item, so that a lying hub gets
nothing from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from crypto.wire.consent import ConsentRecord
from crypto.wire.party import RESERVED_KINDS, Party
from crypto.wire.scoring import ScoreItem, ScoreRequest
from hub.clock import seconds
from hub.query_errors import (
    ConsentUnknownError,
    MixedSourcesError,
    RecipientNotConsentedError,
    RequestExpiredError,
    SourceNotConsentedError,
    TooFewSourcesError,
)

MAX_LIFE_S = 300
CLOCK_SKEW_S = 30


def check_times(request: ScoreRequest, now: datetime) -> None:
    """Refuse a request that is past its expiry, not yet issued, or would live longer than five minutes."""
    moment, issued, expires = seconds(now), seconds(request.issued_at), seconds(request.expires_at)
    if issued > moment + CLOCK_SKEW_S or expires <= moment or not 0 < expires - issued <= MAX_LIFE_S:
        raise RequestExpiredError(
            "The request is out of time, or lives longer than 5 minutes.",
            field="expires_at",
            remedy="Set the clocks; send a new request, under a new key.",
        )


def check_items(request: ScoreRequest, consents: Mapping[str, ConsentRecord], parties: Mapping[str, Party]) -> None:
    """Refuse a request whose items have different sources, or with an item that no consent covers.

    Args:
        request: verified.
        consents: stored consents by id.
        parties: of the cosigned roster, by id.

    Raises:
        MixedSourcesError, ConsentUnknownError, RecipientNotConsentedError, SourceNotConsentedError,
            TooFewSourcesError: `field` names the item.
    """
    first = set(request.items[0].sources.values())
    for place, item in enumerate(request.items):
        if set(item.sources.values()) != first:
            raise MixedSourcesError(
                "Every source receives the whole request, so all its items must name the same sources.",
                field=f"items.{place}.sources",
                remedy="Sign one request for each set of sources.",
            )
    for place, item in enumerate(request.items):
        _check_item(f"items.{place}", item, request.requester, consents.get(item.consent_id), parties)


def _check_item(
    where: str, item: ScoreItem, requester: str, consent: ConsentRecord | None, parties: Mapping[str, Party]
) -> None:
    if consent is None or consent.pii_principal_id != item.pseudonym:
        raise ConsentUnknownError(
            "There is no such consent of this merchant.",
            field=f"{where}.consent_id",
            remedy="Ask the merchant for its consent, or take the item out.",
        )
    if requester not in consent.recipients:
        raise RecipientNotConsentedError(
            f"The consent does not name {requester} as a recipient.",
            field=f"{where}.consent_id",
            remedy="Ask the merchant for a consent that names you.",
        )
    for kind, party_id in item.sources.items():
        party = parties.get(party_id)
        if consent.sources.get(kind) != party_id or party is None or party.kind != kind or kind in RESERVED_KINDS:
            raise SourceNotConsentedError(
                f"{party_id} is not the consent's source of kind {kind}, or not on the cosigned roster.",
                field=f"{where}.sources",
                remedy="Take the sources from the consent.",
            )
    if len(set(item.sources.values()) - {requester}) < 2:
        raise TooFewSourcesError(
            "A score needs two sources besides the requester: of a single one its points would show.",
            field=f"{where}.sources",
            remedy="Use a model and a consent with at least two other sources.",
        )
