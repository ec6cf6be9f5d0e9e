"""The gateway's hooks for a platform: collect a consent, see where it stands, lead the merchant to its end.

Plain identifiers come in and stay here; what travels are pseudonyms. Nobody signs in a merchant's place: all that comes
back are links on which the merchant signs, or refuses, with its own key.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy import delete

from crypto.identifiers import IdentifierType
from crypto.wire.consent import ConsentTerms
from crypto.wire.consent_request import ConsentRequestStanding, RequestId, RequestState
from models.yaml_file import load_yaml_model
from nodes.consent_desk import LONGEST_DAYS, ConsentDesk, ConsentStanding
from nodes.consent_templates import ConsentTemplate, template_of
from nodes.errors import ConfigError, GatewayError
from nodes.gateway_keys import HEADER, LIFE
from nodes.runtime import NodeRuntime
from nodes.tables.batches import GatewayKeyRow

Key = Annotated[str | None, Header(min_length=8, max_length=128)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CollectInput(_Closed):
    """Whom to ask, and for what: a template of the node's configuration, fields, or a template with other fields."""

    id: Identifier
    id_type: IdentifierType | None = None
    template: Annotated[str | None, Field(max_length=64)] = None
    fields: dict[str, JsonValue] = {}
    answer_days: Annotated[int, Field(ge=1, le=LONGEST_DAYS)] = 14


class CollectOutput(_Closed):
    """Send the merchant `link`; where `invitation_link` is given, it has no key yet: send it that one first.

    Whoever opens an invitation first brings the key, so give it to the merchant alone.
    """

    request_id: str
    state: RequestState
    link: str
    invitation_link: str | None
    answer_by: str


class RequestOutput(_Closed):
    """Where a request stands; `consent`: where the consent stands that the merchant signed for it."""

    request_id: str
    state: RequestState
    consent: str | None
    answer_by: str


class MerchantInput(_Closed):
    """A merchant."""

    id: Identifier


class StatusLine(_Closed):
    """A consent: `state` for this node, which decides, and `hub_state`, which may be a moment ahead."""

    consent_id: str
    state: str | None
    hub_state: str | None
    purposes: list[str]
    sources: dict[str, str]
    recipients: list[str]
    valid_from: str
    valid_until: str


class StatusOutput(_Closed):
    """The newest first. Without the hub's answer `hub_state` is empty."""

    consents: list[StatusLine]
    hub_answered: bool


class RevokeInput(_Closed):
    """A merchant, and which of its consents; its whole list where none is named."""

    id: Identifier
    consent_id: RequestId | None = None


class RevokeOutput(_Closed):
    """The page on which the merchant signs the revocation itself."""

    link: str


def load_templates(files: Mapping[str, Path]) -> dict[str, ConsentTemplate]:
    """Read the templates that the configuration names.

    Raises:
        ConfigError: one cannot be read or does not fit; the message names file, line and field.
    """
    return {name: load_yaml_model(path, ConsentTemplate, error=ConfigError) for name, path in files.items()}


def hooks_router(runtime: NodeRuntime, desk: ConsentDesk, templates: Mapping[str, ConsentTemplate]) -> APIRouter:
    """The hooks as routes."""
    router = APIRouter(prefix="/v1/consents", tags=["hooks"])

    @router.post("/collect", summary="Ask a merchant for a consent")
    def collect(body: CollectInput, idempotency_key: Key = None) -> CollectOutput:
        """Ask a merchant for a consent; sent again under its Idempotency-Key, the request counts once."""
        if body.template is not None and body.template not in templates:
            raise GatewayError(
                f"there is no template {body.template}",
                field="template",
                remedy="name one of gateway.consent_templates in the node's configuration",
            )
        template = template_of(templates[body.template] if body.template else None, body.fields)
        merchant = desk.merchant(body.id, body.id_type)
        fresh = Asked(request_id=secrets.token_hex(16), terms=template.terms(runtime.now()))
        asked = _remembered(runtime, idempotency_key, body, fresh)
        found = desk.collect(merchant, asked.terms, request_id=asked.request_id, answer_days=body.answer_days)
        return CollectOutput(
            request_id=found.receipt.request_id,
            state=found.receipt.state,
            link=found.receipt.link,
            invitation_link=None if found.invitation is None else found.invitation.link,
            answer_by=found.receipt.answer_by.isoformat(),
        )

    @router.get("/requests/{request_id}", summary="Where a request stands")
    def read_request(request_id: RequestId) -> RequestOutput:
        """Say whether the merchant has answered a request."""
        return _standing(desk.request(request_id))

    @router.delete("/requests/{request_id}", summary="Withdraw a request")
    def withdraw(request_id: RequestId) -> RequestOutput:
        """End a request that was not answered."""
        return _standing(desk.withdraw(request_id))

    @router.post("/status", summary="Where a merchant's consents stand")
    def read_status(body: MerchantInput) -> StatusOutput:
        """Say where a merchant's consents stand that name this node: here, and by the hub's word."""
        found = desk.standings(body.id)
        return StatusOutput(consents=[_line(each) for each in found.consents], hub_answered=found.hub_answered)

    @router.post("/revoke-link", summary="Where a merchant revokes")
    def revoke_link(body: RevokeInput) -> RevokeOutput:
        """Return the page on which the merchant revokes; only it can sign that."""
        return RevokeOutput(link=desk.revoke_link(body.id, body.consent_id))

    return router


class Asked(_Closed):
    """What a key stands for, kept before the hub hears of it, so that the same request is sent again."""

    request_id: RequestId
    terms: ConsentTerms


def _remembered(runtime: NodeRuntime, key: str | None, body: CollectInput, fresh: Asked) -> Asked:
    if key is None:
        return fresh
    now = int(runtime.now().timestamp())
    digest = hashlib.sha256(b"collect:" + body.model_dump_json().encode()).hexdigest()
    with runtime.store.session() as session:
        session.execute(delete(GatewayKeyRow).where(GatewayKeyRow.created_at < now - LIFE.total_seconds()))
        row = session.get(GatewayKeyRow, key)
        if row is None:
            session.add(GatewayKeyRow(key=key, body_sha256=digest, answer=fresh.model_dump_json(), created_at=now))
            return fresh
        if row.body_sha256 != digest or row.answer is None:
            raise GatewayError(
                "the key came before, with another body", field=HEADER, remedy="use a fresh key for each request"
            )
        return Asked.model_validate_json(row.answer)


def _standing(found: ConsentRequestStanding) -> RequestOutput:
    return RequestOutput(
        request_id=found.request_id,
        state=found.state,
        consent=found.consent,
        answer_by=found.answer_by.isoformat(),
    )


def _line(found: ConsentStanding) -> StatusLine:
    record = found.record
    return StatusLine(
        consent_id=record.record_id,
        state=found.held,
        hub_state=found.at_hub,
        purposes=list(record.purposes),
        sources=record.sources,
        recipients=list(record.recipients),
        valid_from=record.valid_from.isoformat(),
        valid_until=record.valid_until.isoformat(),
    )
