"""One feature of a schema and its public bins: of a column, of a value derived from columns, or of two features.

Edges e1 < … < em give the bins (-inf, e1], (e1, e2], …, (em, inf); one "missing" bin comes last. Categories give one
bin each, then "other", then "missing". A product has a bin for every pair of its factors' bins, the second running
fastest.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from models.derived import Derived
from models.errors import SchemaError
from models.i18n import catalogue
from models.quantile_grid import Quantiles
from models.schema_base import FiniteNumber, Frozen, Name, Title

MAX_WIDTH = 255  # codes are bytes and 255 marks an absent row

Direction = Literal["increasing", "decreasing"]
Actionable = Literal["up", "down", "either"]
SAFER: dict[Direction, Actionable] = {"increasing": "down", "decreasing": "up"}
"""Where risk goes along the bins → which way along them is the safer one."""


@dataclass(frozen=True)
class BinAxis:
    """One side of a two-dimensional feature: bins in order, save those in `alone`, which have no neighbours."""

    width: int
    alone: tuple[int, ...]


class Feature(Frozen):
    """One feature: ordinal (``bins``: edges), nominal (``categories``), or the ``product`` of two others.

    Attributes:
        bins: strictly increasing finite edges, upper ends included.
        quantiles: edges come from private quantiles (`models.quantile_bins`). Without ``bins`` they are still to come;
            with them, they came from such a stage.
        rounded: ``bins`` are knots: a value between two of them is counted at either, by a coin that makes the mean of
            what is counted the value itself (`models.rounding`). For programme statistics alone.
        categories: the values with a bin of their own.
        class_: data class of JR/T 0171 (``class`` in files).
        whole: values are whole numbers; only the labels of the bins use it.
        special_from: an edge above which numbers are codes, not amounts; those bins stand alone.
        derived: how values are computed from columns; else they are those of the feature's own column.
        product: two features of the same kind that are no products themselves.
        range: least and greatest value expected; the data-quality report counts what lies outside, nothing else does.
        monotone: how risk must go along the bins in order; special and missing bins are free.
        adverse: the value is an adverse fact, which is used for five years from its end (`models.adverse`).
        ended_at: the column with the day on which that fact ended; empty where it has not.
        actionable: which way along its bins a merchant can move it by what it does (`models.counterfactual`).
        moves_with: another such feature that is about the same events: both go to the end of their way, or neither.
    """

    title: Title
    bins: tuple[FiniteNumber, ...] | None = Field(default=None, min_length=1)
    quantiles: Quantiles | None = None
    rounded: Literal[True] | None = None
    categories: tuple[Name, ...] | None = Field(default=None, min_length=1)
    class_: Literal["C1", "C2", "C3"] = Field(alias="class")
    whole: bool = Field(default=False, strict=True)
    special_from: FiniteNumber | None = None
    derived: Derived | None = None
    product: tuple[Name, Name] | None = None
    range: tuple[FiniteNumber, FiniteNumber] | None = None
    monotone: Direction | None = None
    adverse: Literal[True] | None = None
    ended_at: Name | None = None
    actionable: Actionable | None = None
    moves_with: Name | None = None
    _factors: tuple[Feature, Feature] | None = PrivateAttr(default=None)

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

    @field_validator("actionable", mode="before")
    @classmethod
    def _not_actionable(cls, given: object) -> object:
        return None if given is False else given  # written out or left out, it is the same schema

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum((self.ordinal, self.categories is not None, self.product is not None)) != 1:
            raise ValueError("give either bins or categories, or the product of two features; quantiles stand for bins")
        if self.quantiles is not None:
            self._check_quantiles(self.quantiles)
        elif self.special_from is not None and self.special_from not in (self.bins or ()):
            raise ValueError("special_from must be one of the edges in bins")
        for name in ("derived", "range", "monotone", "actionable"):
            if not self.ordinal and getattr(self, name) is not None:
                raise ValueError(f"{name}: is for features with bins")
        self._check_rounded()
        if (self.adverse is None) != (self.ended_at is None):
            raise ValueError("adverse: true and ended_at go together")
        if self.adverse and (self.derived is not None or self.product is not None):
            raise ValueError("adverse: is for the columns that a derived feature or a product reads, not for itself")
        if self.actionable is not None:
            self._check_actionable(self.actionable)
        if self.moves_with is not None and self.actionable not in ("up", "down"):
            raise ValueError("moves_with: needs actionable: up or actionable: down")
        if self.product is not None and self.product[0] == self.product[1]:
            raise ValueError("product: needs two different features")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError("range: the first number must not be greater than the second")
        if self.product is None and self.width > MAX_WIDTH:
            raise ValueError(f"has {self.width} bins; at most {MAX_WIDTH} are possible")
        return self

    def _check_actionable(self, way: Actionable) -> None:
        if self.derived is not None:
            raise ValueError("actionable: is not for derived features, which go with their columns")
        if self.adverse:
            raise ValueError("actionable: an adverse fact is undone by nobody; it ends with its five years")
        if self.monotone is not None and way not in ("either", SAFER[self.monotone]):
            raise ValueError(f"actionable: {way} is the way that monotone: {self.monotone} declares to be riskier")

    def _check_rounded(self) -> None:
        if not self.rounded:
            return
        if self.bins is None or len(self.bins) < 2:
            raise ValueError("rounded: needs bins with at least two knots")
        for name in ("quantiles", "special_from", "derived", "monotone", "actionable"):
            if getattr(self, name) is not None:
                raise ValueError(f"rounded: knots go without {name}")

    def _check_quantiles(self, quantiles: Quantiles) -> None:
        try:
            grid = quantiles.grid(whole=self.whole)
        except ValueError as problem:
            raise ValueError(f"quantiles.{problem}") from problem
        if self.special_from is not None and self.special_from <= grid[-1]:
            raise ValueError("special_from must be greater than the end of the quantiles' range")
        if self.bins is None:
            return
        special = () if self.special_from is None else (self.special_from,)
        if not set(self.bins) <= {*grid, *special} or self.bins[len(self.bins) - len(special) :] != special:
            raise ValueError("bins: quantiles give edges of their grid alone, and special_from last")
        if not 0 < len(self.bins) - len(special) < quantiles.count:
            raise ValueError(f"bins: quantiles give 1 to {quantiles.count - 1} edges beside special_from")

    def of_factors(self, first: Feature, second: Feature) -> Feature:
        """A product that knows its two factors.

        Raises:
            ValueError: more bins than are possible.
        """
        width = first.width * second.width
        if width > MAX_WIDTH:
            raise ValueError(f"has {first.width} × {second.width} = {width} bins; at most {MAX_WIDTH} are possible")
        known = self.model_copy()
        known._factors = (first, second)
        return known

    @property
    def factors(self) -> tuple[Feature, Feature] | None:
        """The two features of a product; None for any other.

        Raises:
            SchemaError: a product outside a schema, which alone knows its factors.
        """
        if self.product is not None and self._factors is None:
            raise SchemaError(
                f"the product of {' and '.join(self.product)} stands outside a schema",
                field="product",
                remedy="take it from the schema that holds its factors",
            )
        return self._factors

    @property
    def ordinal(self) -> bool:
        """True when neighbouring bins are alike, so that a fit may smooth over them."""
        return self.bins is not None or self.quantiles is not None

    @property
    def unsettled(self) -> bool:
        """True while the bins are still to come from quantiles."""
        return self.quantiles is not None and self.bins is None

    @property
    def width(self) -> int:
        """Number of bins, "other" and "missing" included; the most there can be while bins are still to come."""
        if self.factors is not None:
            return self.factors[0].width * self.factors[1].width
        if self.quantiles is not None and self.bins is None:
            return self.quantiles.count + (self.special_from is not None) + 1
        return len(self.bins) + 2 if self.bins is not None else len(self.categories or ()) + 2

    @property
    def missing_bin(self) -> int:
        """Index of the bin for missing values: always the last. Of a product, that where both are missing."""
        return self.width - 1

    @property
    def missing_bins(self) -> tuple[int, ...]:
        """Bins of missing values; of a product, all where either is missing."""
        if self.factors is None:
            return (self.missing_bin,)
        first, second = self.factors
        return tuple(
            code
            for code in range(self.width)
            if code // second.width == first.missing_bin or code % second.width == second.missing_bin
        )

    @property
    def other_bin(self) -> int | None:
        """Index of the bin for unlisted categories; none for ordinal features and products."""
        return None if self.categories is None else self.width - 2

    @property
    def special_bins(self) -> tuple[int, ...]:
        """Bins of numbers that are codes."""
        if self.special_from is None:
            return ()
        if self.bins is None:
            return (self.width - 2,)
        return tuple(range(self.bins.index(self.special_from) + 1, self.width - 1))

    @property
    def standalone_bins(self) -> tuple[int, ...]:
        """Bins without neighbours in one line: missing and special ones, and all of a nominal feature or a product."""
        return (*self.special_bins, self.missing_bin) if self.ordinal else tuple(range(self.width))

    @property
    def axes(self) -> tuple[BinAxis, ...]:
        """The two sides of a product; none for any other feature."""
        return tuple(BinAxis(factor.width, factor.standalone_bins) for factor in self.factors or ())

    def bin_labels(self, lang: str) -> list[str]:
        """Text of each bin, e.g. ``["≤ 25", "25–30", "> 30", "missing"]``; of a product ``"≤ 25 × > 0.5"``."""
        if self.factors is not None:
            first, second = (factor.bin_labels(lang) for factor in self.factors)
            return [f"{one} × {other}" for one in first for other in second]
        if self.unsettled:
            raise self.no_bins_yet()
        words = catalogue("models")
        missing = words.translate(lang, "missing")
        if self.bins is None:
            return [*(self.categories or ()), words.translate(lang, "other"), missing]
        if self.rounded:
            return [*(f"≈ {_number(knot)}" for knot in self.bins), f"> {_number(self.bins[-1])}", missing]
        labels = [f"≤ {_number(self.bins[0])}"]
        labels += [_interval(low, high, whole=self.whole) for low, high in itertools.pairwise(self.bins)]
        labels.append(f"> {_number(self.bins[-1])}")
        for index in self.special_bins:
            labels[index] = f"{labels[index]} ({words.translate(lang, 'special code')})"
        return [*labels, missing]

    def no_bins_yet(self) -> SchemaError:
        """The error of whoever needs bins that are still to come from quantiles."""
        return SchemaError(
            f"{self.title.en}: its bins are still to come from quantiles",
            field="quantiles",
            remedy="run the bins stage of a campaign first, or give bins",
        )


def resolved(features: dict[str, Feature], columns: tuple[str, ...] = ()) -> dict[str, Feature]:
    """A kind's features, derived ones checked against its columns, products joined to their factors.

    Args:
        features: in the order of the file.
        columns: further columns of the kind, which derived features may read.

    Raises:
        ValueError: a name that is not there, cannot be computed with, is not used, or has a stricter data class.
    """
    read: set[str] = set()
    _check_moves_with(features)
    found: dict[str, Feature] = {}
    for name, feature in features.items():
        if feature.derived is not None:
            _check_columns(name, feature, features, columns)
            read |= set(feature.derived.columns)
        if feature.product is None:
            found[name] = feature
            continue
        for factor in feature.product:
            if factor not in features or features[factor].product is not None or features[factor].rounded:
                raise ValueError(f"{name}.product: {factor!r} is not another feature of this kind that has bins itself")
            _check_class(f"{name}.product", feature, factor, features[factor])
        first, second = (features[factor] for factor in feature.product)
        try:
            found[name] = feature.of_factors(first, second)
        except ValueError as problem:
            raise ValueError(f"{name}.product: {problem}") from problem
    unused = [column for column in columns if column not in read]
    if unused:
        raise ValueError(f"no derived feature reads the column {unused[0]!r}; columns is for those that one does")
    return found


def _check_columns(name: str, feature: Feature, features: dict[str, Feature], columns: tuple[str, ...]) -> None:
    for column in feature.derived.columns if feature.derived is not None else ():
        if column in columns:
            continue
        source = features.get(column)
        if source is None:
            raise ValueError(f"{name}.derived: {column!r} is neither a feature with bins nor one of the kind's columns")
        if not source.ordinal or source.derived is not None:
            raise ValueError(f"{name}.derived: {column!r} has no column of numbers of its own")
        if source.actionable is not None:
            raise ValueError(
                f"{column}.actionable: {name!r} is derived from it, and bins do not tell where that would go"
            )
        _check_class(f"{name}.derived", feature, column, source)


def _check_moves_with(features: dict[str, Feature]) -> None:
    for name, feature in features.items():
        if feature.moves_with is None:
            continue
        other = features.get(feature.moves_with)
        if other is None or feature.moves_with == name or other.actionable not in ("up", "down"):
            raise ValueError(
                f"{name}.moves_with: {feature.moves_with!r} is no other feature of this kind that is actionable one way"
            )


def _check_class(place: str, feature: Feature, column: str, source: Feature) -> None:
    """What is made of C3 data tells about C3 data."""
    if source.class_ > feature.class_:
        raise ValueError(f"{place}: is made of {column!r}, which is {source.class_}; {feature.class_} is too low")


def _number(value: float) -> str:
    return f"{int(value)}" if value == math.floor(value) and abs(value) < 1e15 else repr(value)


def _interval(low: float, high: float, *, whole: bool) -> str:
    if not whole:
        return f"{_number(low)}–{_number(high)}"
    first, last = math.floor(low) + 1, math.floor(high)
    return f"{first}" if first >= last else f"{first}–{last}"
