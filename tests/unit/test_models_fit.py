from __future__ import annotations

import numpy as np
import pytest

from models.accounting import calibrate_tables
from models.baselines import auc_lightgbm, auc_nonprivate
from models.codes import DEFAULTED
from models.errors import FitError
from models.evaluation import auc
from models.fit import fit
from models.fit_options import FitOptions
from models.margins import consistent_margins
from models.tables import ABSENT, joined_codes
from tests.credit_world import FEATURES, Cohort, draw_cohort

NOISE = {epsilon: calibrate_tables(len(FEATURES), epsilon, 1e-5) for epsilon in (1.0, 3.0)}


def noisy(cohort: Cohort, epsilon: float, seed: int, labelled: int | None = None):
    noise = NOISE[epsilon]
    rng = np.random.default_rng(seed)
    return cohort.table(labelled).with_gaussian_noise(rng, noise.sigma_class, noise.sigma_pair)


def risk(weights, cohort: Cohort) -> np.ndarray:
    joined = joined_codes(FEATURES, cohort.codes, len(cohort.outcomes))
    return sum(np.append(part, 0.0)[joined[:, f]] for f, part in enumerate(weights))


@pytest.fixture(scope="module")
def training() -> Cohort:
    return draw_cohort(20_000, seed=101)


@pytest.fixture(scope="module")
def held_out() -> Cohort:
    return draw_cohort(20_000, seed=102)


def test_an_exact_table_ranks_nearly_as_joined_logistic_regression(training, held_out) -> None:
    best = auc_nonprivate(FEATURES, training.codes, training.outcomes, held_out.codes, held_out.outcomes)
    ours = auc(-risk(fit(training.table()).weights, held_out), held_out.outcomes)
    assert best > 0.75
    assert best - ours < 0.006


@pytest.mark.parametrize(("epsilon", "most"), [(1.0, 0.015), (3.0, 0.008)])
def test_noise_costs_little_auc(training, held_out, epsilon: float, most: float) -> None:
    best = auc_nonprivate(FEATURES, training.codes, training.outcomes, held_out.codes, held_out.outcomes)
    losses = [
        best - auc(-risk(fit(noisy(training, epsilon, seed)).weights, held_out), held_out.outcomes) for seed in range(5)
    ]
    assert np.mean(losses) < most


def test_the_blend_beats_either_part_under_noise(training, held_out) -> None:
    def mean_auc(share: float) -> float:
        options = FitOptions(woe_share=share)
        scores = [risk(fit(noisy(training, 1.0, seed), options).weights, held_out) for seed in range(8)]
        return float(np.mean([auc(-each, held_out.outcomes) for each in scores]))

    assert mean_auc(0.3) >= mean_auc(0.0)


def test_trees_find_no_more_than_there_is(training, held_out) -> None:
    split = (FEATURES, training.codes, training.outcomes, held_out.codes, held_out.outcomes)
    assert auc_lightgbm(*split) < auc(-held_out.log_odds, held_out.outcomes) + 0.001
    assert auc_lightgbm(*split) > 0.74


def test_the_fit_is_deterministic_and_on_the_grid(training) -> None:
    table = noisy(training, 1.0, 0)
    one, two = fit(table), fit(table)
    for left, right in zip(one.weights, two.weights, strict=True):
        assert left.tobytes() == right.tobytes()
        assert np.allclose(left / 1e-6, np.rint(left / 1e-6), atol=1e-6)
    assert (one.mean, one.variance, one.covariance) == (two.mean, two.variance, two.covariance)


def test_margins_agree_with_each_other_and_with_the_public_totals(training) -> None:
    table = noisy(training, 1.0, 4)
    margins = consistent_margins(table)
    offsets = table.offsets()
    for f in range(len(FEATURES)):
        rows = slice(offsets[f], offsets[f + 1])
        assert margins.n[rows].sum() == pytest.approx(20_000)
        assert margins.p[rows].sum() == pytest.approx(margins.defaults)
        assert (margins.n[rows] > 0).all()
        for g in range(len(FEATURES)):
            columns = slice(offsets[g], offsets[g + 1])
            assert margins.pairs[rows, columns].sum(axis=1) == pytest.approx(margins.n[rows])
    assert np.array_equal(margins.pairs, margins.pairs.T)
    assert margins.defaults == pytest.approx((training.outcomes == DEFAULTED).sum(), abs=60)


