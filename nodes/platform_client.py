"""A client of the gateway's hooks for a platform's own software. One file, of httpx and the standard library: copy it.

Identifiers go to your own node and no further. Nothing here signs for a merchant: what comes back are links on which it
signs, refuses or revokes with its own key. docs/platform.md walks through it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Literal

import httpx

IdentifierType = Literal["uscc", "resident-id", "opaque"]
_CONNECTION_TRIES = 2


class PlatformError(Exception):
    """The gateway refused.

    Attributes:
        status: of the HTTP answer; 0 where there was none.
        code: stable, for programs; `title` says it in the client's language.
        field: the input at fault, or None.
        remedy: what to do about it, or None.
        refusals: by source, where no score came of them.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        refusals: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.refusals = dict(refusals or {})


@dataclass(frozen=True)
class Collected:
    """A request that waits for the merchant.

    Attributes:
        link: where the merchant reads and answers it; send it to the merchant.
        invitation_link: where it makes its key first, if it has none; for the merchant's eyes alone.
        answer_by: when the request expires.
    """

    request_id: str
    state: str
    link: str
    invitation_link: str | None
    answer_by: datetime


@dataclass(frozen=True)
class Answer:
    """Where a request stands: open, signed, refused, expired or withdrawn.

    Attributes:
        consent: once signed, where the consent stands: given, paused, revoked or refused.
    """

    request_id: str
    state: str
    consent: str | None
    answer_by: datetime


@dataclass(frozen=True)
class Consent:
    """A consent that names your node.

    Attributes:
        state: for your node, which decides whether it can be used; None until the hub's feed has brought it.
        hub_state: what the hub says now; None where it did not answer.
    """

    consent_id: str
    state: str | None
    hub_state: str | None
    purposes: tuple[str, ...]
    sources: Mapping[str, str]
    recipients: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime

    @property
    def usable(self) -> bool:
        """Whether a score may be asked for: active here, and the hub knows of no later end or pause."""
        return self.state == "active" and self.hub_state in (None, "given")


@dataclass(frozen=True)
class Score:
    """A score under a consent. Keep it no longer than the consent's data life says.

    Attributes:
        score, pd, band: None where a source refused; `refusals` says which and why.
        reasons: as sentences in the client's language, the weightiest first.
        epsilon: what the model cost each merchant; None where it was trained without noise.
    """

    score: int | None
    pd: float | None
    band: str | None
    reasons: tuple[str, ...]
    model_id: str
    epsilon: float | None
    refusals: Mapping[str, str]


