"""The platform's own gateway, as the platform uses it: consents, scores and revocations go this way and no other.

Plain identifiers end at the gateway, on the platform's own machine; what comes back names no pseudonym. This is the one
module of the platform that knows the gateway's client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, get_args

from pydantic import JsonValue

from crypto.wire.scoring import ConsentCode
from hub.platform.lending_errors import ConsentMissingError, GatewayAwayError, GatewayError
from hub.platform.products import Band
from models.errors import DataError
from models.statistics.published import PublishedStatistics, read_published
from nodes.platform_client import PlatformClient, PlatformError

ConsentPurpose: TypeAlias = Literal["credit-scoring", "pre-qualification"]
_BANDS: Mapping[str, Band] = {"A": "A", "B": "B", "C": "C", "D": "D", "E": "E"}
_NO_CONSENT: frozenset[str] = frozenset(get_args(ConsentCode))
"""Of the gateway, or of the sources that it asked."""


@dataclass(frozen=True)
class Request:
    """A consent that was asked for.

    Attributes:
        state: open, signed, refused, expired or withdrawn.
        link: where the merchant answers.
        invitation_link: where it makes its key first; for its eyes alone.
    """

    request_id: str
    state: str
    link: str
    invitation_link: str | None


@dataclass(frozen=True)
class ScoreFound:
    """A consented score.

    Attributes:
        reasons: sentences, in the language that was asked for.
    """

    score: int
    pd: float
    band: Band
    reasons: tuple[str, ...]
    model_id: str


class Consents(Protocol):
    """What lending needs of the gateway."""

    def ask(
        self, identifier: str, template: str, fields: Mapping[str, JsonValue], *, key: str, id_type: IdType
    ) -> Request:
        """Ask a merchant for a consent; under the same key it is asked once."""

    def standing(self, request_id: str) -> str:
        """Where a request stands; once signed, where its consent does: `given`, `paused`, `revoked`."""

    def usable(self, identifier: str, request_id: str) -> bool:
        """Whether the consent that was signed for a request allows a score now."""

    def score(self, identifier: str, request_id: str, purpose: ConsentPurpose, *, key: str) -> ScoreFound:
        """Ask for a score under the consent that was signed for a request."""

    def revoke_link(self, identifier: str, request_id: str) -> str:
        """The page on which the merchant revokes it."""


class PublishedReports(Protocol):
    """Programme statistics that the hub has published, as the platform's own node verified them."""

    def reports(self) -> tuple[str, ...]:
        """The campaigns that made them, the oldest first."""

    def report(self, campaign_id: str) -> PublishedStatistics:
        """One of them."""


class Gateway(Consents, PublishedReports, Protocol):
    """All that the platform needs of its gateway."""


IdType: TypeAlias = Literal["uscc", "resident-id", "opaque"]


class GatewayConsents:
    """`Gateway` over HTTP; a signed consent has the request's own identifier."""

    def __init__(self, client: PlatformClient) -> None:
        self._client = client

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def ask(
        self, identifier: str, template: str, fields: Mapping[str, JsonValue], *, key: str, id_type: IdType
    ) -> Request:
        """See `Consents`; raises GatewayError."""
        try:
            asked = self._client.collect(
                identifier, template=template, fields=fields, id_type=id_type, idempotency_key=key
            )
        except PlatformError as refused:
            raise _error(refused) from refused
        return Request(asked.request_id, asked.state, asked.link, asked.invitation_link)

    def standing(self, request_id: str) -> str:
        """See `Consents`; raises GatewayError."""
        try:
            answer = self._client.answer_to(request_id)
        except PlatformError as refused:
            raise _error(refused) from refused
        return answer.state if answer.consent is None else answer.consent

    def usable(self, identifier: str, request_id: str) -> bool:
        """See `Consents`; raises GatewayError."""
        try:
            consents = self._client.consents(identifier)
        except PlatformError as refused:
            raise _error(refused) from refused
        return any(each.consent_id == request_id and each.usable for each in consents)

    def score(self, identifier: str, request_id: str, purpose: ConsentPurpose, *, key: str) -> ScoreFound:
        """See `Consents`.

        Raises:
            ConsentMissingError: the merchant has not consented, or no longer does.
            GatewayError: another refusal, or not every source answered.
        """
        try:
            found = self._client.score(identifier, consent_id=request_id, purpose=purpose, idempotency_key=key)
        except PlatformError as refused:
            raise _error(refused) from refused
        band = _BANDS.get(found.band or "")
        if found.score is None or found.pd is None or band is None:
            raise GatewayError(
                f"No score came: {', '.join(sorted(set(found.refusals.values()))) or 'no reason was given'}.",
                field="score",
                remedy="Ask again later; a source may have been away.",
            )
        return ScoreFound(found.score, found.pd, band, found.reasons, found.model_id)

    def revoke_link(self, identifier: str, request_id: str) -> str:
        """See `Consents`; raises GatewayError."""
        try:
            return self._client.revoke_link(identifier, request_id)
        except PlatformError as refused:
            raise _error(refused) from refused

    def reports(self) -> tuple[str, ...]:
        """See `PublishedReports`; raises GatewayError."""
        try:
            return self._client.statistics()
        except PlatformError as refused:
            raise _error(refused) from refused

    def report(self, campaign_id: str) -> PublishedStatistics:
        """See `PublishedReports`.

        Raises:
            GatewayError: there is none, it did not verify, or it is of another campaign.
        """
        try:
            found = read_published(json.dumps(self._client.statistics_report(campaign_id)))
        except PlatformError as refused:
            raise _error(refused) from refused
        except DataError as error:
            raise _not_it(campaign_id, error.message) from error
        if found.campaign_id != campaign_id:
            raise _not_it(campaign_id, f"it is of campaign {found.campaign_id}")
        return found


def gateway_at(url: str, token: str) -> GatewayConsents:
    """The gateway at an address; nothing is asked of it yet."""
    return GatewayConsents(PlatformClient(url, token))


def _error(refused: PlatformError) -> GatewayError | ConsentMissingError:
    """The gateway's refusal as ours; its detail may quote what was asked, so it is not passed on."""
    said = {refused.code, *refused.refusals.values()}
    if why := sorted(said & _NO_CONSENT):
        return ConsentMissingError(
            f"The merchant's consent does not allow this ({', '.join(why)}).",
            field="consent",
            remedy="Ask the merchant for its consent; without it nothing is looked at.",
        )
    kind = GatewayAwayError if refused.status == 0 else GatewayError
    return kind(
        f"The platform's gateway refused ({', '.join(sorted(said))}): {refused.title}.",
        field=refused.field,
        remedy=refused.remedy or "See the log of the platform's node.",
    )


def _not_it(campaign_id: str, why: str) -> GatewayError:
    return GatewayError(
        f"The gateway's answer is not the report of campaign {campaign_id}: {why}.",
        field="campaign_id",
        remedy="See whether platform and node are of the same version.",
    )
