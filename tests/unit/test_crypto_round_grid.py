"""The integer grid of encoder rounds: shares add up to σ, sums cannot wrap, and ids of tries are their own."""

from __future__ import annotations

import math

import pytest

from crypto.errors import NoiseError, RangeError
from crypto.round_grid import round_grid, try_id
from crypto.wire.base import SUITE
from crypto.wire.campaign import EncoderTerms, RoundOrder
from tests.noise_size import has_size


def terms(**changes: object) -> EncoderTerms:
    fields: dict[str, object] = {
        "kind": "bank",
        "spec": "{}",
        "parameters": 50,
        "rounds": 10,
        "charged_attempts": 13,
        "sigma_grid": 1000.0,
        "grid": 2.0**-20,
        "clip": 0.5,
    }
    return EncoderTerms.model_validate(fields | changes)


def test_shares_of_honest_nodes_reach_sigma() -> None:
    grid = round_grid(terms(), n_nodes=5, t_collude=1, cohort_size=100, noise=True)
    assert grid.share_sigma * math.sqrt(4) == pytest.approx(1000.0)
    assert grid.delta_sum < 1e-100
    share = grid.share()
    assert share is not None
    assert share.shape == (50,)
    assert has_size(share, 500.0)


def test_the_bound_holds_every_row_at_its_largest_and_the_noise() -> None:
    grid = round_grid(terms(), n_nodes=5, t_collude=1, cohort_size=100, noise=True)
    assert grid.bound >= 100 * (2**19 + 1) + 12 * 1000
    quiet = round_grid(terms(sigma_grid=0.0), n_nodes=5, t_collude=1, cohort_size=100, noise=False)
    assert quiet.share() is None
    assert quiet.bound == 100 * (2**19 + 1)


def test_sums_that_might_wrap_and_noise_that_is_too_coarse_are_refused() -> None:
    with pytest.raises(RangeError):
        round_grid(terms(grid=2.0**-50), n_nodes=5, t_collude=1, cohort_size=1 << 20, noise=True)
    with pytest.raises(NoiseError):
        round_grid(terms(sigma_grid=3.0), n_nodes=5, t_collude=1, cohort_size=100, noise=True)
    with pytest.raises(NoiseError):
        round_grid(terms(), n_nodes=2, t_collude=2, cohort_size=100, noise=True)


def test_every_try_has_an_id_of_its_own() -> None:
    ids = {
        try_id(
            RoundOrder(
                suite=SUITE, attempt="c/encoder/1", h=bytes(32), round=at, number=number, parameters_sha256=bytes(32)
            )
        )
        for at in range(12)
        for number in range(12)
    }
    assert len(ids) == 144
    assert "c/encoder/1/11.1" in ids
