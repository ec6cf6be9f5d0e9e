"""Monotone features: points never go against the declared risk, whatever the table and its noise say."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import linalg, optimize

from models.accounting import calibrate_tables
from models.errors import ArtefactError, FitError
from models.evaluation import auc
from models.feature import BinAxis
from models.fit import fit
from models.fit_options import FitOptions
from models.margins import consistent_margins
from models.monotone import bounded_least_squares, isotonic, restrained_fit
from models.prior import kernel, prior_root
from models.scorecard import FeaturePoints, check_monotone
from models.scorecard_fit import train
from models.tables import FeatureBins, OpenedTable, from_codes, joined_codes
from tests.credit_world import FEATURES, Cohort, draw_cohort

DIRECTIONS = {"late": "increasing", "use": "increasing", "income": "decreasing", "power": "decreasing"}
NOISE = calibrate_tables(len(FEATURES), 1.0, 1e-5)


def declared(table: OpenedTable, directions: dict[str, str]) -> OpenedTable:
    features = tuple(dataclasses.replace(each, monotone=directions.get(each.name)) for each in table.features)
    return dataclasses.replace(table, features=features)


def noisy(cohort: Cohort, seed: int, times: float = 1.0) -> OpenedTable:
    rng = np.random.default_rng(seed)
    return cohort.table().with_gaussian_noise(rng, times * NOISE.sigma_class, times * NOISE.sigma_pair)


def risk(weights: tuple[NDArray[np.float64], ...], cohort: Cohort) -> NDArray[np.float64]:
    joined = joined_codes(FEATURES, cohort.codes, len(cohort.outcomes))
    return np.sum([np.append(part, 0.0)[joined[:, f]] for f, part in enumerate(weights)], axis=0)


@pytest.fixture(scope="module")
def training() -> Cohort:
    return draw_cohort(20_000, seed=101)


@st.composite
def random_tables(draw: st.DrawFn) -> OpenedTable:
    """Features of all shapes with random directions, over rows whose risk follows none of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = []
    for index in range(draw(st.integers(1, 4))):
        width = draw(st.integers(3, 9))
        alone = tuple(sorted({width - 1, *draw(st.lists(st.integers(0, width - 1), max_size=2))}))
        direction = draw(st.sampled_from(["increasing", "decreasing", None]))
        features.append(FeatureBins("bank", f"f{index}", width, ordinal=True, alone=alone, monotone=direction))
    axes = (BinAxis(3, (2,)), BinAxis(4, (3,)))
    features.append(FeatureBins("tax", "pair", 12, ordinal=False, alone=tuple(range(12)), axes=axes))
    rows = 3_000
    widths = [each.width for each in features]
    codes = np.column_stack([rng.integers(width, size=rows) for width in widths])
    effects = [rng.normal(size=width) for width in widths]
    logits = -2 + sum(effect[codes[:, at]] for at, effect in enumerate(effects))
    outcomes = np.where(rng.random(rows) < 1 / (1 + np.exp(-logits)), 0, 1)
    table = from_codes(features, {"bank": codes[:, :-1], "tax": codes[:, -1:]}, outcomes)
    sigma = draw(st.sampled_from([0.0, 5.0, 40.0]))
    return table.with_gaussian_noise(rng, sigma, sigma) if sigma else table


@settings(max_examples=60)
@given(random_tables())
def test_points_are_monotone_exactly_after_rounding(table: OpenedTable) -> None:
    try:
        card = train(table)
    except FitError:
        return  # noise, or the directions, left no association
    check_monotone(card)
    for entry in card.features:
        ordered = np.array([entry.points[bin] for bin in entry.feature.ordered])
        if entry.feature.monotone == "increasing":
            assert (np.diff(ordered) <= 0).all()
        if entry.feature.monotone == "decreasing":
            assert (np.diff(ordered) >= 0).all()


def test_a_second_fit_gives_the_same_bytes(training) -> None:
    table = declared(noisy(training, 3), DIRECTIONS)
    one, two = fit(table), fit(table)
    assert [part.tobytes() for part in one.weights] == [part.tobytes() for part in two.weights]
    assert train(table) == train(table)


def test_directions_that_already_hold_change_nothing(training) -> None:
    table, options = training.table(), FitOptions(woe_share=0.0)
    free = fit(table, options)
    held = {}
    for feature, weights in zip(table.features, free.weights, strict=True):
        steps = np.diff(weights[list(feature.ordered)])
        if len(steps) and (np.all(steps > 0) or np.all(steps < 0)):
            held[feature.name] = "increasing" if steps[0] > 0 else "decreasing"
    assert len(held) >= 2
    bound = fit(declared(table, held), options)
    for one, other in zip(free.weights, bound.weights, strict=True):
        assert np.abs(one - other).max() <= 2e-6
    assert bound.covariance == pytest.approx(free.covariance, rel=1e-6)