class PlatformClient:
    """The hooks of one gateway; safe to share between threads.

    Args:
        url: of your own node's gateway, such as ``http://127.0.0.1:8090``.
        token: the content of the gateway's token file.
        language: of the titles of errors, ``zh`` or ``en``.
        timeout: seconds for one request.
    """

    def __init__(self, url: str, token: str, *, language: Literal["zh", "en"] = "zh", timeout: float = 60.0) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            trust_env=False,
            transport=httpx.HTTPTransport(retries=_CONNECTION_TRIES),
            headers={"Authorization": f"Bearer {token}", "Accept-Language": language},
        )

    def __enter__(self) -> PlatformClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def collect(
        self,
        identifier: str,
        *,
        template: str | None = None,
        fields: Mapping[str, Any] | None = None,
        id_type: IdentifierType | None = None,
        answer_days: int = 14,
        idempotency_key: str | None = None,
    ) -> Collected:
        """Ask a merchant for its consent.

        Args:
            identifier: the merchant's, as your node's data have it.
            template: a name from `gateway.consent_templates`; with `fields`, these replace its own.
            id_type: needed where the identifier is new to your node.
            answer_days: how long the request stays open, at most 90.
            idempotency_key: keep it with your own record and send it again after a lost answer: it counts once.

        Raises:
            PlatformError: refused, or the gateway is out of reach.
        """
        body = {
            "id": identifier,
            "id_type": id_type,
            "template": template,
            "fields": dict(fields or {}),
            "answer_days": answer_days,
        }
        answer = self._call("POST", "/v1/consents/collect", body, idempotency_key or uuid.uuid4().hex)
        return Collected(
            request_id=answer["request_id"],
            state=answer["state"],
            link=answer["link"],
            invitation_link=answer["invitation_link"],
            answer_by=datetime.fromisoformat(answer["answer_by"]),
        )

    def answer_to(self, request_id: str) -> Answer:
        """Say whether the merchant has answered; PlatformError `not-found` where you made no such request."""
        return _answer(self._call("GET", f"/v1/consents/requests/{request_id}"))

    def withdraw(self, request_id: str) -> Answer:
        """Take back a request; PlatformError `consent-request-state` where the merchant has answered."""
        return _answer(self._call("DELETE", f"/v1/consents/requests/{request_id}"))

    def consents(self, identifier: str) -> tuple[Consent, ...]:
        """List a merchant's consents that name your node, the newest first."""
        answer = self._call("POST", "/v1/consents/status", {"id": identifier})
        return tuple(
            Consent(
                consent_id=each["consent_id"],
                state=each["state"],
                hub_state=each["hub_state"],
                purposes=tuple(each["purposes"]),
                sources=each["sources"],
                recipients=tuple(each["recipients"]),
                valid_from=datetime.fromisoformat(each["valid_from"]),
                valid_until=datetime.fromisoformat(each["valid_until"]),
            )
            for each in answer["consents"]
        )

    def score(
        self,
        identifier: str,
        *,
        consent_id: str | None = None,
        purpose: str = "credit-scoring",
        idempotency_key: str | None = None,
    ) -> Score:
        """Score a merchant under its consent, which names your node as a recipient.

        Args:
            identifier: the merchant's.
            consent_id: which consent; the newest that fits where none is named.
            purpose: one that the consent allows.
            idempotency_key: under the same key it is asked, and counted, once.

        Raises:
            PlatformError: there is no consent that allows it, no model, or not every source answered.
        """
        body = {"id": identifier, "consent_id": consent_id, "purpose": purpose}
        answer = self._call("POST", "/score", body, idempotency_key or uuid.uuid4().hex)
        return Score(
            score=answer["score"],
            pd=answer["pd"],
            band=answer["band"],
            reasons=tuple(answer["reason_texts"]),
            model_id=answer["model_id"],
            epsilon=answer["epsilon"],
            refusals=answer["refusals"],
        )

    def revoke_link(self, identifier: str, consent_id: str | None = None) -> str:
        """Return the page on which the merchant revokes; PlatformError `consent-unknown` where there is no consent."""
        answer = self._call("POST", "/v1/consents/revoke-link", {"id": identifier, "consent_id": consent_id})
        return str(answer["link"])

    def statistics(self) -> tuple[str, ...]:
        """List the published programme statistics, by the campaigns that made them, the oldest first."""
        return tuple(str(each["campaign_id"]) for each in self._call("GET", "/v1/programme-statistics")["reports"])

    def statistics_report(self, campaign_id: str) -> dict[str, Any]:
        """Return one of them as your node verified it: schema, choice, noisy counts, and what they cost.

        Raises:
            PlatformError: there is none, or what the hub gave does not verify.
        """
        return self._call("GET", f"/v1/programme-statistics/{campaign_id}")

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str | None = None
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        try:
            response = self._http.request(method, path, json=body, headers=headers)
            document = response.json()
        except httpx.TransportError as problem:
            raise PlatformError(
                0, "gateway-unreachable", "The gateway is out of reach", str(problem), remedy="check that the node runs"
            ) from problem
        except ValueError as problem:
            raise PlatformError(
                response.status_code, "gateway-malformed", "This is no gateway", "the answer is no JSON"
            ) from problem
        if response.is_success:
            return dict(document)
        raise PlatformError(
            response.status_code,
            document.get("code", "gateway-malformed"),
            document.get("title", ""),
            document.get("detail", ""),
            field=document.get("field"),
            remedy=document.get("remedy"),
            refusals=document.get("refusals"),
        )


def _answer(document: Mapping[str, Any]) -> Answer:
    return Answer(
        request_id=document["request_id"],
        state=document["state"],
        consent=document["consent"],
        answer_by=datetime.fromisoformat(document["answer_by"]),
    )
