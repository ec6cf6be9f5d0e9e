from __future__ import annotations

import math
import time

import pytest
from opacus.accountants import PRVAccountant, RDPAccountant

from models.accounting import (
    calibrate_tables,
    epsilon_of,
    gdp_budget,
    gdp_delta,
    gdp_epsilon,
    gdp_mu,
    split_budget,
    tables_mechanisms,
    usable_delta,
)
from models.errors import BudgetError
from models.mechanisms import DiscreteGaussianCells, GaussianRounds

DELTA = 1e-5


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("features", [2, 10, 25])
def test_discrete_tables_agree_with_the_gaussian_limit_within_one_percent(features: int, epsilon: float) -> None:
    noise = calibrate_tables(features, epsilon, DELTA)
    assert noise.epsilon_pld <= epsilon
    assert noise.epsilon_pld == pytest.approx(epsilon, rel=0.01)
    assert noise.epsilon_pld == pytest.approx(gdp_epsilon(gdp_mu(noise.mechanisms), DELTA), rel=0.01)
    doubled = gdp_epsilon(gdp_mu(noise.mechanisms, adjacency="replace-one"), DELTA)
    assert noise.epsilon_replace_one == pytest.approx(doubled, rel=0.01)
    assert noise.epsilon_replace_one > noise.epsilon_pld


@pytest.mark.parametrize(
    ("features", "epsilon", "sigma_pair", "sigma_class"),
    [(10, 1, 35.4, 16.7), (10, 3, 13.2, 6.22), (10, 8, 5.69, 2.68), (25, 1, 91.4, 26.4), (25, 3, 34.1, 9.83)],
)
def test_table_noise_is_that_of_the_protocol(
    features: int, epsilon: float, sigma_pair: float, sigma_class: float
) -> None:
    noise = calibrate_tables(features, epsilon, DELTA, pair_share=0.5)
    assert noise.sigma_pair == pytest.approx(sigma_pair, rel=5e-3)
    assert noise.sigma_class == pytest.approx(sigma_class, rel=5e-3)


def test_calibration_takes_less_than_three_seconds() -> None:
    started = time.process_time()
    calibrate_tables(25, 8.0, DELTA)
    assert time.process_time() - started < 3


def test_pair_share_moves_noise_between_the_two_charges_at_the_same_total() -> None:
    even, pairs = calibrate_tables(10, 1.0, DELTA), calibrate_tables(10, 1.0, DELTA, pair_share=0.8)
    assert pairs.sigma_pair < even.sigma_pair
    assert pairs.sigma_class > even.sigma_class
    assert gdp_mu(pairs.mechanisms) == pytest.approx(gdp_mu(even.mechanisms), rel=1e-6)


def test_one_feature_has_no_pair_cells() -> None:
    noise = calibrate_tables(1, 1.0, DELTA)
    assert noise.mechanisms == (DiscreteGaussianCells(noise.sigma_class, 1),)
    assert noise.epsilon_pld == pytest.approx(1.0, rel=0.01)


def test_gaussian_rounds_lie_between_opacus_prv_and_rdp() -> None:
    mechanism = GaussianRounds(20.0, 60)
    ours = epsilon_of([mechanism], DELTA)
    assert ours == pytest.approx(gdp_epsilon(math.sqrt(60) / 20, DELTA), rel=0.01)
    rdp, prv = RDPAccountant(), PRVAccountant()
    for accountant in (rdp, prv):
        accountant.history = [(20.0, 1.0, 60)]
    assert ours <= rdp.get_epsilon(DELTA)
    assert ours == pytest.approx(prv.get_epsilon(DELTA), rel=0.01)


def test_replacing_a_merchant_doubles_the_sensitivity_of_a_round() -> None:
    replaced = epsilon_of([GaussianRounds(40.0, 60)], DELTA, adjacency="replace-one")
    assert replaced == pytest.approx(epsilon_of([GaussianRounds(20.0, 60)], DELTA), rel=1e-6)
    assert gdp_mu([GaussianRounds(40.0, 60)], adjacency="replace-one") == pytest.approx(math.sqrt(60) / 20)


@pytest.mark.parametrize(("sigma", "scale"), [(1.0, 1), (1.0, 4), (0.7, 8), (3.0, 2)])
def test_cells_are_accounted_on_the_grid_of_their_noise(sigma: float, scale: int) -> None:
    # δ(ε) of one discrete Gaussian in closed form (Canonne, Kamath, Steinke 2020, Theorem 7), then by PLD.
    width, shift = sigma * scale, scale
    support = range(-int(40 * width), int(40 * width) + 1)
    total = math.fsum(math.exp(-(x**2) / (2 * width**2)) for x in support)
    epsilon = epsilon_of([DiscreteGaussianCells(sigma, 1, scale)], DELTA)

    def delta_at(epsilon: float) -> float:
        mass = {x: math.exp(-(x**2) / (2 * width**2)) / total for x in support}
        return math.fsum(max(0.0, mass[x] - math.exp(epsilon) * mass.get(x + shift, 0.0)) for x in support)

    assert delta_at(epsilon) <= DELTA * (1 + 1e-9)  # never understated
    assert delta_at(epsilon * 0.995) > DELTA  # and hardly overstated