def test_noise_is_undone_at_no_cost_of_rank(training) -> None:
    test = draw_cohort(20_000, seed=102)
    losses = []
    for seed in range(6):
        table = noisy(training, seed, times=2.0)
        free, bound = fit(table), fit(declared(table, DIRECTIONS))
        aucs = [auc(-risk(each.weights, test), test.outcomes) for each in (free, bound)]
        losses.append(aucs[0] - aucs[1])
        assert bound.covariance == pytest.approx(np.cov(risk(bound.weights, test), test.outcomes == 0)[0, 1], rel=0.25)
    assert np.mean(losses) < 0.002


def test_a_direction_against_the_data_leaves_the_feature_flat(training) -> None:
    card = train(declared(training.table(), {"use": "decreasing"}))
    use = next(entry for entry in card.features if entry.feature.name == "use")
    assert np.ptp([use.points[bin] for bin in use.feature.ordered]) <= 2
    assert use.points[-1] != use.points[0]  # the missing bin is free


def test_the_restrained_fit_is_the_optimum(training) -> None:
    """Against a general solver, over the same objective."""
    table = declared(noisy(training, 1), {"late": "decreasing", "income": "decreasing"})
    margins, options = consistent_margins(table), FitOptions()
    n, p, size = margins.n, margins.p, margins.size
    covariance, response = margins.pairs - np.outer(n, n) / size, p - n * margins.defaults / size
    root = prior_root(table, margins, options)
    values, vectors = linalg.eigh(root.T @ covariance @ root)
    values = np.maximum(values, 0)
    ours = restrained_fit(table.features, root, values, vectors, response).weights
    inverse = linalg.inv(root)
    hessian = inverse.T @ (vectors @ np.diag(values + 1) @ vectors.T) @ inverse

    def loss(weights: NDArray[np.float64]) -> float:
        return float(weights @ hessian @ weights / 2 - response @ weights)

    rules = []
    offsets = table.offsets()
    for at, feature in enumerate(table.features):
        sign = {"increasing": 1.0, "decreasing": -1.0, None: 0.0}[feature.monotone]
        line = offsets[at] + np.array(feature.ordered, dtype=int)
        for before, after in itertools.pairwise(line):
            if sign:
                row = np.zeros(table.columns)
                row[[before, after]] = -sign, sign
                rules.append(row)
    scale = np.sqrt(np.diag(hessian))
    found = optimize.minimize(
        lambda x: loss(x / scale),
        ours * scale * 0.9,
        jac=lambda x: (hessian @ (x / scale) - response) / scale,
        constraints={
            "type": "ineq",
            "fun": lambda x: np.array(rules) @ (x / scale),
            "jac": lambda x: np.array(rules) / scale,
        },
        method="SLSQP",
        options={"maxiter": 2000, "ftol": 1e-14},
    )
    assert loss(ours) <= loss(found.x / scale) + 1e-6 * abs(loss(ours))
    assert (np.array(rules) @ ours >= 0).all()


def test_scores_are_pooled_by_their_counts() -> None:
    feature = FeatureBins("bank", "f", 4, ordinal=True, alone=(3,), monotone="increasing")
    scores, shares = isotonic(feature, np.array([1.0, 3.0, 0.0, -5.0]), np.array([10.0, 10.0, 30.0, 5.0]))
    assert scores.tolist() == [0.8, 0.8, 0.8, -5.0]
    assert shares.tolist() == [0.2, 0.2, 0.6, 1.0]
    free = dataclasses.replace(feature, monotone=None)
    assert isotonic(free, np.array([1.0, 3.0, 0.0, -5.0]), np.ones(4))[0].tolist() == [1.0, 3.0, 0.0, -5.0]


def test_bounds_are_kept_exactly() -> None:
    rng = np.random.default_rng(0)
    design, target = rng.normal(size=(30, 8)), rng.normal(size=30)
    found = bounded_least_squares(design, target, np.array([-np.inf] * 4 + [0.0] * 4))
    assert (found[4:] >= 0).all()
    slope = design.T @ (design @ found - target)
    assert np.abs(slope[:4]).max() < 1e-9
    assert (np.where(found[4:] > 0, np.abs(slope[4:]), np.minimum(slope[4:], 0) * -1) < 1e-9).all()


def test_an_artefact_with_points_against_the_declaration_is_refused(training) -> None:
    card = train(declared(training.table(), DIRECTIONS))
    late = card.features[0]
    points = (late.points[1], late.points[0], *late.points[2:])
    altered = dataclasses.replace(card, features=(FeaturePoints(late.feature, points), *card.features[1:]))
    with pytest.raises(ArtefactError, match="late are not monotone"):
        check_monotone(altered)


def test_a_line_of_bins_is_as_alike_as_before() -> None:
    feature = FeatureBins("bank", "f", 4, ordinal=True, alone=(3,))
    near = kernel(feature, FitOptions(reach=4.0))
    assert near[0].tolist() == pytest.approx([1, np.exp(-0.25), np.exp(-0.5), 0])
    assert near[3].tolist() == [0, 0, 0, 1]
