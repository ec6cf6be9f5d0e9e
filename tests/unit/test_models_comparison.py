"""Two models beside each other: what differs, and whether by more than chance and noise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.advice import Advice
from models.artefact import ScorecardEntry
from models.card_content import CardFacts
from models.comparison import ModelComparison, calibration_ratio, compare
from models.evaluation_result import Estimate, EvaluationResult
from models.figure_change import FigureChange
from models.scorecard import band_of
from models.scorecard_fit import train
from models.tables import feature_bins, from_codes
from tests.card_world import CardWorld


@pytest.fixture(scope="module")
def world() -> CardWorld:
    return CardWorld()


def figures(found: ModelComparison) -> dict[str, FigureChange]:
    return {each.name: each for each in found.figures}


def with_bands(result: EvaluationResult, bad: list[float], good: list[float], **changes: object) -> EvaluationResult:
    bands = tuple(
        band.model_copy(update={"count_bad": one, "count_good": two, "observed": None})
        for band, one, two in zip(result.bands, bad, good, strict=True)
    )
    return result.model_copy(update={"bands": bands, **changes})


def test_a_model_beside_itself_differs_in_nothing(world: CardWorld) -> None:
    found = compare(world.facts(), world.facts(), "en")
    assert found.epsilon == (3.0, 3.0)
    assert found.evaluation_epsilon == (1.5, 1.5)
    assert found.same_schema
    assert found.features == ()
    assert found.same_points == len(world.scorecard.features)
    assert list(figures(found)) == ["AUC", "KS", "calibration"]
    for figure in found.figures:
        assert figure.difference == 0
        assert figure.low < 0 < figure.high
        assert not figure.beyond_noise
        assert figure.before.low <= figure.before.value <= figure.before.high
    assert found.stability is not None
    assert found.stability.value == 0
    assert not found.stability.beyond_noise


def test_without_evaluations_only_models_are_compared(world: CardWorld) -> None:
    found = compare(world.facts(), world.facts(evaluation=None), "en")
    assert (found.figures, found.stability, found.evaluation_epsilon) == ((), None, (1.5, None))


def test_a_figure_differs_only_where_its_interval_leaves_0_out(world: CardWorld) -> None:
    result = world.evaluation()
    wide = result.model_copy(update={"auc": Estimate(value=0.80, low=0.75, high=0.85)})
    near = result.model_copy(update={"auc": Estimate(value=0.84, low=0.79, high=0.89)})
    far = result.model_copy(update={"auc": Estimate(value=0.92, low=0.90, high=0.94)})
    same = figures(compare(world.facts(evaluation=wide), world.facts(evaluation=near), "en"))["AUC"]
    assert same.difference == pytest.approx(0.04)
    assert (same.low, same.high) == pytest.approx((0.04 - math.hypot(0.05, 0.05), 0.04 + math.hypot(0.05, 0.05)))
    assert not same.beyond_noise
    worse = figures(compare(world.facts(evaluation=far), world.facts(evaluation=wide), "en"))["AUC"]
    assert worse.beyond_noise
    assert worse.high < 0


def test_intervals_of_calibration_hold_what_they_promise(world: CardWorld) -> None:
    """Of noisy samples from a model that is right, about 95 % of the intervals hold 1; of one off by half, none."""
    rng = np.random.default_rng(5)
    result = world.evaluation()
    pds = np.array([band.predicted_pd for band in result.bands])
    sizes = np.full(len(pds), 120)
    held, wrong = 0, 0
    for _ in range(400):
        bad = rng.binomial(sizes, pds)
        noise = rng.normal(0, 6.0, (2, len(pds)))
        noisy = with_bands(result, list(bad + noise[0]), list(sizes - bad + noise[1]), sigma=6.0)
        ratio = calibration_ratio(noisy)
        assert ratio is not None
        held += ratio.low <= 1 <= ratio.high
        fewer = rng.binomial(sizes, pds / 2)
        off = calibration_ratio(with_bands(result, list(fewer + noise[0]), list(sizes - fewer + noise[1]), sigma=6.0))
        assert off is not None
        wrong += off.low <= 1 <= off.high
    assert 0.92 <= held / 400 <= 0.99
    assert wrong == 0


def test_where_noise_drowns_the_counts_calibration_is_not_compared(world: CardWorld) -> None:
    result = world.evaluation()
    empty = with_bands(result, [0.0] * len(result.bands), [3.0] * len(result.bands), sigma=60.0)
    assert calibration_ratio(empty) is None
    assert "calibration" not in figures(compare(world.facts(), world.facts(evaluation=empty), "en"))


def test_scores_that_moved_stand_out_of_the_noise_and_others_do_not(world: CardWorld) -> None:
    before = world.evaluation(seed=3)
    still = compare(world.facts(evaluation=before), world.facts(evaluation=world.evaluation(seed=8)), "en").stability
    assert still is not None
    assert not still.beyond_noise
    bad, good = ([getattr(band, name) for band in before.bands] for name in ("count_bad", "count_good"))
    moved = with_bands(before, bad, [*good[3:], *good[:3]])
    shifted = compare(world.facts(evaluation=before), world.facts(evaluation=moved), "en").stability
    assert shifted is not None
    assert shifted.beyond_noise
    assert shifted.value > 0.25
    fewer = before.model_copy(update={"bands": before.bands[1:]})
    assert compare(world.facts(evaluation=before), world.facts(evaluation=fewer), "en").stability is None


@pytest.mark.parametrize(("lang", "title"), [("en", "Age in years"), ("zh", "年龄（岁）")])
def test_points_that_changed_are_named_bin_by_bin(world: CardWorld, lang: str, title: str) -> None:
    entry = ScorecardEntry.of(world.scorecard)
    at = next(place for place, each in enumerate(entry.features) if each.name == "age")
    age = entry.features[at]
    points = (age.points[0] + 2, *age.points[1:])
    changed = (*entry.features[:at], age.model_copy(update={"points": points}), *entry.features[at + 1 :])
    artefact = world.artefact.model_copy(update={"scorecard": entry.model_copy(update={"features": changed})})
    found = compare(world.facts(), replace(world.facts(), artefact=artefact), lang)
    (feature,) = found.features
    assert (feature.kind, feature.name, feature.change, feature.title) == ("bank", "age", "points", title)
    (moved,) = feature.bins
    assert moved.after - moved.before == 2
    assert found.same_points == len(entry.features) - 1


def test_features_that_only_one_has_are_named(world: CardWorld) -> None:
    entry = ScorecardEntry.of(world.scorecard)
    artefact = world.artefact.model_copy(
        update={"scorecard": entry.model_copy(update={"features": entry.features[1:]})}
    )
    fewer = CardFacts(artefact)
    gone = entry.features[0].name
    assert [(each.name, each.change) for each in compare(world.facts(), fewer, "en").features] == [(gone, "removed")]
    assert [(each.name, each.change) for each in compare(fewer, world.facts(), "en").features] == [(gone, "added")]


def verdict(world: CardWorld, before: Estimate, after: Estimate, **changes: object) -> Advice:
    result = world.evaluation()
    one, two = (result.model_copy(update={"auc": each}) for each in (before, after))
    return compare(world.facts(evaluation=one), world.facts(evaluation=two.model_copy(update=changes)), "en").advice


def test_a_challenger_takes_over_only_where_it_is_better_by_more_than_noise(world: CardWorld) -> None:
    result = world.evaluation()
    pds = np.array([band.predicted_pd for band in result.bands])
    right = with_bands(result, list(400 * pds), list(400 * (1 - pds))).bands
    off = with_bands(result, list(800 * pds), list(400 * (1 - pds))).bands
    low, high = Estimate(value=0.80, low=0.79, high=0.81), Estimate(value=0.84, low=0.83, high=0.85)
    wide = Estimate(value=0.81, low=0.78, high=0.84)
    better = verdict(world, low, high, bands=right)
    assert (better.verdict, better.text) == ("promote", "Use the newer model.")
    assert "+0.040" in better.reasons[0]
    assert verdict(world, high, low, bands=right).verdict == "keep"
    same = verdict(world, low, wide, bands=right)
    assert same.verdict == "keep"
    assert "within noise" in same.reasons[0]
    assert "0.032" in same.reasons[1]
    assert verdict(world, low, high, bands=off).verdict == "recalibrate"
    assert compare(world.facts(evaluation=None), world.facts(), "en").advice.verdict == "evaluate"


def test_a_model_beside_itself_moves_nobody(world: CardWorld) -> None:
    found = compare(world.facts(), world.facts(), "en")
    assert found.migration is not None
    assert found.migration.same == pytest.approx(1)
    assert found.migration.correlation == pytest.approx(1)
    assert found.points_correlation == pytest.approx(1)
    assert {each.reading for each in found.drift} <= {"stable", "unclear"}


def test_moves_between_bands_are_those_of_real_merchants(world: CardWorld) -> None:
    """Estimated over drawn merchants, against the rows that only a test has."""
    exact = from_codes(feature_bins(world.schema), world.codes, world.outcomes)
    table = exact.with_gaussian_noise(np.random.default_rng(77), world.noise.sigma_class, world.noise.sigma_pair)
    other = train(table)
    artefact = world.artefact.model_copy(update={"scorecard": ScorecardEntry.of(other)})
    found = compare(world.facts(), replace(world.facts(), artefact=artefact, table=table), "zh")
    assert found.migration is not None
    bands = [band_of(card.pd_of(card.score(world.codes))) for card in (world.scorecard, other)]
    assert found.migration.same == pytest.approx(float((bands[0] == bands[1]).mean()), abs=0.05)
    shares = np.array(found.migration.shares)
    assert shares.sum() == pytest.approx(1)
    assert found.migration.same + found.migration.safer + found.migration.riskier == pytest.approx(1)
    assert any("模拟抽取" in text for text in found.unknown)
    fewer = ScorecardEntry.of(world.scorecard)
    fewer = fewer.model_copy(update={"features": fewer.features[1:]})
    cut = replace(world.facts(), artefact=world.artefact.model_copy(update={"scorecard": fewer}))
    assert compare(cut, world.facts(), "en").migration is None
