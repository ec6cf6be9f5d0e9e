"""Two models beside each other: privacy, performance with its noise, features, bins and points.

Figures of two evaluations differ by chance alone. A difference counts only where its own 95 % interval leaves 0 out;
the interval takes both as independent, which is right for different held-out merchants and wide for the same ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.advice import Advice, advice_of
from models.artefact import ModelArtefact
from models.card_content import CardFacts
from models.card_voice import Voice
from models.divergence import Divergence, divergence
from models.drift import FeatureDrift, table_drift
from models.evaluation import Interval
from models.evaluation_result import Estimate, EvaluationResult
from models.figure_change import FigureChange
from models.migration import Migration, migration_of
from models.schema import Schema
from models.scorecard import FeaturePoints
from models.stability import rank_correlation
from models.tables import encoder_feature

Change = Literal["added", "removed", "bins", "points"]


@dataclass(frozen=True)
class BinChange:
    """Points of one bin in both models."""

    label: str
    before: int
    after: int


@dataclass(frozen=True)
class FeatureChange:
    """A feature that only one of them has, whose bins differ, or whose points differ.

    Attributes:
        source, title: of its kind and of itself, in the reader's language.
        bins: those whose points differ.
    """

    kind: str
    name: str
    source: str
    title: str
    change: Change
    bins: tuple[BinChange, ...] = ()


@dataclass(frozen=True)
class ModelComparison:
    """Two models.

    Attributes:
        epsilon, delta, cohort: of both, before and after.
        evaluation_epsilon: of what evaluated them; None where nothing did, or without noise.
        same_schema: whether both have the very same schema.
        figures: AUC, KS and calibration where both were evaluated.
        stability: PSI between both evaluations' histograms of scores, where they have the same bands.
        features: in the order of the newer model, removed ones last.
        same_points: features with the same bins and the same points.
        points_correlation: rank correlation of points over the bins that both have; None where they share none.
        migration: of bands, where both read the same features.
        drift: PSI of every feature between both private tables, where they are known.
        same_evaluation: whether one campaign evaluated both.
        advice: which to use.
        unknown: what cannot be told, and why, in the reader's language.
    """

    before: str
    after: str
    epsilon: tuple[float | None, float | None]
    delta: tuple[float | None, float | None]
    evaluation_epsilon: tuple[float | None, float | None]
    cohort: tuple[int, int]
    same_schema: bool
    figures: tuple[FigureChange, ...]
    stability: Divergence | None
    features: tuple[FeatureChange, ...]
    same_points: int
    points_correlation: float | None
    migration: Migration | None
    drift: tuple[FeatureDrift, ...]
    same_evaluation: bool
    advice: Advice
    unknown: tuple[str, ...]


def compare(before: CardFacts, after: CardFacts, lang: str) -> ModelComparison:
    """Compare two models; titles and bins are named in `lang`.

    Raises:
        ArtefactError: one of them is malformed.
    """
    old, new = before.artefact, after.artefact
    say = Voice(lang)
    features, same = _features(old, new, say)
    figures: tuple[FigureChange, ...] = ()
    stability = None
    if before.evaluation is not None and after.evaluation is not None:
        one, two = before.evaluation, after.evaluation
        figures = (
            _figure("AUC", _interval(one.auc), _interval(two.auc)),
            _figure("KS", _interval(one.ks), _interval(two.ks)),
        )
        ratios = calibration_ratio(one), calibration_ratio(two)
        if ratios[0] is not None and ratios[1] is not None:
            figures = (*figures, _figure("calibration", ratios[0], ratios[1]))
        stability = _stability(one, two)
    drift: tuple[FeatureDrift, ...] = ()
    if before.table is not None and after.table is not None:
        drift = table_drift(before.table, after.table)
    migration = migration_of(before, after)
    same_evaluation = (
        before.evaluation is not None
        and after.evaluation is not None
        and before.evaluation.campaign == after.evaluation.campaign
    )
    return ModelComparison(
        before=old.model_id,
        after=new.model_id,
        epsilon=(old.privacy.epsilon, new.privacy.epsilon),
        delta=(old.privacy.delta, new.privacy.delta),
        evaluation_epsilon=(_spent(before), _spent(after)),
        cohort=(old.cohort_size, new.cohort_size),
        same_schema=old.schema_sha256 == new.schema_sha256,
        figures=figures,
        stability=stability,
        features=features,
        same_points=same,
        points_correlation=_points_correlation(old, new),
        migration=migration,
        drift=drift,
        same_evaluation=same_evaluation,
        advice=advice_of(say, figures, drift, same_evaluation=same_evaluation),
        unknown=tuple(say(text) for text in _unknown(figures, stability, migration)),
    )


def calibration_ratio(result: EvaluationResult) -> Interval | None:
    """Defaults observed for each one that the model predicts, over all bands, with a 95 % interval.

    The interval allows for the sample (each default is a draw of its band's rate) and for the noise on each count,
    which stands in both the observed and the predicted number. None where the noise leaves nothing to be said.
    """
    bad, good, pds = (
        np.array([getattr(band, name) for band in result.bands]) for name in ("count_bad", "count_good", "predicted_pd")
    )
    observed, predicted = float(bad.sum()), float(((bad + good) * pds).sum())
    noise = result.sigma * math.sqrt(2 * float((pds**2).sum()))
    if predicted <= 3 * noise or predicted < 1:
        return None
    ratio = max(observed, 0.0) / predicted
    held = np.maximum(bad, 0) + np.maximum(good, 0)
    rates = np.divide(np.maximum(bad, 0), held, out=np.zeros_like(held), where=held > 0)
    sample = float((held * rates * (1 - rates)).sum())
    # The noise of observed − ratio·predicted: a band's bad count weighs 1 − ratio·pd in it, its good count −ratio·pd.
    noisy = result.sigma**2 * float(((1 - ratio * pds) ** 2 + (ratio * pds) ** 2).sum())
    half = 1.96 * math.sqrt(sample + noisy) / predicted
    return Interval(ratio, max(ratio - half, 0.0), ratio + half)


def _points_correlation(old: ModelArtefact, new: ModelArtefact) -> float | None:
    before, after = _entries(old), _entries(new)
    one: list[int] = []
    two: list[int] = []
    for key, entry in after.items():
        known = before.get(key)
        if known is not None and known.feature == entry.feature:
            one += known.points
            two += entry.points
    return rank_correlation(np.array(one), np.array(two)) if len(one) > 1 else None


def _unknown(
    figures: tuple[FigureChange, ...], stability: Divergence | None, migration: Migration | None
) -> tuple[str, ...]:
    """Message ids."""
    found = []
    if figures and stability is None:
        found.append(
            "A stability index of the scores needs the same bands in both evaluations; each model has its own, so that "
            "its bands hold equally many merchants."
        )
    if migration is None:
        found.append(
            "Which band merchants would move to cannot be estimated: it needs the same features in both models, and "
            "the noisy table of the newer one."
        )
    else:
        found.append(
            "Nothing that was opened tells both scores of one merchant, so moves between bands are estimated: over "
            "merchants drawn from the newer model's noisy table, who are nobody's rows."
        )
    return tuple(found)


def _spent(facts: CardFacts) -> float | None:
    return None if facts.evaluation is None else facts.evaluation.epsilon


def _interval(of: Estimate) -> Interval:
    return Interval(of.value, of.low, of.high)


def _figure(name: str, before: Interval, after: Interval) -> FigureChange:
    difference = after.value - before.value
    # Intervals need not be symmetric: each side takes the ends that push the difference that way.
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    low, high = difference - down, difference + up
    return FigureChange(name, before, after, difference, low, high, not low <= 0 <= high)


def _stability(before: EvaluationResult, after: EvaluationResult) -> Divergence | None:
    ranges = [[(band.score_low, band.score_high) for band in each.bands] for each in (before, after)]
    if ranges[0] != ranges[1]:
        return None
    one, two = (np.array([band.count_bad + band.count_good for band in each.bands]) for each in (before, after))
    # A band's count is a sum of two noisy ones.
    return divergence(one, two, (math.sqrt(2) * before.sigma, math.sqrt(2) * after.sigma))


def _features(old: ModelArtefact, new: ModelArtefact, say: Voice) -> tuple[tuple[FeatureChange, ...], int]:
    before, after = _entries(old), _entries(new)
    old_schema, new_schema = old.schema_of(), new.schema_of()
    found: list[FeatureChange] = []
    same = 0
    for (kind, name), entry in after.items():
        named = (kind, name, say.kind(new_schema, kind), say.feature(new_schema, kind, name))
        known = before.get((kind, name))
        if known is None:
            found.append(FeatureChange(*named, "added"))
        elif _bins(old_schema, known, say) != _bins(new_schema, entry, say):
            found.append(FeatureChange(*named, "bins"))
        else:
            labels = _bins(new_schema, entry, say)
            rows = zip(labels, known.points, entry.points, strict=True)
            bins = tuple(BinChange(label, one, two) for label, one, two in rows if one != two)
            if bins:
                found.append(FeatureChange(*named, "points", bins))
            else:
                same += 1
    for kind, name in before:
        if (kind, name) not in after:
            gone = (kind, name, say.kind(old_schema, kind), say.feature(old_schema, kind, name))
            found.append(FeatureChange(*gone, "removed"))
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
