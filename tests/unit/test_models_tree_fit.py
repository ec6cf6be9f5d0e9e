from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import expit

from models import tree_fit
from models.fit_options import FitOptions
from models.margins import consistent_margins
from models.population import DependenceTree
from models.prior import piecewise_precision
from models.tables import FeatureBins, FloatArray, OpenedTable, from_codes
from models.tree_fit import fit_on_tree

FEATURES = [
    FeatureBins("bank", "late", 4, True, ()),
    FeatureBins("bank", "use", 5, True, ()),
    FeatureBins("tax", "income", 5, True, ()),
    FeatureBins("utility", "arrears", 3, True, ()),
]
TRUE = [[-0.6, -0.2, 0.6, 2.2], [-0.7, -0.3, 0.0, 0.4, 0.9], [0.8, 0.3, 0.0, -0.3, -0.6], [-0.2, 0.3, 0.8]]


@pytest.fixture(scope="module")
def rows() -> NDArray[np.int64]:
    """(40,000, 4) bins of a chain: late, then use, then income, and arrears which hang on use."""
    rng = np.random.default_rng(5)

    def after(before: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        drift = rng.normal(scale=0.9, size=len(before))
        return np.clip(np.rint(before / before.max() * (width - 1) + drift), 0, width - 1).astype(np.int64)

    late = rng.choice(4, size=40_000, p=[0.5, 0.25, 0.15, 0.1])
    use = after(late, 5)
    return np.column_stack([late, use, after(use, 5), after(use, 3)])


@pytest.fixture(scope="module")
def bad(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    z = sum(np.array(weights)[rows[:, f]] for f, weights in enumerate(TRUE))
    return np.random.default_rng(6).random(len(rows)) < expit(z - 2.5)


@pytest.fixture(scope="module")
def table(rows: NDArray[np.int64], bad: NDArray[np.bool_]) -> OpenedTable:
    codes = {"bank": rows[:, :2], "tax": rows[:, 2:3], "utility": rows[:, 3:]}
    return from_codes(FEATURES, codes, np.where(bad, 0, 1))


def fitted(table: OpenedTable, options: FitOptions, more: FloatArray | float = 0.0) -> tuple[FloatArray, FloatArray]:
    margins = consistent_margins(table)
    margins = replace(margins, p=margins.p + more)
    values, vectors = np.linalg.eigh(margins.pairs - np.outer(margins.n, margins.n) / margins.size)
    found = fit_on_tree(table, margins, (vectors * np.maximum(values, 0)) @ vectors.T, options)
    return found.weights, found.response


def blocks(table: OpenedTable, weights: FloatArray) -> list[FloatArray]:
    return np.split(weights, table.offsets()[1:-1])


def on_rows(table: OpenedTable, rows: NDArray[np.int64], bad: NDArray[np.bool_]) -> FloatArray:
    """Logistic regression on the joined rows, with the same prior."""
    one_hot = np.concatenate([np.eye(f.width)[rows[:, i]] for i, f in enumerate(FEATURES)], axis=1)
    rate = float(bad.mean())
    prior = rate * (1 - rate) * piecewise_precision(table, consistent_margins(table), FitOptions())

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        z = one_hot @ at[1:] + at[0]
        residual = expit(z) - bad
        value = np.logaddexp(0, z).sum() - z[bad].sum() + at[1:] @ prior @ at[1:] / 2
        return float(value), np.append(residual.sum(), one_hot.T @ residual + prior @ at[1:])

    start = np.append(np.log(rate / (1 - rate)), np.zeros(one_hot.shape[1]))
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14})
    return np.asarray(found.x[1:])


def test_where_the_truth_is_a_tree_it_is_logistic_regression_on_the_rows(table, rows, bad) -> None:
    theirs = blocks(table, on_rows(table, rows, bad))
    ours = blocks(table, fitted(table, FitOptions())[0])
    for f, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        share = np.bincount(rows[:, f], minlength=len(one)) / len(rows)
        assert one - share @ one == pytest.approx(other - share @ other, abs=0.03)
    assert np.ptp(theirs[0]) > 1.5


def test_the_steps_have_ended(table, monkeypatch) -> None:
    for noise in (0.0, 30.0):
        noisy = table.with_gaussian_noise(np.random.default_rng(2), noise, noise) if noise else table
        weights = fitted(noisy, FitOptions())[0]
        with monkeypatch.context() as longer:
            longer.setattr(tree_fit, "_STEPS", 40)
            assert fitted(noisy, FitOptions())[0] == pytest.approx(weights, abs=1e-4)


