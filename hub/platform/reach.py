"""How many merchants a product would reach: from counts that were published with noise, and from nothing else.

Nobody counts merchants' scores for it. A table of counts by band, and by whatever segments were released with it, is
public; a rule's reach is the sum of the cells that it takes in, and its interval that of
the noise in them and of the share that was counted. So asking
costs no privacy, and a bank may ask as often as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crypto.wire.base import ModelId
from hub.platform.products import Band, MerchantRule, lies_in
from models.evaluation_result import EvaluationResult
from models.scorecard import BANDS, band_of

Segment: TypeAlias = Literal["kind", "origin", "place"]
_NORMAL_95 = 1.959963984540054


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ReachCell(_Closed):
    """One count: of merchants in a band and in a value of each segment, with its noise; it may be negative."""

    band: Band
    values: tuple[Annotated[str, Field(min_length=1, max_length=40)], ...] = ()
    count: float


class ReachTable(_Closed):
    """Published counts of one model's bands.

    Attributes:
        model_id: whose bands these are.
        source: the campaign and attempt that opened the counts, so that anyone can look them up.
        segments: what merchants are told apart by besides the band, in order of each cell's `values`.
        sigma: standard deviation of the noise in each count.
        share: of all consenting merchants who were counted; an evaluation counts the held-out ones only.
        cells: every combination of band and values once.
    """

    model_id: ModelId
    source: Annotated[str, Field(min_length=1, max_length=200)]
    segments: tuple[Segment, ...] = ()
    sigma: Annotated[float, Field(ge=0)]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    cells: Annotated[tuple[ReachCell, ...], Field(min_length=1, max_length=100_000)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.segments)) != len(self.segments):
            raise ValueError("segments: one stands twice")
        if any(len(each.values) != len(self.segments) for each in self.cells):
            raise ValueError("cells: a cell needs one value for each segment")
        keys = [(each.band, *each.values) for each in self.cells]
        axes = [sorted({key[place] for key in keys}) for place in range(len(self.segments) + 1)]
        if sorted(keys) != sorted(product(*axes)) or set(axes[0]) != set(BANDS):
            raise ValueError("cells: must be every combination of the five bands and the segments' values, each once")
        return self


@dataclass(frozen=True)
class Reach:
    """How many merchants meet a rule, and its 95 % interval.

    Attributes:
        merchants: estimate; not below zero.
        low, high: its interval; it tells nothing of merchants without consent.
        cells: how many counts were added up.
        unsegmented: conditions of the rule that the table does not tell apart. Where there are any, estimate and
            interval are of a wider rule without them: an upper bound.
        source, model_id: whose counts they are.
    """

    merchants: int
    low: int
    high: int
    cells: int
    unsegmented: tuple[Segment, ...]
    source: str
    model_id: str


def expected_reach(table: ReachTable, rule: MerchantRule) -> Reach:
    """Return the reach of a rule by a published table."""
    asked: Mapping[Segment, tuple[str, ...]] = {"kind": rule.kinds, "origin": rule.origins, "place": rule.places}
    meets: Mapping[Segment, Callable[[str], bool]] = {
        "kind": lambda value: value in rule.kinds,
        "origin": lambda value: not rule.origins or value in rule.origins,
        "place": lambda value: not rule.places or any(lies_in(value, each) for each in rule.places),
    }
    taken = [
        each.count
        for each in table.cells
        if each.band in rule.bands
        and all(meets[segment](value) for segment, value in zip(table.segments, each.values, strict=True))
    ]
    merchants, low, high = interval_of(table, taken)
    restricted = {
        "kind": len(rule.kinds) < 2,
        "origin": bool(asked["origin"]),
        "place": bool(asked["place"]),
    }
    segments: tuple[Segment, ...] = ("kind", "origin", "place")
    return Reach(
        merchants=merchants,
        low=low,
        high=high,
        cells=len(taken),
        unsegmented=tuple(each for each in segments if restricted[each] and each not in table.segments),
        source=table.source,
        model_id=table.model_id,
    )


def interval_of(table: ReachTable, counts: Sequence[float]) -> tuple[int, int, int]:
    """Return how many merchants some of a table's counts stand for, and the ends of the 95 % interval."""
    counted = math.fsum(counts)
    # Of those counted: the noise of each count; of those who were not: the chance by which a merchant was.
    variance = table.sigma**2 * len(counts) + max(counted, 0.0) * (1 - table.share)
    total, half = counted / table.share, _NORMAL_95 * math.sqrt(variance) / table.share
    return max(0, round(total)), max(0, math.floor(total - half)), max(0, math.ceil(total + half))


def table_of_evaluation(result: EvaluationResult, *, held_out: float) -> ReachTable:
    """Make the table by bands alone from what a hub publishes of an evaluation (GET /v1/models/ID/evaluation).

    Args:
        result: its score bands fall into the five bands by their predicted probability of default.
        held_out: share of the cohort that was held out, from the campaign's public terms.
    """
    counts = dict.fromkeys(BANDS, 0.0)
    parts = dict.fromkeys(BANDS, 0)
    for each in result.bands:
        band = str(band_of(each.predicted_pd))
        counts[band] += each.count_good + each.count_bad
        parts[band] += 1
    # A band that is the sum of several counts has more noise than one of a single count; the greatest is said of all.
    sigma = result.sigma * math.sqrt(2 * max(parts.values()))
    cells = [{"band": band, "count": count} for band, count in counts.items()]
    return ReachTable.model_validate(
        {
            "model_id": result.model_id,
            "source": f"{result.campaign}/{result.attempt}",
            "sigma": sigma,
            "share": held_out,
            "cells": cells,
        }
    )
