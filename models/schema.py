"""The public schema of a campaign: which features each kind of source holds, and their public bins.

Bins are fixed before any data are seen, so that they tell nothing about anyone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from models.errors import SchemaError
from models.feature import Feature, resolved
from models.schema_base import Frozen, Name, Title

RESERVED_KINDS = frozenset({"hub", "witness", "client"})


def _check_date(value: object) -> object:
    # pydantic would read a number as seconds since 1970
    if isinstance(value, (int, float)):
        raise ValueError("must be a date such as 2025-06-30")  # noqa: TRY004
    return value


KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
CalendarDate = Annotated[date, BeforeValidator(_check_date)]
LabelValue = Annotated[int, Field(strict=True)] | Annotated[str, Field(min_length=1)]


class Kind(Frozen):
    """What one kind of source holds, in the order of the file.

    Attributes:
        columns: further columns with numbers, which are not counted themselves; derived features read them.
    """

    title: Title | None = None
    columns: tuple[Name, ...] | None = Field(default=None, min_length=1)
    features: dict[Name, Feature] = Field(min_length=1)

    @field_validator("features", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        return _by_name(value)

    @field_validator("features", mode="after")
    @classmethod
    def _resolved(cls, features: dict[str, Feature], info: ValidationInfo) -> dict[str, Feature]:
        return resolved(features, info.data.get("columns") or ())

    @field_serializer("features", when_used="json")
    def _to_list(self, features: dict[str, Feature]) -> list[dict[str, Any]]:
        return _named(features)


class Label(Frozen):
    """The outcome that the model predicts, and the kind that knows it.

    Attributes:
        adverse, ended_at: as of a feature; a default past the limit is no outcome.
    """

    column: Name
    kind: KindName
    positive: LabelValue = 1
    negative: LabelValue = 0
    performance_months: int = Field(ge=1, le=120, strict=True)
    title: Title
    adverse: Literal[True] | None = None
    ended_at: Name | None = None

    @model_validator(mode="after")
    def _two_values(self) -> Self:
        if str(self.positive).strip() == str(self.negative).strip():
            raise ValueError("positive and negative must differ")
        if (self.adverse is None) != (self.ended_at is None):
            raise ValueError("adverse: true and ended_at go together")
        return self


class IdSpec(Frozen):
    """The column with the merchant's identifier, and its type."""

    column: Name
    type: Literal["opaque", "uscc", "resident-id"]


@dataclass(frozen=True)
class FeatureSpec:
    """A feature with its name and kind."""

    name: str
    kind: str
    spec: Feature

    @property
    def width(self) -> int:
        """Number of bins, "other" and "missing" included."""
        return self.spec.width

    @property
    def ordinal(self) -> bool:
        """True when neighbouring bins are alike."""
        return self.spec.ordinal


