"""What this node asks merchants to consent to, written once by its owner (docs/platform.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from crypto.wire.base import KindName, PartyId
from crypto.wire.consent import (
    ConsentTerms,
    DataCategory,
    DataLife,
    Frequency,
    PrivacyNotice,
    Purpose,
    SeparateConsent,
)
from nodes.config_base import ClosedConfig
from nodes.errors import GatewayError


class ConsentTemplate(ClosedConfig):
    """Terms without dates. Separate consent is asked for every recipient and category where it is left out."""

    privacy_notice: PrivacyNotice
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]
    pii_information: Annotated[tuple[DataCategory, ...], Field(min_length=1)]
    sources: Annotated[dict[KindName, PartyId], Field(min_length=1)]
    recipients: Annotated[tuple[PartyId, ...], Field(min_length=1)]
    separate_consent: tuple[SeparateConsent, ...] | None = None
    adverse_consequences_notice: bool = True
    fetch_type: Literal["ONETIME", "PERIODIC"]
    frequency: Frequency
    data_life: DataLife
    valid_days: Annotated[int, Field(ge=1, le=1830)]
    jurisdiction: Annotated[str, Field(max_length=32)] = "CN"
    legal_article: Annotated[str, Field(max_length=200)]
    withdrawal_method: Annotated[str, Field(max_length=200)]
    collection_method: Annotated[str, Field(max_length=200)]

    @model_validator(mode="after")
    def _every_source_has_its_category(self) -> Self:
        missing = set(self.sources) - {each.category for each in self.pii_information}
        if missing:
            raise ValueError(f"pii_information lacks the categories of {', '.join(sorted(missing))}")
        return self

    def terms(self, now: datetime) -> ConsentTerms:
        """The terms as of now.

        Raises:
            GatewayError: they are no terms of a consent, e.g. as a recipient is named twice.
        """
        separate = self.separate_consent
        if separate is None:
            separate = tuple(
                SeparateConsent(recipient=recipient, category=each.category)
                for recipient in self.recipients
                for each in self.pii_information
            )
        values = {name: getattr(self, name) for name in ConsentTerms.model_fields if name in type(self).model_fields}
        dates = {"valid_from": now, "valid_until": now + timedelta(days=self.valid_days)}
        try:
            return ConsentTerms.model_validate({**values, **dates, "separate_consent": separate})
        except ValidationError as problem:
            raise _malformed(problem) from problem


def template_of(base: ConsentTemplate | None, fields: Mapping[str, JsonValue]) -> ConsentTemplate:
    """A template with some of its fields replaced, or made of fields alone.

    Raises:
        GatewayError: the fields make no template; `field` names the first at fault.
    """
    values = {} if base is None else base.model_dump(mode="json")
    try:
        return ConsentTemplate.model_validate_json(json.dumps({**values, **fields}))
    except ValidationError as problem:
        raise _malformed(problem) from problem


def _malformed(problem: ValidationError) -> GatewayError:
    first = problem.errors()[0]
    field = ".".join(str(part) for part in ("fields", *first["loc"]))
    return GatewayError(f"{field}: {first['msg']}", field=field, remedy="see docs/platform.md for a template's fields")
