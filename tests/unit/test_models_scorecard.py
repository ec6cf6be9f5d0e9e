from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.accounting import calibrate_tables
from models.codes import ABSENT, DEFAULTED
from models.errors import ArtefactError, FitError
from models.evaluation import calibration_table
from models.fit import LinearFit, fit
from models.fit_options import FitOptions
from models.margins import consistent_margins
from models.population import score_distribution
from models.reasons import main_reasons, reason_texts, reasons_of
from models.schema import Schema
from models.scorecard import BANDS, Calibration, FeaturePoints, band_of, check_bounds, points_range
from models.scorecard_fit import calibrate, to_points, train
from models.tables import joined_codes
from tests.credit_world import FEATURES, Cohort, draw_cohort

NOISE = {epsilon: calibrate_tables(len(FEATURES), epsilon, 1e-5) for epsilon in (1.0, 3.0)}


def noisy(cohort: Cohort, epsilon: float, seed: int):
    noise = NOISE[epsilon]
    return cohort.table().with_gaussian_noise(np.random.default_rng(seed), noise.sigma_class, noise.sigma_pair)


@pytest.fixture(scope="module")
def training() -> Cohort:
    return draw_cohort(20_000, seed=201)


@pytest.fixture(scope="module")
def held_out() -> Cohort:
    return draw_cohort(30_000, seed=202)


@pytest.fixture(scope="module")
def card(training):
    return train(noisy(training, 3.0, 0))


def test_scores_are_base_plus_the_sources_points(card, held_out) -> None:
    points = {kind: card.kind_points(kind, held_out.codes[kind]) for kind in card.kinds}
    scores = card.score(held_out.codes)
    assert np.array_equal(scores, card.base + sum(points.values()))
    assert scores.dtype == np.int64
    assert 300 <= scores.min() < scores.max() <= 850


def test_points_span_at_most_550_even_for_a_steep_model() -> None:
    weights = tuple(np.linspace(-3, 3, feature.width) for feature in FEATURES)
    linear = LinearFit(weights, mean=0.0, variance=1.0, covariance=0.1, default_rate=0.1)
    steep = to_points(FEATURES, linear, Calibration(-2.0, 4.0))
    low, high = points_range(steep.features, steep.absent)
    assert 500 < high - low <= 550
    assert steep.base + low >= 300
    assert steep.base + high <= 850
    assert steep.points_to_double < 40


def test_a_mild_model_keeps_forty_points_to_double_and_its_anchor() -> None:
    weights = tuple(np.linspace(-0.2, 0.2, feature.width) for feature in FEATURES)
    linear = LinearFit(weights, mean=0.0, variance=1.0, covariance=0.1, default_rate=0.1)
    mild = to_points(FEATURES, linear, Calibration(-2.0, 1.0))
    assert mild.points_to_double == pytest.approx(40.0)
    assert mild.pd_of(600) == pytest.approx(0.05, abs=0.001)
    odds = mild.pd_of(np.array([600, 640])) / (1 - mild.pd_of(np.array([600, 640])))
    assert odds[0] / odds[1] == pytest.approx(2.0)


def test_pd_of_the_integer_score_is_that_of_z(training, held_out) -> None:
    table = noisy(training, 3.0, 0)
    linear = fit(table)
    calibration = calibrate(table, linear)
    joined = joined_codes(FEATURES, held_out.codes, len(held_out.outcomes))
    z = sum(part[joined[:, f]] for f, part in enumerate(linear.weights))
    card = to_points(FEATURES, linear, calibration)
    exact, rounded = calibration.pd(z), card.pd_of(card.score(held_out.codes))
    assert np.abs(np.log(exact / (1 - exact)) - np.log(rounded / (1 - rounded))).max() < 0.1


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_pd_from_the_table_alone_holds_on_other_merchants(training, held_out, epsilon: float) -> None:
    rate = float((held_out.outcomes == DEFAULTED).mean())
    for seed in range(3):
        card = train(noisy(training, epsilon, seed))
        pd = card.pd_of(card.score(held_out.codes))
        assert pd.mean() == pytest.approx(rate, rel=0.12)
        rows = calibration_table(pd, held_out.outcomes)
        error = sum(row.count * abs(row.predicted - row.observed) for row in rows) / len(pd)
        assert error < 0.25 * rate
        assert rows[-1].predicted == pytest.approx(rows[-1].observed, rel=0.2)


def test_bending_weights_towards_log_odds_tells_pd_better() -> None:
    train_on, test_on = draw_cohort(40_000, seed=31, base=-3.6), draw_cohort(40_000, seed=32, base=-3.6)

    def log_loss(share: float) -> float:
        card = train(noisy(train_on, 3.0, 0), FitOptions(log_odds_share=share, tree_share=0.0))
        pd = card.pd_of(card.score(test_on.codes))
        bad = test_on.outcomes == DEFAULTED
        return float(-np.mean(np.where(bad, np.log(pd), np.log1p(-pd))))

    assert log_loss(0.5) < log_loss(0.0) - 0.0005


def test_the_tree_gives_the_distribution_of_independent_features_exactly() -> None:
    rng = np.random.default_rng(5)
    cohort = draw_cohort(4_000, seed=5)
    shuffled = {
        kind: np.stack([rng.permutation(codes[:, c]) for c in range(codes.shape[1])], axis=1)
        for kind, codes in cohort.codes.items()
    }
    table = Cohort(shuffled, cohort.outcomes, cohort.log_odds).table()
    linear = fit(cohort.table())
    shape = score_distribution(table, consistent_margins(table), linear.weights)
    joined = joined_codes(FEATURES, shuffled, 4_000)
    z = sum(part[joined[:, f]] for f, part in enumerate(linear.weights))
    mean = float(shape.mass @ shape.z)
    assert shape.mass.sum() == pytest.approx(1.0)
    assert mean == pytest.approx(z.mean(), abs=0.02)
    assert shape.mass @ (shape.z - mean) ** 2 == pytest.approx(z.var(), rel=0.06)
    moved = shape.matched(1.0, 4.0)
    assert moved.mass @ moved.z == pytest.approx(1.0)
    assert moved.mass @ (moved.z - 1.0) ** 2 == pytest.approx(4.0)