class Schema(Frozen):
    """A campaign's public schema. JSON keeps the order of kinds and features by holding both in lists."""

    name: Name
    id: IdSpec
    as_of: CalendarDate
    label: Label
    kinds: dict[KindName, Kind] = Field(min_length=1)

    @field_validator("kinds", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        return _by_name(value)

    @field_serializer("kinds", when_used="json")
    def _to_list(self, kinds: dict[str, Kind]) -> list[dict[str, Any]]:
        return _named(kinds)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        reserved = sorted(RESERVED_KINDS & set(self.kinds))
        if reserved:
            raise ValueError(f"kinds.{reserved[0]}: the name is reserved for a party that holds no features")
        if self.label.kind not in self.kinds:
            raise ValueError(f"label.kind: {self.label.kind!r} is not one of kinds")
        seen: dict[str, str] = {self.id.column: "id.column"}
        if self.label.column in seen:
            raise ValueError(f"label.column: {self.label.column!r} is the id column")
        seen[self.label.column] = "label.column"
        for kind, held in self.kinds.items():
            for name in held.features:
                if name in seen:
                    raise ValueError(f"kinds.{kind}.features.{name}: the name is taken by {seen[name]}")
                seen[name] = f"kinds.{kind}"
            for name in held.columns or ():
                if name in seen:
                    raise ValueError(f"kinds.{kind}.columns: {name!r} is taken by {seen[name]}")
                seen[name] = f"kinds.{kind}.columns"
        for kind in self.kinds:
            for column, ended_at in self.end_columns(kind).items():
                if ended_at in seen:
                    raise ValueError(f"ended_at of {column}: the name {ended_at!r} is taken by {seen[ended_at]}")
        return self

    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON; covers the order of kinds and features."""
        return hashlib.sha256(self.canonical_json()).hexdigest()

    def canonical_json(self) -> bytes:
        """UTF-8 JSON with sorted keys, no spaces and no nulls."""
        plain = self.model_dump(mode="json", exclude_none=True)
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Schema:
        """Read what ``canonical_json`` wrote.

        Raises:
            SchemaError: the JSON is malformed or is not a schema.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as problem:
            first = problem.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "schema"
            raise SchemaError(
                f"{field}: {first['msg']}", field=field, remedy="take the schema from the campaign's terms"
            ) from problem

    def kinds_in_order(self) -> tuple[str, ...]:
        """Names of the kinds, in the order of the file."""
        return tuple(self.kinds)

    def features(self, kind: str) -> list[FeatureSpec]:
        """A kind's features, in the order of the file.

        Raises:
            SchemaError: the schema has no such kind.
        """
        return [FeatureSpec(name, kind, spec) for name, spec in self._kind(kind).features.items()]

    def columns(self, kind: str) -> tuple[str, ...]:
        """Columns that a table of the kind must have beside the identifier's and the label's.

        Raises:
            SchemaError: the schema has no such kind.
        """
        own = [each.name for each in self.features(kind) if each.spec.derived is None and each.spec.product is None]
        return (*own, *(self._kind(kind).columns or ()))

    def end_columns(self, kind: str) -> dict[str, str]:
        """Column of an adverse fact → column with the day of its end, the label's included (see `models.adverse`).

        Raises:
            SchemaError: the schema has no such kind.
        """
        found = {each.name: each.spec.ended_at for each in self.features(kind) if each.spec.ended_at is not None}
        if kind == self.label.kind and self.label.ended_at is not None:
            found[self.label.column] = self.label.ended_at
        return found

    def all_features(self) -> list[FeatureSpec]:
        """All features, kinds in order."""
        return [feature for kind in self.kinds for feature in self.features(kind)]

    def feature(self, name: str) -> FeatureSpec:
        """The feature of that name.

        Raises:
            SchemaError: the schema has no such feature.
        """
        for kind, held in self.kinds.items():
            if name in held.features:
                return FeatureSpec(name, kind, held.features[name])
        known = ", ".join(feature.name for feature in self.all_features())
        raise SchemaError(f"feature {name!r} is not in schema {self.name!r}", field=name, remedy=f"use one of: {known}")

    def widths(self, kind: str) -> tuple[int, ...]:
        """Bins per feature of a kind, "other" and "missing" included."""
        return tuple(feature.width for feature in self.features(kind))

    def n_bins(self, feature: str) -> int:
        """Bins of one feature, "other" and "missing" included."""
        return self.feature(feature).width

    def bin_labels(self, feature: str, lang: str) -> list[str]:
        """Text of each bin of a feature, in ``"zh"`` or ``"en"``."""
        return self.feature(feature).spec.bin_labels(lang)

    def _kind(self, kind: str) -> Kind:
        if kind not in self.kinds:
            raise SchemaError(
                f"kind {kind!r} is not in schema {self.name!r}",
                field="kind",
                remedy=f"use one of: {', '.join(self.kinds)}",
            )
        return self.kinds[kind]


def unsettled(schema: Schema) -> bool:
    """Whether bins of the schema are still to come from quantiles."""
    return any(each.spec.unsettled for each in schema.all_features())


def _by_name(value: object) -> object:
    """Turn ``[{"name": n, …}, …]`` into ``{n: {…}, …}``; leave a mapping as it is."""
    if not isinstance(value, (list, tuple)):
        return value
    named: dict[str, object] = {}
    for item in value:
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise ValueError("each entry of the list needs a name")  # noqa: TRY004
        if item["name"] in named:
            raise ValueError(f"{item['name']!r} occurs twice")
        named[item["name"]] = {key: inner for key, inner in item.items() if key != "name"}
    return named


def _named(models: Mapping[str, BaseModel]) -> list[dict[str, Any]]:
    return [{"name": name, **model.model_dump(mode="json", exclude_none=True)} for name, model in models.items()]