def test_margins_bring_noisy_pairs_nearer_to_the_truth(training) -> None:
    exact, table = consistent_margins(training.table()), noisy(training, 1.0, 4)
    offsets = table.offsets()
    before = after = 0.0
    for (f, g), counts in table.pairs.items():
        block = np.ix_(range(offsets[f], offsets[f + 1]), range(offsets[g], offsets[g + 1]))
        before += ((counts - exact.pairs[block]) ** 2).sum()
        after += ((consistent_margins(table).pairs[block] - exact.pairs[block]) ** 2).sum()
    assert after < 0.85 * before


def test_exact_margins_of_a_cohort_with_absences_are_the_true_counts() -> None:
    cohort = draw_cohort(3_000, seed=7, absent={"tax": 0.3, "utility": 0.15})
    table = cohort.table()
    margins = consistent_margins(table)
    offsets = table.offsets()
    joined = joined_codes(FEATURES, cohort.codes, 3_000)
    for (f, g), counts in table.pairs.items():
        block = np.ix_(range(offsets[f], offsets[f + 1]), range(offsets[g], offsets[g + 1]))
        assert np.abs(margins.pairs[block] - counts).max() < 3.0  # bins kept at least 1
    for f in range(len(FEATURES)):
        assert margins.n[offsets[f] : offsets[f + 1]].sum() == pytest.approx((joined[:, f] >= 0).sum())


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_merchants_absent_at_a_kind_are_ranked_too(epsilon: float) -> None:
    train = draw_cohort(20_000, seed=11, absent={"tax": 0.4, "utility": 0.3})
    test = draw_cohort(20_000, seed=12, absent={"tax": 0.4, "utility": 0.3})
    best = auc_nonprivate(FEATURES, train.codes, train.outcomes, test.codes, test.outcomes)
    scores = [risk(fit(noisy(train, epsilon, seed)).weights, test) for seed in range(4)]
    assert best - np.mean([auc(-each, test.outcomes) for each in scores]) < 0.02
    absent = test.codes["tax"][:, 0] == ABSENT
    assert auc(-scores[0][absent], test.outcomes[absent]) > 0.7


def test_absent_merchants_count_as_average_when_nobody_was_absent(training) -> None:
    linear = fit(noisy(training, 3.0, 1))
    margins = consistent_margins(noisy(training, 3.0, 1))
    offsets = training.table().offsets()
    for f, weights in enumerate(linear.weights):
        assert weights @ margins.n[offsets[f] : offsets[f + 1]] / 20_000 == pytest.approx(0.0, abs=1e-5)
    assert linear.mean == pytest.approx(0.0, abs=1e-4)


def test_missing_labels_change_the_level_but_not_the_ranking(held_out) -> None:
    cohort = draw_cohort(40_000, seed=21, unlabelled=0.5)
    full = draw_cohort(40_000, seed=21)
    labelled = int((cohort.outcomes != 2).sum())
    known, unknown = fit(noisy(cohort, 3.0, 1, labelled)), fit(noisy(cohort, 3.0, 1))
    rate = float((full.outcomes == DEFAULTED).mean())
    assert known.default_rate == pytest.approx(rate, rel=0.05)
    assert unknown.default_rate == pytest.approx(rate / 2, rel=0.05)
    complete = auc(-risk(fit(noisy(full, 3.0, 1)).weights, held_out), held_out.outcomes)
    assert complete - auc(-risk(known.weights, held_out), held_out.outcomes) < 0.012


def test_moments_of_the_score_hold_on_other_merchants(training, held_out) -> None:
    for seed in range(3):
        linear = fit(noisy(training, 1.0, seed))
        z = risk(linear.weights, held_out)
        bad = held_out.outcomes == DEFAULTED
        assert linear.variance == pytest.approx(z.var(), rel=0.15)
        assert linear.covariance == pytest.approx(np.cov(z, bad)[0, 1], rel=0.2)


def test_a_table_without_defaults_is_refused(training) -> None:
    none = Cohort(training.codes, np.ones_like(training.outcomes), training.log_odds)
    with pytest.raises(FitError, match="defaults") as refused:
        fit(none.table())
    assert refused.value.remedy
