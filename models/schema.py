"""The public schema of a campaign: which features each kind of source holds, and their public bins.

Bins are fixed before any data are seen, so that they tell nothing about anyone. Edges e1 < … < em give
the bins (-inf, e1], (e1, e2], …, (em, inf); one "missing" bin comes last. Categories give one bin each, then
"other", then "missing".
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from models.errors import SchemaError
from models.i18n import catalogue

RESERVED_KINDS = frozenset({"hub", "witness", "client"})
MAX_WIDTH = 255  # codes are bytes and 255 marks an absent row


def _check_name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("must be printable, without spaces at its ends")
    return value


def _check_date(value: object) -> object:
    # pydantic would read a number as seconds since 1970
    if isinstance(value, (int, float)):
        raise ValueError("must be a date such as 2025-06-30")  # noqa: TRY004
    return value


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_name)]
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
CalendarDate = Annotated[date, BeforeValidator(_check_date)]
LabelValue = Annotated[int, Field(strict=True)] | Annotated[str, Field(min_length=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


class Title(_Frozen):
    """A text for persons in both languages."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    def text(self, lang: str) -> str:
        """The Chinese text for ``"zh"``, the English one for anything else."""
        return self.zh if lang == "zh" else self.en


class Feature(_Frozen):
    """One feature: ordinal (``bins``: edges) or nominal (``categories``).

    Attributes:
        bins: strictly increasing finite edges, upper ends included.
        categories: the values with a bin of their own.
        class_: data class of JR/T 0171 (``class`` in files).
        whole: values are whole numbers; only the labels of the bins use it.
        special_from: an edge above which numbers are codes, not amounts; those bins stand alone.
    """

    title: Title
    bins: tuple[FiniteNumber, ...] | None = Field(default=None, min_length=1)
    categories: tuple[Name, ...] | None = Field(default=None, min_length=1)
    class_: Literal["C1", "C2", "C3"] = Field(alias="class")
    whole: bool = Field(default=False, strict=True)
    special_from: FiniteNumber | None = None

    @field_validator("bins", mode="after")
    @classmethod
    def _increasing(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges is not None and any(b <= a for a, b in itertools.pairwise(edges)):
            raise ValueError("edges must be strictly increasing")
        return None if edges is None else tuple(edge + 0.0 for edge in edges)  # -0.0 and 0.0 are one edge

    @field_validator("categories", mode="after")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) != len(names):
            raise ValueError("categories must be distinct")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.bins is None) == (self.categories is None):
            raise ValueError("give either bins or categories, not both")
        if self.special_from is not None and self.special_from not in (self.bins or ()):
            raise ValueError("special_from must be one of the edges in bins")
        if self.width > MAX_WIDTH:
            raise ValueError(f"has {self.width} bins; at most {MAX_WIDTH} are possible")
        return self

    @property
    def ordinal(self) -> bool:
        """True when neighbouring bins are alike, so that a fit may smooth over them."""
        return self.bins is not None

    @property
    def width(self) -> int:
        """Number of bins, "other" and "missing" included."""
        return len(self.bins) + 2 if self.bins is not None else len(self.categories or ()) + 2

    @property
    def missing_bin(self) -> int:
        """Index of the bin for missing values: always the last."""
        return self.width - 1

    @property
    def other_bin(self) -> int | None:
        """Index of the bin for unlisted categories; none for ordinal features."""
        return None if self.ordinal else self.width - 2

    @property
    def special_bins(self) -> tuple[int, ...]:
        """Bins of numbers that are codes."""
        if self.bins is None or self.special_from is None:
            return ()
        return tuple(range(self.bins.index(self.special_from) + 1, self.width - 1))

    @property
    def standalone_bins(self) -> tuple[int, ...]:
        """Bins without neighbours: missing and special ones, and all bins of a nominal feature."""
        return (*self.special_bins, self.missing_bin) if self.ordinal else tuple(range(self.width))

    def bin_labels(self, lang: str) -> list[str]:
        """Text of each bin, e.g. ``["≤ 25", "25–30", "> 30", "missing"]``."""
        words = catalogue("models")
        missing = words.translate(lang, "missing")
        if self.bins is None:
            return [*(self.categories or ()), words.translate(lang, "other"), missing]
        labels = [f"≤ {_number(self.bins[0])}"]
        labels += [_interval(low, high, whole=self.whole) for low, high in itertools.pairwise(self.bins)]
        labels.append(f"> {_number(self.bins[-1])}")
        for index in self.special_bins:
            labels[index] = f"{labels[index]} ({words.translate(lang, 'special code')})"
        return [*labels, missing]


class Kind(_Frozen):
    """What one kind of source holds, in the order of the file."""

    title: Title | None = None
    features: dict[Name, Feature] = Field(min_length=1)

    @field_validator("features", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        return _by_name(value)

    @field_serializer("features", when_used="json")
    def _to_list(self, features: dict[str, Feature]) -> list[dict[str, Any]]:
        return _named(features)


class Label(_Frozen):
    """The outcome that the model predicts, and the kind that knows it."""

    column: Name
    kind: KindName
    positive: LabelValue = 1
    negative: LabelValue = 0
    performance_months: int = Field(ge=1, le=120, strict=True)
    title: Title

    @model_validator(mode="after")
    def _two_values(self) -> Self:
        if str(self.positive).strip() == str(self.negative).strip():
            raise ValueError("positive and negative must differ")
        return self


class IdSpec(_Frozen):
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


class Schema(_Frozen):
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


def _number(value: float) -> str:
    return f"{int(value)}" if value == math.floor(value) and abs(value) < 1e15 else repr(value)


def _interval(low: float, high: float, *, whole: bool) -> str:
    if not whole:
        return f"{_number(low)}–{_number(high)}"
    first, last = math.floor(low) + 1, math.floor(high)
    return f"{first}" if first >= last else f"{first}–{last}"