def test_a_finer_grid_costs_what_the_coarser_one_hides() -> None:
    coarse, fine = (epsilon_of(tables_mechanisms(10, 1.0, 1.0, class_scale=k, pair_scale=k), DELTA) for k in (1, 2))
    assert coarse < fine < coarse * 1.001
    noise = calibrate_tables(10, 8.0, DELTA, scale_of=lambda sigma: 4 if sigma < 4 else 2)
    assert [each.scale for each in noise.mechanisms] == [4, 2]
    assert noise.epsilon_pld == epsilon_of(noise.mechanisms, DELTA) <= 8.0


def test_split_budget_holds_on_coarser_grids_too() -> None:
    mu = split_budget(8.0, DELTA, ["encoder", "scorecard"], charged_attempts=63, scale_of=lambda _: 4)
    rounds = GaussianRounds(math.sqrt(63) / mu["encoder"], 63)
    for scale in (1, 2, 4):
        tables = calibrate_tables(10, 8.0, DELTA, mu_budget=mu["scorecard"], scale_of=lambda _, k=scale: k)
        assert epsilon_of([*tables.mechanisms, rounds], DELTA) <= 8.0


def test_rounds_compose_with_tables_like_gaussians() -> None:
    both = [*tables_mechanisms(10, 30.0, 60.0), GaussianRounds(40.0, 60)]
    total = epsilon_of(both, DELTA)
    assert total == pytest.approx(gdp_epsilon(gdp_mu(both), DELTA), rel=0.01)
    assert total > max(epsilon_of(both[:2], DELTA), epsilon_of(both[2:], DELTA))


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_split_budget_meets_the_total_when_both_stages_run(share: float) -> None:
    mu = split_budget(3.0, DELTA, ["encoder", "scorecard"], share, n_features=11, charged_attempts=63)
    tables = calibrate_tables(11, 3.0, DELTA, mu_budget=mu["scorecard"])
    rounds = GaussianRounds(math.sqrt(63) / mu["encoder"], 63)
    total = epsilon_of([*tables.mechanisms, rounds], DELTA)
    assert total <= 3.0
    assert total == pytest.approx(3.0, rel=0.01)
    assert mu["encoder"] ** 2 / (mu["encoder"] ** 2 + mu["scorecard"] ** 2) == pytest.approx(share)


def test_one_stage_gets_all() -> None:
    mu = split_budget(1.0, DELTA, ["scorecard"])
    assert mu == {"scorecard": pytest.approx(gdp_budget(1.0, DELTA), rel=1e-3)}


def test_the_closed_form_inverts_itself() -> None:
    for mu in (0.05, 0.27, 1.7, 5.0):
        assert gdp_budget(gdp_epsilon(mu, DELTA), DELTA) == pytest.approx(mu, rel=1e-6)
    assert gdp_epsilon(1e-6, 1e-5) == 0.0
    assert gdp_delta(1.0, 0.0) == pytest.approx(math.erf(1 / math.sqrt(8)), rel=1e-9)


def test_distance_of_noise_shares_costs_delta_and_so_noise() -> None:
    assert usable_delta(1.0, DELTA, 1e-7) == pytest.approx(DELTA - (1 + math.e) * 1e-7)
    careful = calibrate_tables(10, 1.0, DELTA, delta_sum=1e-6)
    assert careful.sigma_pair > calibrate_tables(10, 1.0, DELTA).sigma_pair


def test_no_noise_is_no_privacy_and_nothing_costs_nothing() -> None:
    assert epsilon_of([DiscreteGaussianCells(0.0, 3)], DELTA) == math.inf
    assert epsilon_of([], DELTA) == 0.0


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: calibrate_tables(0, 1.0, DELTA),
        lambda: calibrate_tables(10, -1.0, DELTA),
        lambda: calibrate_tables(10, 1.0, 0.0),
        lambda: calibrate_tables(10, 1.0, DELTA, pair_share=1.0),
        lambda: calibrate_tables(10, 1.0, DELTA, delta_sum=DELTA),
        lambda: calibrate_tables(10, 1.0, DELTA, mu_budget=0.5),
        lambda: split_budget(1.0, DELTA, []),
        lambda: split_budget(1.0, DELTA, ["encoder", "scorecard"], 1.0),
        lambda: epsilon_of([GaussianRounds(1.0, 0)], DELTA),
        lambda: epsilon_of([DiscreteGaussianCells(1.0, 1, 0)], DELTA),
        lambda: gdp_epsilon(-1.0, DELTA),
        lambda: gdp_epsilon(50.0, DELTA),
    ],
)
def test_malformed_budgets_are_refused_with_a_remedy(attempt: object) -> None:
    with pytest.raises(BudgetError) as refused:
        attempt()  # type: ignore[operator]
    assert refused.value.remedy
    assert refused.value.field


def test_replacing_one_row_doubles_a_gradient_but_only_doubles_the_cells_of_a_table() -> None:
    rounds = GaussianRounds(10.0, 25)
    cells = DiscreteGaussianCells(10.0, 25)
    assert gdp_mu([rounds], adjacency="replace-one") == pytest.approx(2 * gdp_mu([rounds]))
    assert gdp_mu([cells], adjacency="replace-one") == pytest.approx(math.sqrt(2) * gdp_mu([cells]))
    halved = epsilon_of([GaussianRounds(5.0, 25)], 1e-5)
    assert epsilon_of([rounds], 1e-5, adjacency="replace-one") == pytest.approx(halved)
