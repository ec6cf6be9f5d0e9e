from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.accounting import calibrate_tables
from models.errors import DataError
from models.evaluation import auc
from models.fit import fit
from models.margins import consistent_margins
from models.pooling import LARGEST_WEIGHT, MOST_EARLIER, agreement, check_same_bins, pooled
from models.schema import Schema
from models.schema_file import load_schema
from models.tables import joined_codes
from tests.credit_world import FEATURES, Cohort, draw_cohort

CONFIGS = Path(__file__).parent.parent.parent / "configs"
NOISE = calibrate_tables(len(FEATURES), 1.0, 1e-5)


def noisy(cohort: Cohort, seed: int, wider: float = 1.0):
    sigmas = wider * NOISE.sigma_class, wider * NOISE.sigma_pair
    return cohort.table().with_gaussian_noise(np.random.default_rng(seed), *sigmas)


def shuffled(cohort: Cohort, seed: int) -> Cohort:
    """As many defaults, at random: nothing of the risk is left."""
    return replace(cohort, outcomes=np.random.default_rng(seed).permutation(cohort.outcomes))


def accuracy(table, held_out: Cohort) -> float:
    joined = joined_codes(FEATURES, held_out.codes, len(held_out.outcomes))
    risk = sum(np.append(part, 0.0)[joined[:, f]] for f, part in enumerate(fit(table).weights))
    return auc(-risk, held_out.outcomes)


@pytest.fixture(scope="module")
def last_year() -> Cohort:
    return draw_cohort(12_000, seed=201, absent={"tax": 0.1})


@pytest.fixture(scope="module")
def this_year() -> Cohort:
    return draw_cohort(12_000, seed=202, absent={"tax": 0.1})


@pytest.fixture(scope="module")
def held_out() -> Cohort:
    return draw_cohort(20_000, seed=203)


def test_counts_are_added_at_the_weight_and_defaults_at_this_years_level(last_year, this_year) -> None:
    before, now = last_year.table(), this_year.table()
    total, (agreed,) = pooled(now, [before])
    assert agreed.weight == LARGEST_WEIGHT
    assert total.cohort_size == 18_000
    assert total.kind_totals["tax"] == now.kind_totals["tax"] + round(before.kind_totals["tax"] / 2)
    for pair, counts in total.pairs.items():
        assert np.array_equal(counts, now.pairs[pair] + before.pairs[pair] / 2)
    level = lambda table: consistent_margins(table).defaults / table.cohort_size  # noqa: E731
    for summed, here, there in zip(total.classes, now.classes, before.classes, strict=True):
        assert summed.sum(axis=1) == pytest.approx(here.sum(axis=1) + there.sum(axis=1) / 2)
        assert summed[:, 0] == pytest.approx(here[:, 0] + level(now) / level(before) * there[:, 0] / 2)
    assert level(total) == pytest.approx(level(now), rel=1e-3)


def test_a_level_of_defaults_that_moved_is_no_drift_and_is_not_taken_over(last_year, this_year) -> None:
    good = np.flatnonzero(last_year.outcomes != 0)
    fewer_good = np.concatenate([np.flatnonzero(last_year.outcomes == 0), good[::2]])
    worse = last_year.rows(fewer_good).table()
    total, (agreed,) = pooled(this_year.table(), [worse])
    assert agreed.weight > 0.3
    assert fit(total).default_rate == pytest.approx(fit(this_year.table()).default_rate, rel=2e-3)


def test_an_earlier_table_helps_under_noise(last_year, this_year, held_out) -> None:
    gains = []
    for seed in range(6):
        now = noisy(this_year, seed)
        total, _ = pooled(now, [noisy(last_year, 100 + seed)])
        gains.append(accuracy(total, held_out) - accuracy(now, held_out))
    assert np.mean(gains) > 0.002
    assert min(gains) > -0.002


def test_a_world_that_changed_past_recognition_counts_for_next_to_nothing(last_year, this_year, held_out) -> None:
    losses = []
    for seed in range(4):
        now = noisy(this_year, seed)
        total, (agreed,) = pooled(now, [noisy(shuffled(last_year, seed), 100 + seed)])
        assert agreed.weight < 0.1
        assert agreed.excess > 10
        losses.append(accuracy(now, held_out) - accuracy(total, held_out))
    assert np.mean(losses) < 0.001


def test_without_drift_the_excess_stays_small(last_year, this_year) -> None:
    found = [agreement(noisy(this_year, seed), noisy(last_year, 100 + seed)) for seed in range(20)]
    assert max(each.excess for each in found) < 4
    assert min(each.weight for each in found) > 0.25


def test_noise_and_size_bound_the_weight(last_year, this_year) -> None:
    now = noisy(this_year, 0)
    assert agreement(now, noisy(last_year, 1, wider=3.0)).weight <= 1 / 9
    assert agreement(now, noisy(last_year.rows(np.arange(3_000)), 1)).weight <= 1 / 4
    assert agreement(now, noisy(last_year, 1), most=0.125).weight <= 0.125
    assert agreement(this_year.table(), noisy(last_year, 1)).weight == 0


def test_older_tables_count_less(last_year, this_year) -> None:
    older = [draw_cohort(12_000, seed=210 + age).table() for age in range(2)]
    total, found = pooled(this_year.table(), [last_year.table(), *older])
    assert [each.weight for each in found] == [0.5, 0.25, 0.125]
    assert total.cohort_size == 12_000 + 6_000 + 3_000 + 1_500
    assert pooled(this_year.table(), [])[0].digest() == this_year.table().digest()


def test_the_same_tables_give_the_same_sum(last_year, this_year) -> None:
    one, two = (pooled(noisy(this_year, 3), [noisy(last_year, 4)])[0] for _ in range(2))
    assert one.digest() == two.digest()
    for pair, counts in one.pairs.items():
        assert counts.tobytes() == two.pairs[pair].tobytes()


def test_other_features_and_too_many_tables_are_refused(last_year, this_year) -> None:
    now = this_year.table()
    other = replace(last_year.table(), features=(replace(FEATURES[0], name="later"), *FEATURES[1:]))
    with pytest.raises(DataError, match="other features"):
        pooled(now, [other])
    with pytest.raises(DataError) as caught:
        pooled(now, [last_year.table()] * (MOST_EARLIER + 1))
    assert caught.value.field == "earlier"


AGE = "bins: [25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75]"


def test_bins_are_compared_and_titles_are_not(tmp_path: Path) -> None:
    text = (CONFIGS / "give-me-some-credit.yaml").read_text(encoding="utf-8")
    schema = load_schema(CONFIGS / "give-me-some-credit.yaml")
    assert AGE in text
    assert "Age in years" in text

    def changed(old: str, new: str) -> Schema:
        path = tmp_path / "schema.yaml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return load_schema(path)

    check_same_bins(schema, changed("Age in years", "Years of age"))
    with pytest.raises(DataError) as caught:
        check_same_bins(schema, changed(AGE, "bins: [30, 40, 50]"))
    assert caught.value.field == "age"
    with pytest.raises(DataError, match="age"):
        check_same_bins(schema, changed(AGE, f"{AGE}\n        monotone: decreasing"))
    with pytest.raises(DataError, match="other kinds"):
        check_same_bins(schema, load_schema(CONFIGS / "gmsc-bank-consortium.yaml"))
    with pytest.raises(DataError, match="another outcome"):
        check_same_bins(schema, load_schema(CONFIGS / "pakdd-2009.yaml"))
