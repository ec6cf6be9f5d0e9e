"""The attack suite's statistics, which are exact, and its reports; its attacks: test_benchmarks_attacks_releases.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.attacks import one_run, page, report
from benchmarks.attacks.claims import Claims, advantage_bound, claims_of
from benchmarks.attacks.releases import Setting
from benchmarks.attacks.suite import Result
from benchmarks.attacks.verdicts import Scored, excess, judge, lower, upper
from models.accounting import gdp_delta
from models.mechanisms import DiscreteGaussianCells, GaussianRounds

USUAL = Setting(3.0)


def gaussian_claims(mu: float) -> Claims:
    """Claims of one μ-GDP release."""
    return claims_of((GaussianRounds(1 / mu, 1),), 1e-5)


def shifted(mu: float, trials: int, seed: int) -> tuple[Scored, Scored]:
    """Shadow and fresh scores of two normal worlds, μ apart."""
    rng = np.random.default_rng(seed)
    draw = lambda: Scored(rng.normal(0, 1, trials), rng.normal(mu, 1, trials))  # noqa: E731
    return draw(), draw()


# Statistics.


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_exact_limits_err_no_more_often_than_they_say(rate: float) -> None:
    trials, error = 60, 0.01
    hits = np.arange(trials + 1)
    chance = stats.binom.pmf(hits, trials, rate)
    assert chance[lower(hits, trials, error) > rate].sum() <= error
    assert chance[upper(hits, trials, error) < rate].sum() <= error


def test_no_hits_and_all_hits_have_limits() -> None:
    assert lower(np.array(0), 10, 0.01) == 0
    assert upper(np.array(10), 10, 0.01) == 1
    assert upper(np.array(0), 10, 0.01) == pytest.approx(1 - 0.01**0.1)


def test_the_bound_of_epsilon_is_that_of_randomised_response() -> None:
    assert advantage_bound(1.0, 0.0) == pytest.approx((math.e - 1) / (math.e + 1))
    assert advantage_bound(0.0, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_claims_of_a_gaussian_are_its_closed_forms(mu: float) -> None:
    claims = gaussian_claims(mu)
    assert claims.advantage == pytest.approx(2 * stats.norm.cdf(mu / 2) - 1, rel=1e-2)
    assert claims.advantage >= gdp_delta(mu, 0.0)
    for epsilon, delta in claims.curve:
        assert gdp_delta(mu, epsilon) <= delta + 1e-9
    for alarms in (0.01, 0.2):
        exact = stats.norm.cdf(stats.norm.ppf(alarms) + mu)
        assert exact - 1e-6 <= claims.found_at(alarms) <= exact + 0.01


def test_an_exact_attack_on_what_is_claimed_reaches_the_bound_and_breaks_nothing() -> None:
    claims = gaussian_claims(1.0)
    verdict = judge(*shifted(1.0, 20_000, seed=1), claims)
    assert verdict.broken == ()
    assert verdict.best.advantage == pytest.approx(claims.advantage, abs=0.02)
    assert 0 < verdict.epsilon_low <= claims.epsilon
    assert verdict.roc[0.05].found.value == pytest.approx(stats.norm.cdf(stats.norm.ppf(0.05) + 1.0), abs=0.03)


def test_twice_the_mu_that_is_claimed_is_broken() -> None:
    assert judge(*shifted(1.0, 20_000, seed=2), gaussian_claims(0.5)).broken


def test_a_claim_that_fails_in_the_mirrored_direction_alone_is_broken() -> None:
    """One in ten of those whose data is out shows it for sure; nobody's data that is in ever does."""
    rng = np.random.default_rng(3)

    def draw() -> Scored:
        return Scored(np.where(rng.random(4000) < 0.1, -1.0, 0.0), np.zeros(4000))

    claims = Claims(1.0, 1e-5, 0.1, ((1.0, 1e-5),))
    assert judge(draw(), draw(), claims).broken == ((1.0, 1e-5),)


def test_scores_that_are_worth_nothing_break_nothing() -> None:
    verdict = judge(*shifted(0.0, 4000, seed=4), gaussian_claims(0.1))
    assert verdict.broken == ()
    assert verdict.best.interval[0] < 0 < verdict.best.interval[1]


def test_guesses_in_one_run_refute_an_epsilon_no_more_often_than_they_say() -> None:
    """Randomised response is the worst (ε, 0)-DP release: its right guesses are exactly binomial."""
    guesses, epsilon = 200, 1.0
    right = np.arange(guesses + 1)
    chance = stats.binom.pmf(right, guesses, 1 / (1 + math.exp(-epsilon)))
    refuted = np.array([one_run.p_value(guesses, guesses, int(each), epsilon, 0.0) <= 0.05 for each in right])
    assert 0 < chance[refuted].sum() <= 0.05
    assert one_run.epsilon_low(guesses, guesses, 190, 0.0) == pytest.approx(2.45, abs=0.1)
    assert one_run.epsilon_low(guesses, guesses, 190, 1e-3) < one_run.epsilon_low(guesses, guesses, 190, 0.0)
    assert one_run.epsilon_low(guesses, guesses, 100, 0.0) == 0


def test_guesses_of_two_normal_worlds_prove_less_than_their_epsilon() -> None:
    found = one_run.audit(*shifted(1.0, 5000, seed=5), 1e-5)
    assert 1.0 < found < gaussian_claims(1.0).epsilon


# Reports.


def result(broken: bool) -> Result:
    mu = 0.3 if broken else 1.0
    claims = gaussian_claims(mu)
    return Result("tables", "likelihood ratio", USUAL, claims, judge(*shifted(1.0, 4000, seed=7), claims), one_run=0.2)


def test_a_report_names_what_was_broken_and_what_was_not_found(tmp_path: Path) -> None:
    file = tmp_path / "attacks.json"
    found = report.start(file, 10)
    found["results"] = [report.row(result(broken=False))]
    found["controls"] = [{"name": "less", "about": "x", "found": True, "results": [report.row(result(broken=True))]}]
    report.save(file, found)
    assert report.failures(json.loads(file.read_text(encoding="utf-8"))) == []
    assert report.done(report.start(file, 10), "tables", 3.0)
    assert not report.done(report.start(file, 11), "tables", 3.0)
    assert "none breaks a claim" in page.section(found)
    found["results"].append(report.row(result(broken=True)))
    found["controls"][0]["found"] = False
    assert report.failures(found) == [
        "tables, likelihood ratio, epsilon 3: more than is claimed",
        "less: not found",
    ]
    text = page.section(found)
    assert "FAILED" in text
    assert "| NO |" in text


def test_limits_of_a_verdict_are_those_of_the_docstring() -> None:
    """A discrete Gaussian of σ = 3 on one cell, at its own threshold: never more than δ′ by the limits."""
    claims = claims_of((DiscreteGaussianCells(3.0, 1),), 1e-5)
    rng = np.random.default_rng(8)
    out = np.rint(rng.normal(0, 3, 4000))
    into = np.rint(rng.normal(1, 3, 4000))
    for epsilon, delta in claims.curve:
        point = judge(Scored(out, into), Scored(out, into), claims).best
        assert excess(point.found, point.alarms, epsilon) <= delta
