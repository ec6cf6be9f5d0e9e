"""What other noise would have made of a model: refits are as far from it as it is from one without noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.card import model_card
from models.card_stability import verdict
from models.reference import PublishedPopulation, by_kind
from models.scorecard_fit import train
from models.stability import NoiseStability, rank_correlation, stability_of
from models.tables import feature_bins, from_codes
from tests.card_world import CardWorld


@pytest.fixture(scope="module")
def world() -> CardWorld:
    return CardWorld()


@pytest.fixture(scope="module")
def found(world: CardWorld) -> NoiseStability:
    stability = stability_of(world.table, world.scorecard)
    assert stability is not None
    return stability


def test_the_same_table_gives_the_same_figures(world: CardWorld, found: NoiseStability) -> None:
    assert (found.refits, found.failed) == (20, 0)
    assert stability_of(world.table, world.scorecard, refits=5) == stability_of(world.table, world.scorecard, refits=5)
    assert [each.points for each in found.features] == [entry.points for entry in world.scorecard.features]
    assert found.least <= found.correlation <= 1
    assert 0 < found.same_band <= 1


def test_refits_are_as_far_from_the_model_as_models_of_other_noise_from_one_without(
    world: CardWorld, found: NoiseStability
) -> None:
    """The claim of the bootstrap, against the truth that only a test has: the exact table and many noises."""
    features = feature_bins(world.schema)
    exact = from_codes(features, world.codes, world.outcomes)
    true = train(exact)
    rng = np.random.default_rng(9)
    noisy = [train(exact.with_gaussian_noise(rng, world.noise.sigma_class, world.noise.sigma_pair)) for _ in range(12)]
    codes = by_kind(features, PublishedPopulation(exact).draw(5_000, rng).codes)
    due = np.mean([rank_correlation(true.score(codes), each.score(codes)) for each in noisy])
    assert found.correlation == pytest.approx(due, abs=0.03)
    apart = np.array([[each.features[at].points for each in noisy] for at in (1, 7)], dtype=object)
    for at, drawn in zip((1, 7), apart, strict=True):
        spread = np.sqrt(np.mean((np.array(drawn.tolist()) - np.array(true.features[at].points)) ** 2))
        stated = np.sqrt(np.mean(np.square(found.features[at].spread)))
        assert 0.5 < stated / spread < 2.0


def test_more_noise_is_less_stable(world: CardWorld, found: NoiseStability) -> None:
    exact = from_codes(feature_bins(world.schema), world.codes, world.outcomes)
    loud = exact.with_gaussian_noise(np.random.default_rng(2), 4 * world.noise.sigma_class, 4 * world.noise.sigma_pair)
    worse = stability_of(loud, train(loud), refits=8)
    assert worse is None or worse.correlation < found.correlation - 0.02


def test_without_noise_there_is_nothing_to_draw(world: CardWorld) -> None:
    exact = from_codes(feature_bins(world.schema), world.codes, world.outcomes)
    assert stability_of(exact, train(exact)) is None


def test_rank_correlation_of_what_does_not_vary_is_none() -> None:
    assert rank_correlation(np.ones(5), np.arange(5)) == 0.0
    assert rank_correlation(np.arange(5), np.arange(5) ** 3) == pytest.approx(1)


def test_verdicts_follow_the_correlation(found: NoiseStability) -> None:
    said = [verdict(replace(found, correlation=each)) for each in (0.99, 0.95, 0.5)]
    assert len(set(said)) == 3
    assert "hardly" in said[0]
    assert "larger" in said[2]


def test_the_card_shows_it_in_both_languages(world: CardWorld, found: NoiseStability) -> None:
    facts = replace(world.facts(), stability=found)
    english, chinese = (model_card(facts, lang) for lang in ("en", "zh"))
    for text, words in (
        (english, ("## Stability", "Points ± noise")),
        (chinese, ("## 稳定性", "分值（± 噪声）", "秩相关系数")),
    ):
        for word in (*words, f"{found.correlation:.3f}"):
            assert word in text
    assert "Stability" not in chinese
    assert "Stability" not in model_card(world.facts(), "en")
