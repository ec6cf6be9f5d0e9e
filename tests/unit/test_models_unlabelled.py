"""Merchants without an outcome: their estimated number holds the truth, and what it leaves possible is stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.card import model_card
from models.evaluation_result import EvaluationResult
from models.tables import OpenedTable, feature_bins, from_codes
from models.unlabelled import unlabelled_of
from tests.card_world import ROWS, CardWorld


@pytest.fixture(scope="module")
def world() -> CardWorld:
    return CardWorld()


def evaluated(world: CardWorld, rate: float, merchants: int, rng: np.random.Generator) -> EvaluationResult:
    """Held-out merchants with an outcome, of whom that share defaulted."""
    result = world.evaluation()
    places = rng.multinomial(merchants, np.full(len(result.bands), 1 / len(result.bands)))
    bad = rng.binomial(places, rate)
    noise = rng.normal(0, result.sigma, (2, len(places)))
    bands = tuple(
        band.model_copy(update={"count_bad": one + x, "count_good": all_ - one + y, "observed": None})
        for band, one, all_, x, y in zip(result.bands, bad, places, *noise, strict=True)
    )
    return result.model_copy(update={"bands": bands})


def cohort(world: CardWorld, rate: float, missing: float, rng: np.random.Generator) -> OpenedTable:
    """A noisy table in which merchants without an outcome count as not defaulted, as the protocol has it."""
    outcomes = np.where(rng.random(ROWS) < rate, 0, 1)
    outcomes[rng.random(ROWS) < missing] = 2
    exact = from_codes(feature_bins(world.schema), world.codes, outcomes)
    return exact.with_gaussian_noise(rng, world.noise.sigma_class, world.noise.sigma_pair)


def test_the_share_without_an_outcome_lies_in_the_interval(world: CardWorld) -> None:
    rng, held = np.random.default_rng(41), 0
    for _ in range(60):
        found = unlabelled_of(cohort(world, 0.2, 0.3, rng), evaluated(world, 0.2, 2500, rng))
        assert found is not None
        held += found.share.low <= 0.3 <= found.share.high
        assert found.stated.low <= found.stated.value <= found.stated.high
    assert held >= 53


def test_what_their_outcomes_could_be_is_bounded(world: CardWorld) -> None:
    rng = np.random.default_rng(42)
    found = unlabelled_of(cohort(world, 0.2, 0.3, rng), evaluated(world, 0.2, 4000, rng))
    assert found is not None
    rates = [found.stated.value, found.rate_if(1), found.rate_if(2), found.rate_if(4), found.worst]
    assert rates == sorted(rates)
    assert found.rate_if(1) == pytest.approx(found.labelled_rate.value, abs=0.01)
    assert found.worst == pytest.approx(found.stated.value + found.share.value)
    assert found.rate_if(1000) == pytest.approx(found.worst)


def test_where_noise_drowns_the_rates_nothing_is_said(world: CardWorld) -> None:
    rng = np.random.default_rng(43)
    assert unlabelled_of(cohort(world, 0.2, 0.3, rng), evaluated(world, 0.2, 40, rng)) is None
    assert unlabelled_of(cohort(world, 0.0, 0.0, rng), evaluated(world, 0.2, 4000, rng)) is None


def test_the_card_states_what_is_done_and_what_is_possible(world: CardWorld) -> None:
    rng = np.random.default_rng(44)
    facts = replace(world.facts(), table=cohort(world, 0.2, 0.3, rng), evaluation=evaluated(world, 0.2, 4000, rng))
    english, chinese = model_card(facts, "en"), model_card(facts, "zh")
    for word in ("No reject inference is done", "missing at random", "4 times as often", "of 4,000"):
        assert word in english
    for word in ("未作拒绝推断", "随机缺失", "为其他商户的 4 倍", "4,000 户中约"):
        assert word in chinese
    bare = model_card(replace(facts, evaluation=None), "en")
    assert "No reject inference is done" in bare
    assert "is not opened" in bare
