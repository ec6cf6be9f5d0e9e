"""Properties of the encoder stage: sensitivity of the rounded sum, order of scores, shape of the specification."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoder_scores import default_probability, encode_feature, log_odds
from models.encoder_spec import EncoderSpec, sensitivity_on_grid

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 400), st.floats(0.01, 10), st.integers(-12, 0), st.floats(0, 1e4))
def test_rounding_once_per_node_keeps_the_sensitivity(
    seed: int, size: int, clip: float, power: int, spread: float
) -> None:
    """Any node sum, with and without one clipped row, rounded once: the difference stays within C/g + √P."""
    rng = np.random.default_rng(seed)
    grid = 2.0**power
    row = rng.standard_normal(size) * rng.random(size) ** 4
    row *= clip / max(np.linalg.norm(row), clip)
    others = rng.standard_normal(size) * spread
    change = np.rint((others + row) / grid) - np.rint(others / grid)
    assert np.linalg.norm(change) <= sensitivity_on_grid(clip, grid, size) * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.01, 5), st.lists(st.floats(-60, 60), min_size=2, max_size=50))
def test_scores_keep_their_order(clip: float, values: list[float]) -> None:
    spec = EncoderSpec(widths=(3,), ordered=(2,), clip=clip)
    logits = np.sort(np.array(values))
    assert (np.diff(log_odds(spec, logits)) >= 0).all()
    probability = default_probability(spec, logits)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(encode_feature(log_odds(spec, logits)).astype(int)) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 255), min_size=1, max_size=6), st.lists(st.integers(1, 40), max_size=4), st.data())
def test_specification_counts_its_parameters(widths: list[int], hidden: list[int], data: st.DataObject) -> None:
    ordered = tuple(data.draw(st.integers(0, width)) for width in widths)
    spec = EncoderSpec(widths=tuple(widths), ordered=ordered, hidden=tuple(hidden))
    expected, before = 0, sum(widths)
    for after in (*hidden, 1):
        expected += before * after
        before = after
    assert spec.n_parameters == expected
    assert EncoderSpec.model_validate_json(spec.model_dump_json()) == spec
