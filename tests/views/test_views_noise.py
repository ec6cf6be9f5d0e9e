"""What an opened sum tells: its noise against the exact distribution, and the best guess at a merchant against (ε, δ).

The samples are OpenDP's own, from the operating system, so they cannot be seeded. A verdict of "not this distribution"
needs two independent sets of samples that both say so at p ≤ .0003: right noise fails a test once in ten million runs.
A verdict of "more than (ε, δ)" by exact limits at 99 % is rarer still: the two rates are of the same noise, so the
difference of their limits lies 6.3 standard errors of the estimate below it, or more. Noise that one test wants to see
found out has one set of samples and the same limit: see `exact_p_value`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from crypto.keys import BoxKey
from crypto.layout import KindBlocks, TableLayout
from crypto.secure_sum import mask_vector, open_sum, witness_term
from crypto.table_grid import TableGrid, table_grid, table_scale
from models.accounting import TablesNoise, calibrate_tables, epsilon_of
from tests.federation import make_world, run_scorecard
from tests.noise_size import has_size
from tests.views.figures import excess

EPSILON, DELTA = 1.0, 1e-5
NODES, COLLUDING = 3, 1
LAYOUT = TableLayout((KindBlocks("bank", (2,)), KindBlocks("tax", (50_000,))), "bank")
"""Two features of so many bins that one table has 100,000 cells of either sort."""
TRIALS = 50_000
P_VALUE = 3e-4
"""Below it a set of samples is said to be of another distribution."""
H, ATTEMPT = bytes(range(32)), "c1/scorecard/1"
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Opened:
    """One attempt's sum, opened; and what each node put in.

    Attributes:
        noise: (n_cells,) of the opened table less the exact one, on the grid.
        shares: one row per node.
    """

    grid: TableGrid
    noise: Int64
    shares: Int64

    def part(self, name: str, noise: Int64 | None = None) -> Int64:
        """The noise of one sort of cells."""
        vector = self.noise if noise is None else noise
        cells = LAYOUT.n_class_cells
        return vector[:cells] if name == "class" else vector[cells:]


def calibrated() -> TablesNoise:
    """Least noise for the layout's table at (ε, δ)."""
    scale_of: Callable[[float], int] = lambda sigma: table_scale(sigma, n_nodes=NODES, t_collude=COLLUDING)  # noqa: E731
    return calibrate_tables(LAYOUT.n_features, EPSILON, DELTA, scale_of=scale_of)


def open_one() -> Opened:
    """Known counts, every node's own noise share, all masks, and the opening: the product's own functions."""
    noise = calibrated()
    grid = table_grid(
        noise.sigma_class, noise.sigma_pair, n_nodes=NODES, t_collude=COLLUDING, cohort_size=1000, noise=True
    )
    rng = np.random.default_rng(5)
    scales = grid.scales(LAYOUT).astype(np.int64)
    boxes = {f"node-{number}": BoxKey.from_bytes(bytes([number + 1]) * 32) for number in range(NODES)}
    public = {node: box.public for node, box in boxes.items()}
    witness = BoxKey.from_bytes(b"\xee" * 32)
    exact = np.zeros(LAYOUT.n_cells, dtype=np.int64)
    shares, terms = [], []
    for node, box in boxes.items():
        counts = rng.integers(0, 200, LAYOUT.n_cells)
        exact += counts
        share = grid.share(LAYOUT)
        assert share is not None
        shares.append(share)
        peers = {peer: key for peer, key in public.items() if peer != node}
        terms.append(
            mask_vector(
                counts * scales,
                share,
                me=node,
                box=box,
                peers=peers,
                witness_public=witness.public,
                h=H,
                attempt=ATTEMPT,
                width=32,
                bound=grid.bound,
            )
        )
    terms.append(witness_term(None, box=witness, nodes=public, h=H, attempt=ATTEMPT, n=LAYOUT.n_cells, width=32))
    opened = open_sum(terms, bound=grid.bound)
    return Opened(grid, opened - exact * scales, np.stack(shares))


class Draws:
    """Attempts opened, as many as asked for; the first ones are kept."""

    def __init__(self) -> None:
        self._kept: list[Opened] = []

    def __call__(self, number: int) -> Opened:
        while len(self._kept) <= number:
            self._kept.append(open_one())
        return self._kept[number]

    def agree(self, passes: Callable[[Opened], bool]) -> bool:
        """Whether one of two independent attempts passes; the second is made only where it is needed."""
        return any(passes(self(number)) for number in range(2))

    def plausible(self, p_value: Callable[[Opened], float]) -> bool:
        """The same of a p-value that must be above P_VALUE."""
        return self.agree(lambda opened: p_value(opened) > P_VALUE)


@pytest.fixture(scope="module")
def draws() -> Draws:
    return Draws()