def test_the_score_within_a_bin_is_as_among_its_merchants(table, rows) -> None:
    weights = [np.array(part) for part in TRUE]
    z = sum(part[rows[:, f]] for f, part in enumerate(weights))
    grid, masses = DependenceTree(table, consistent_margins(table)).within_bins(weights, 512)
    for f, mass in enumerate(masses):
        assert mass.sum(axis=1) == pytest.approx(np.ones(FEATURES[f].width))
        for bin in range(FEATURES[f].width):
            here = z[rows[:, f] == bin]
            mean = mass[bin] @ grid
            assert mean == pytest.approx(here.mean(), abs=0.03)
            assert mass[bin] @ (grid - mean) ** 2 == pytest.approx(here.var(), rel=0.06)
            assert mass[bin] @ expit(grid - 2.5) == pytest.approx(expit(here - 2.5).mean(), rel=0.04)


def test_the_distribution_over_the_cohort_is_that_over_all_bins(table) -> None:
    weights = [np.array(part) for part in TRUE]
    margins = consistent_margins(table)
    tree = DependenceTree(table, margins)
    whole = tree.distribution(weights, cells=512)
    grid, masses = tree.within_bins(weights, 512)
    assert np.array_equal(whole.z, grid)
    for block, mass in zip(blocks(table, margins.n), masses, strict=True):
        assert block @ mass / margins.size == pytest.approx(whole.mass, abs=1e-9)


def test_declared_directions_hold(table) -> None:
    against = replace(table, features=(replace(FEATURES[0], monotone="decreasing"), *FEATURES[1:]))
    late, *others = blocks(table, fitted(against, FitOptions())[0])
    assert (np.diff(late) <= 0).all()
    assert np.ptp(late) < 1e-9
    assert all(np.ptp(part) > 0.2 for part in others)


def test_a_feature_that_tells_nothing_gets_next_to_nothing(rows, bad) -> None:
    flat = np.random.default_rng(9).integers(0, 5, size=(len(rows), 1))
    features = [*FEATURES, FeatureBins("utility", "flat", 5, True, ())]
    codes = {"bank": rows[:, :2], "tax": rows[:, 2:3], "utility": np.concatenate([rows[:, 3:], flat], axis=1)}
    found = blocks(
        table := from_codes(features, codes, np.where(bad, 0, 1)),
        fitted(table, FitOptions())[0],
    )
    assert np.ptp(found[-1]) < 0.05 * np.ptp(found[0])


def test_the_response_is_the_derivative(table) -> None:
    weights, response = fitted(table, FitOptions())
    for column in (3, 8, 13):
        # A defaulter more in one bin and one less in its neighbour.
        more = np.zeros(table.columns)
        more[column], more[column - 1] = 20.0, -20.0
        change = fitted(table, FitOptions(), more)[0] - weights
        margins = consistent_margins(table)
        told = blocks(table, response @ more)
        for here, part, n in zip(blocks(table, change), told, blocks(table, margins.n), strict=True):
            centred = part - n @ part / n.sum()
            assert here - n @ here / n.sum() == pytest.approx(centred, abs=0.15 * np.abs(response @ more).max())


def test_a_bin_that_holds_nobody_gets_no_weight_from_noise(table) -> None:
    sizes = []
    for seed in range(5):
        features = (replace(FEATURES[0], width=5, alone=(4,)), *FEATURES[1:])
        wider = replace(
            table,
            features=features,
            classes=(np.vstack([table.classes[0], [0.0, 0.0]]), *table.classes[1:]),
            pairs={(f, g): np.vstack([p, np.zeros(p.shape[1])]) if f == 0 else p for (f, g), p in table.pairs.items()},
        )
        noisy = wider.with_gaussian_noise(np.random.default_rng(seed), 10.0, 10.0)
        found = blocks(noisy, fitted(noisy, FitOptions())[0])[0]
        sizes.append(abs(found[4]) / np.ptp(found[:4]))
    assert np.mean(sizes) < 0.5


def test_a_second_fit_gives_the_same_bytes(table) -> None:
    noisy = table.with_gaussian_noise(np.random.default_rng(1), 20.0, 30.0)
    assert fitted(noisy, FitOptions())[0].tobytes() == fitted(noisy, FitOptions())[0].tobytes()
