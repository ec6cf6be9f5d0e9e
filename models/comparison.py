"""Two models beside each other: privacy, performance with its noise, features, bins and points.

Figures of two evaluations differ by chance alone. A difference counts only where its own 95 % interval leaves 0 out;
the interval takes both as independent, which is right for different held-out merchants and wide for the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.artefact import ModelArtefact
from models.card_content import CardFacts
from models.card_voice import Voice
from models.evaluation_result import Estimate, EvaluationResult
from models.schema import Schema
from models.scorecard import FeaturePoints
from models.tables import FloatArray, encoder_feature

_DRAWS = 400
Change = Literal["added", "removed", "bins", "points"]


@dataclass(frozen=True)
class FigureChange:
    """A figure of both models; `difference` is after minus before.

    Attributes:
        low, high: its 95 % interval.
        beyond_noise: whether the interval leaves 0 out.
    """

    name: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    beyond_noise: bool


@dataclass(frozen=True)
class Stability:
    """Population stability index between both evaluations' histograms of scores.

    Attributes:
        noise: what the index exceeds in one of twenty cases where nothing has moved.
    """

    index: float
    noise: float

    @property
    def beyond_noise(self) -> bool:
        """Whether scores have moved by more than chance and noise would."""
        return self.index > self.noise


@dataclass(frozen=True)
class BinChange:
    """Points of one bin in both models."""

    label: str
    before: int
    after: int


@dataclass(frozen=True)
class FeatureChange:
    """A feature that only one of them has, whose bins differ, or whose points differ; `bins` are those that differ."""

    kind: str
    name: str
    title: str
    change: Change
    bins: tuple[BinChange, ...] = ()


@dataclass(frozen=True)
class ModelComparison:
    """Two models.

    Attributes:
        epsilon, delta, cohort: of both, before and after.
        same_schema: whether both have the very same schema.
        figures: AUC and KS where both were evaluated.
        stability: where both evaluations have the same bands.
        features: in the order of the newer model, removed ones last.
        same_points: features with the same bins and the same points.
    """

    before: str
    after: str
    epsilon: tuple[float | None, float | None]
    delta: tuple[float | None, float | None]
    cohort: tuple[int, int]
    same_schema: bool
    figures: tuple[FigureChange, ...]
    stability: Stability | None
    features: tuple[FeatureChange, ...]
    same_points: int


def compare(before: CardFacts, after: CardFacts, lang: str) -> ModelComparison:
    """Compare two models; titles and bins are named in `lang`.

    Raises:
        ArtefactError: one of them is malformed.
    """
    old, new = before.artefact, after.artefact
    features, same = _features(old, new, Voice(lang))
    figures: tuple[FigureChange, ...] = ()
    stability = None
    if before.evaluation is not None and after.evaluation is not None:
        pairs = [(each, getattr(before.evaluation, each), getattr(after.evaluation, each)) for each in ("auc", "ks")]
        figures = tuple(_figure(name.upper(), one, two) for name, one, two in pairs)
        stability = _stability(before.evaluation, after.evaluation)
    return ModelComparison(
        before=old.model_id,
        after=new.model_id,
        epsilon=(old.privacy.epsilon, new.privacy.epsilon),
        delta=(old.privacy.delta, new.privacy.delta),
        cohort=(old.cohort_size, new.cohort_size),
        same_schema=old.schema_sha256 == new.schema_sha256,
        figures=figures,
        stability=stability,
        features=features,
        same_points=same,
    )


def _figure(name: str, before: Estimate, after: Estimate) -> FigureChange:
    difference = after.value - before.value
    # Intervals need not be symmetric: each side takes the ends that push the difference that way.
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    low, high = difference - down, difference + up
    return FigureChange(name, before.value, after.value, difference, low, high, not low <= 0 <= high)


def _stability(before: EvaluationResult, after: EvaluationResult) -> Stability | None:
    ranges = [[(band.score_low, band.score_high) for band in each.bands] for each in (before, after)]
    if ranges[0] != ranges[1]:
        return None
    one, two = (np.array([band.count_bad + band.count_good for band in each.bands]) for each in (before, after))
    # A band's count is a sum of two noisy ones.
    noises = [math.sqrt(2) * each.sigma for each in (before, after)]
    pooled = np.maximum(one, 0) / max(np.maximum(one, 0).sum(), 1) + np.maximum(two, 0) / max(
        np.maximum(two, 0).sum(), 1
    )
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_DRAWS):
        sides = [
            rng.poisson(pooled / 2 * max(each.sum(), 1.0)) + rng.normal(0.0, noise, len(pooled))
            for each, noise in zip((one, two), noises, strict=True)
        ]
        drawn.append(_index(sides[0], sides[1], noises))
    return Stability(_index(one, two, noises), float(np.quantile(drawn, 0.95)))


def _index(one: FloatArray, two: FloatArray, noises: Sequence[float]) -> float:
    """Bands that hold no more than the noise in either are taken together: a share near 0 would outweigh all others."""
    held = (one > 3 * noises[0] + 5) & (two > 3 * noises[1] + 5)
    shares = []
    for counts in (one, two):
        parts = np.append(counts[held], max(float(counts[~held].sum()), 0.0))
        parts = np.maximum(parts, 0.5)
        shares.append(parts / parts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _features(old: ModelArtefact, new: ModelArtefact, say: Voice) -> tuple[tuple[FeatureChange, ...], int]:
    before, after = _entries(old), _entries(new)
    old_schema, new_schema = old.schema_of(), new.schema_of()
    found: list[FeatureChange] = []
    same = 0
    for (kind, name), entry in after.items():
        title = say.feature(new_schema, kind, name)
        known = before.get((kind, name))
        if known is None:
            found.append(FeatureChange(kind, name, title, "added"))
        elif _bins(old_schema, known, say) != _bins(new_schema, entry, say):
            found.append(FeatureChange(kind, name, title, "bins"))
        else:
            labels = _bins(new_schema, entry, say)
            rows = zip(labels, known.points, entry.points, strict=True)
            bins = tuple(BinChange(label, one, two) for label, one, two in rows if one != two)
            if bins:
                found.append(FeatureChange(kind, name, title, "points", bins))
            else:
                same += 1
    for (kind, name), _ in before.items():
        if (kind, name) not in after:
            found.append(FeatureChange(kind, name, say.feature(old_schema, kind, name), "removed"))
    return tuple(found), same


def _entries(artefact: ModelArtefact) -> dict[tuple[str, str], FeaturePoints]:
    if artefact.scorecard is None:
        return {}
    return {(entry.feature.kind, entry.feature.name): entry for entry in artefact.card().features}


def _bins(schema: Schema, entry: FeaturePoints, say: Voice) -> list[str]:
    feature = entry.feature
    if feature.name == encoder_feature(feature.kind):
        return [f"{say('Bin')} {number}" for number in range(1, feature.width + 1)]
    return schema.bin_labels(feature.name, say.lang)