def convolved(sigma: float, count: int) -> tuple[Int64, NDArray[np.float64]]:
    """Support and exact probabilities of the sum of `count` discrete Gaussians of `sigma`."""
    half = int(np.ceil(12 * sigma))
    x = np.arange(-half, half + 1)
    one = np.exp(-(x.astype(float) ** 2) / (2 * sigma**2))
    total = one = one / one.sum()
    for _ in range(count - 1):
        total = np.convolve(total, one)
    return np.arange(-half * count, half * count + 1), total


def chi_square(samples: Int64, support: Int64, probability: NDArray[np.float64], bins: int = 40) -> float:
    """p-value of samples under exact probabilities, in about equally likely stretches of values."""
    edges = np.unique(np.searchsorted(np.cumsum(probability), np.arange(1, bins) / bins))
    expected = np.add.reduceat(probability, np.append(0, edges + 1)) * len(samples)
    observed = np.bincount(np.searchsorted(support[edges], samples), minlength=len(expected))
    return float(stats.chisquare(observed, expected * len(samples) / expected.sum()).pvalue)


def second_moment(samples: Int64, support: Int64, probability: NDArray[np.float64]) -> float:
    """p-value of the samples' sum of squares, by its exact mean and standard deviation."""
    squares = support.astype(float) ** 2
    mean = float(probability @ squares)
    spread = np.sqrt((float(probability @ squares**2) - mean**2) * len(samples))
    return float(2 * stats.norm.sf(abs(float((samples.astype(float) ** 2).sum()) - mean * len(samples)) / spread))


def exact_p_value(samples: Int64, support: Int64, probability: NDArray[np.float64]) -> float:
    """The smaller of both p-values, times two for there being two.

    Chi-square sees any other shape, and a wrong scale weakly: of sets of 100,000 whose σ is 2 % too small it misses
    .7 % at P_VALUE (.3 % at .001). Their sum of squares lies 8.85 standard deviations off, and spreads by .96 of one:
    both tests miss 7e-8 of such sets (Gaussian tail, its mean and spread from 20,000 simulated sets). Of right sets
    they refuse at most P_VALUE (.0002 and .0005 of 20,000).
    """
    return min(1.0, 2 * min(chi_square(samples, support, probability), second_moment(samples, support, probability)))


def sigma_of(opened: Opened, name: str) -> float:
    """σ of one node's share."""
    return opened.grid.class_share if name == "class" else opened.grid.pair_share


def test_the_opened_table_less_the_exact_one_is_the_sum_of_all_shares(draws: Draws) -> None:
    opened = draws(0)
    assert np.array_equal(opened.noise, opened.shares.sum(axis=0))
    assert len(opened.part("class")) >= 100_000
    assert len(opened.part("pair")) >= 100_000


@pytest.mark.parametrize("name", ["class", "pair"])
def test_all_shares_together_follow_their_exact_distribution(draws: Draws, name: str) -> None:
    def p_value(opened: Opened) -> float:
        return exact_p_value(opened.part(name), *convolved(sigma_of(opened, name), NODES))

    assert draws.plausible(p_value)


@pytest.mark.parametrize("name", ["class", "pair"])
def test_what_colluding_nodes_cannot_take_off_is_the_discrete_gaussian_that_is_accounted(
    draws: Draws, name: str
) -> None:
    """n − t shares: one discrete Gaussian of exactly the σ that the accountant was given, not a sum of n − t."""
    noise = calibrated()
    mechanism = noise.mechanisms[0 if name == "class" else 1]
    sigma = mechanism.sigma * mechanism.scale
    assert sigma_of(draws(0), name) * np.sqrt(NODES - COLLUDING) == pytest.approx(sigma)

    def p_value(opened: Opened) -> float:
        unknown = opened.part(name, opened.noise - opened.shares[:COLLUDING].sum(axis=0))
        return exact_p_value(unknown, *convolved(sigma, 1))

    assert draws.plausible(p_value)


@pytest.mark.parametrize("name", ["class", "pair"])
def test_noise_a_fiftieth_too_small_or_of_one_node_less_would_be_noticed(draws: Draws, name: str) -> None:
    opened = draws(0)
    sigma = sigma_of(opened, name)
    assert exact_p_value(opened.part(name), *convolved(sigma / 0.98, NODES)) <= P_VALUE
    assert exact_p_value(opened.part(name), *convolved(sigma, NODES - 1)) <= P_VALUE


def test_cells_know_nothing_of_each_other(draws: Draws) -> None:
    def p_value(opened: Opened) -> float:
        found = []
        for name in ("class", "pair"):
            part = opened.part(name).astype(float)
            found.append(stats.pearsonr(part[1:], part[:-1]).pvalue)
        return float(min(found) * len(found))

    assert draws.plausible(p_value)


# Two worlds: one merchant's data, or empty rows in its place.


@dataclass(frozen=True)
class Touched:
    """Noise of the cells that one merchant touches, once for every trial: (TRIALS, F + F(F−1)/2), on the grid."""

    noise: Int64
    step: Int64
    sigma: NDArray[np.float64]

    def loss(self, opened: Int64) -> NDArray[np.float64]:
        """The log-likelihood ratio of "its data went in" to "empty rows did", exactly: noise is discrete Gaussian."""
        return (self.step * (2 * opened - self.step) / (2 * self.sigma**2)).sum(axis=1)


