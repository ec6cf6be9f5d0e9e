"""Whatever the weights and the noise, points stay within the published bounds and the artefact is canonical."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.accounting import calibrate_tables
from models.codes import ABSENT
from models.errors import FitError
from models.fit import LinearFit
from models.scorecard import Calibration, check_bounds, points_range
from models.scorecard_fit import to_points, train
from models.tables import cells, from_vector
from tests.credit_world import FEATURES, draw_cohort

_EXACT = draw_cohort(3_000, seed=1, absent={"tax": 0.2}).table()
_NOISE = calibrate_tables(len(FEATURES), 1.0, 1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(1e-3, 30),
    slope=st.floats(-1, 5),
    intercept=st.floats(-8, 4),
)
@settings(max_examples=100, deadline=None)
def test_any_weights_give_scores_within_bounds(seed: int, size: float, slope: float, intercept: float) -> None:
    rng = np.random.default_rng(seed)
    weights = tuple(rng.normal(0, size, feature.width) for feature in FEATURES)
    card = to_points(FEATURES, LinearFit(weights, 0.0, 1.0, 0.1, 0.1), Calibration(intercept, slope))
    check_bounds(card)
    low, high = points_range(card.features, card.absent)
    codes = {
        kind: np.stack([rng.integers(0, f.width, 50) for f in FEATURES if f.kind == kind], axis=1)
        for kind in ("bank", "tax", "utility")
    }
    codes["tax"][::3] = ABSENT
    scores = card.score(codes)
    assert np.array_equal(scores - card.base, sum(card.kind_points(kind, codes[kind]) for kind in card.kinds))
    assert ((scores - card.base >= low) & (scores - card.base <= high)).all()
    assert (np.diff(card.pd_of(np.arange(300, 851))) <= 0).all()


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.0, 20.0))
@settings(max_examples=40, deadline=None)
def test_any_noise_gives_a_valid_scorecard_or_a_typed_refusal(seed: int, factor: float) -> None:
    table = _EXACT.with_gaussian_noise(
        np.random.default_rng(seed), factor * _NOISE.sigma_class, factor * _NOISE.sigma_pair
    )
    try:
        card = train(table)
    except FitError as problem:
        remedy, card = problem.remedy, None
    else:
        remedy = None
        check_bounds(card)
        assert train(table) == card
    assert card is not None or remedy


@given(values=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_any_vector_round_trips(values: int) -> None:
    vector = np.random.default_rng(values).integers(-(2**31), 2**31, cells(FEATURES))
    table = from_vector(
        vector,
        FEATURES,
        cohort_size=_EXACT.cohort_size,
        kind_totals=_EXACT.kind_totals,
        pair_totals=_EXACT.pair_totals,
        sigma_class=1.0,
        sigma_pair=1.0,
    )
    assert np.array_equal(table.to_vector(), vector)