def test_the_tree_knows_absent_merchants() -> None:
    cohort = draw_cohort(20_000, seed=6, absent={"tax": 0.5, "utility": 0.3})
    table = cohort.table()
    linear = fit(table)
    shape = score_distribution(table, consistent_margins(table), linear.weights)
    joined = joined_codes(FEATURES, cohort.codes, 20_000)
    z = sum(np.append(part, 0.0)[joined[:, f]] for f, part in enumerate(linear.weights))
    assert shape.mass @ shape.z == pytest.approx(z.mean(), abs=0.02)
    assert linear.mean == pytest.approx(z.mean(), abs=0.01)


def test_a_table_of_chance_alone_is_refused_or_nearly_flat() -> None:
    cohort = draw_cohort(20_000, seed=8)
    outcomes = np.random.default_rng(9).permutation(cohort.outcomes)
    flat = refused = 0
    for seed in range(6):
        try:
            card = train(noisy(Cohort(cohort.codes, outcomes, cohort.log_odds), 1.0, seed))
        except FitError:
            refused += 1
        else:
            pd = card.pd_of(card.score(cohort.codes))
            flat += pd.std() < 0.35 * pd.mean()
    assert flat + refused == 6
    assert refused >= 1


def test_absent_merchants_get_the_public_points(card, held_out) -> None:
    codes = held_out.codes["tax"][:3].copy()
    codes[1] = ABSENT
    points = card.kind_points("tax", codes)
    assert points[1] == card.absent["tax"] == 0
    with pytest.raises(ArtefactError, match="no features of kind telecom"):
        card.kind_points("telecom", codes)


def test_bands_follow_the_public_edges() -> None:
    assert band_of(np.array([0.0, 0.0199, 0.02, 0.05, 0.0999, 0.1, 0.2, 1.0])).tolist() == list("AABCCDEE")
    assert set(BANDS) == set("ABCDE")


def test_points_outside_the_bounds_are_refused(card) -> None:
    def with_points(index: int, points: tuple) -> object:
        entries = list(card.features)
        entries[index] = FeaturePoints(entries[index].feature, points)
        return replace(card, features=tuple(entries))

    first = card.features[0].points
    bad = [
        with_points(0, (*first[:-1], 400)),
        with_points(0, (*first[:-1], float(first[-1]))),
        with_points(0, first[:-1]),
        replace(card, base=card.base + 400),
        replace(card, absent={**card.absent, "tax": 500}),
        replace(card, absent={"tax": 0}),
    ]
    check_bounds(card)
    for each in bad:
        with pytest.raises(ArtefactError):
            check_bounds(each)


def test_reasons_name_the_features_that_cost_most(card, held_out) -> None:
    codes = held_out.codes["tax"][:500]
    entries = card.of_kind("tax")
    for row, names in zip(codes, reasons_of(card, "tax", codes), strict=True):
        lost = {
            entry.feature.name: max(entry.points) - entry.points[row[column]] for column, entry in enumerate(entries)
        }
        assert set(names) == {name for name, points in lost.items() if points > 0}
        assert [lost[name] for name in names] == sorted((lost[name] for name in names), reverse=True)
    assert all(len(names) <= 1 for names in reasons_of(card, "tax", codes, limit=1))


def test_the_best_merchant_has_no_reasons_and_an_absent_one_has_public_ones(card) -> None:
    entries = card.of_kind("tax")
    best = np.array([[int(np.argmax(entry.points)) for entry in entries], [ABSENT] * 3], dtype=np.uint8)
    none, absent = reasons_of(card, "tax", best)
    assert none == ()
    order = sorted(entries, key=lambda entry: -max(entry.points))
    assert absent == tuple(entry.feature.name for entry in order if max(entry.points) > 0)


def test_an_answer_has_four_reasons_at_most_taken_from_the_sources_in_turn() -> None:
    bank, tax, utility = ["b1", "b2", "b3", "b4"], ["t1"], ["u1", "u2", "u3"]
    assert main_reasons([bank, tax, utility]) == ("b1", "t1", "u1", "b2")
    assert main_reasons([[], tax, utility]) == ("t1", "u1", "u2", "u3")
    assert main_reasons([bank, [], []]) == tuple(bank)
    assert main_reasons([bank, utility]) == ("b1", "u1", "b2", "u2")
    assert main_reasons([[], []]) == main_reasons([]) == ()


def test_reasons_read_in_both_languages() -> None:
    title = {"zh": "用电量", "en": "Power use"}
    schema = Schema.model_validate(
        {
            "name": "s",
            "id": {"column": "id", "type": "opaque"},
            "as_of": "2025-06-30",
            "label": {"column": "y", "kind": "utility", "performance_months": 12, "title": title},
            "kinds": {"utility": {"features": {"power": {"title": title, "class": "C2", "bins": [1.0]}}}},
        }
    )
    assert reason_texts(schema, ["power"], "zh") == ["用电量：降低了评分"]
    assert reason_texts(schema, ["power", "encoder:utility"], "en") == [
        "Power use: lowered the score",
        "Overall assessment at: utility: lowered the score",
    ]