def touched(class_cells: Int64, pair_cells: Int64) -> Touched:
    """Cuts noise into trials. All other cells are the same in both worlds and tell nothing."""
    features = LAYOUT.n_features
    pairs = features * (features - 1) // 2
    rows = np.concatenate(
        [
            class_cells[: TRIALS * features].reshape(TRIALS, features),
            pair_cells[: TRIALS * pairs].reshape(TRIALS, pairs),
        ],
        axis=1,
    )
    mechanisms = calibrated().mechanisms
    per_cell = [(each.scale, each.sigma * each.scale) for each in mechanisms for _ in range(each.count)]
    scale, sigma = np.array(per_cell).T
    return Touched(rows, scale.astype(np.int64), sigma)


def against_colluders(opened: Opened) -> Touched:
    """What the colluding nodes and the hub see of the opened table: it less their own shares and all known counts."""
    unknown = opened.noise - opened.shares[:COLLUDING].sum(axis=0)
    return touched(opened.part("class", unknown), opened.part("pair", unknown))


def too_small() -> Touched:
    """Noise of half the σ, of this test's own making; whoever guesses knows its size."""
    rng = np.random.default_rng(11)
    cells = [
        np.rint(rng.normal(0, each.sigma * each.scale / 2, TRIALS * each.count)).astype(np.int64)
        for each in calibrated().mechanisms
    ]
    made = touched(cells[0], cells[1])
    return Touched(made.noise, made.step, made.sigma / 2)


def claims() -> list[tuple[float, float]]:
    """(ε, δ) that the accountant states for the table: the campaign's own, and others on the same curve."""
    return [(EPSILON, DELTA), *((epsilon_of(calibrated().mechanisms, delta), delta) for delta in (1e-3, 0.01, 0.05))]


def worst(found: Callable[[Int64], NDArray[np.float64]], made: Touched) -> list[tuple[float, float, float]]:
    """Lower limit, estimate and δ of every claim, for a score that is higher where the merchant's data seem in.

    Zero and one are worlds of the same noise: each rate has its own exact limit, so they need not be independent.
    """
    zero, one = found(made.noise), found(made.noise + made.step)
    verdicts = []
    for epsilon, delta in claims():
        # The loss says 1 where it is above ε, which is the best event of all at this ε.
        low, estimate = excess(one > epsilon, zero > epsilon, epsilon)
        verdicts.append((low, estimate, delta))
    return verdicts


def test_the_best_guess_at_a_merchant_stays_within_epsilon_and_delta(draws: Draws) -> None:
    def within(opened: Opened) -> bool:
        made = against_colluders(opened)
        verdicts = worst(made.loss, made)
        # And it comes near: what is claimed at δ = .05 is what is there, within the sample's error.
        _, estimate, delta = verdicts[-1]
        return all(low <= delta for low, _, delta in verdicts) and abs(estimate / delta - 1) < 0.25

    assert draws.agree(within)


def test_the_same_guess_shows_noise_of_half_the_size() -> None:
    made = too_small()
    verdicts = worst(made.loss, made)
    assert any(low > delta for low, _, delta in verdicts)
    low, _, delta = verdicts[0]  # the campaign's own (ε, δ)
    assert low > delta


def trained(made: Touched) -> tuple[Callable[[Int64], NDArray[np.float64]], Touched]:
    """A classifier that learned from a third of the trials what the cells of either world look like; and the rest."""
    third = TRIALS // 3
    zero, one = made.noise[:third], made.noise[third : 2 * third] + made.step
    model = LogisticRegression().fit(np.concatenate([zero, one]) / made.sigma, np.repeat([0, 1], third))
    rest = Touched(made.noise[2 * third :], made.step, made.sigma)
    return lambda opened: model.decision_function(opened / made.sigma), rest


def test_a_trained_classifier_stays_within_epsilon_and_delta(draws: Draws) -> None:
    def within(made: Touched) -> bool:
        score, rest = trained(made)
        return all(low <= delta for low, _, delta in worst(score, rest))

    assert draws.agree(lambda opened: within(against_colluders(opened)))
    assert not within(too_small())


def test_in_a_campaign_the_noise_is_the_sum_of_what_all_nodes_added(tmp_path: Path) -> None:
    """Opened less exact table of a whole campaign, against its own exact distribution, cell sorts apart."""
    world = make_world(tmp_path, merchants=200, noise_off=False)
    plan = world.noisy_plan(3.0)
    released = run_scorecard(world, plan)
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    error = released.counts - world.exact(cohort)
    terms = released.terms
    tables, classes = terms.tables, 2 * sum(sum(each.widths) for each in terms.kinds)
    assert tables is not None
    n, t = len(terms.roster), terms.privacy.t_collude
    for part, sigma in ((error[:classes], tables.sigma_class), (error[classes:], tables.sigma_pair)):
        assert has_size(part, sigma * np.sqrt(n / (n - t)))
