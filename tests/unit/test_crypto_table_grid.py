"""Scales, shares and range of a table's integer grid; slices and parcels as bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crypto.errors import ExchangeError, NoiseError, RangeError
from crypto.layout import KindBlocks, TableLayout
from crypto.manifest import NodeSlice
from crypto.parcel import Parcel, as_array
from crypto.slices import piece_sha256, read_slice, slice_arrays, slice_bytes
from crypto.table_grid import table_delta, table_grid
from tests.noise_size import has_size

LAYOUT = TableLayout((KindBlocks("bank", (3, 2)), KindBlocks("tax", (4,))), "bank")


def test_a_share_of_two_or_more_needs_no_scale() -> None:
    grid = table_grid(16.7, 35.4, n_nodes=24, t_collude=1, cohort_size=150_000, noise=True)
    assert (grid.class_scale, grid.pair_scale) == (1, 1)
    assert math.isclose(grid.class_share, 16.7 / math.sqrt(23))
    assert grid.bound >= 150_000 + 12 * 35.4


def test_a_small_share_is_scaled_by_a_power_of_two_and_divided_again() -> None:
    grid = table_grid(2.68, 40.0, n_nodes=24, t_collude=2, cohort_size=1000, noise=True)
    assert (grid.class_scale, grid.pair_scale) == (4, 1)
    assert 2 <= grid.class_share < 4
    scaled = (np.arange(LAYOUT.n_cells) * grid.scales(LAYOUT)).astype(np.int64)
    assert np.array_equal(grid.counts(LAYOUT, scaled), np.arange(LAYOUT.n_cells))


def test_shares_have_their_own_sigma_for_class_and_pair_cells() -> None:
    layout = TableLayout((KindBlocks("bank", (60,)), KindBlocks("tax", (60,))), "bank")
    grid = table_grid(20.0, 80.0, n_nodes=5, t_collude=1, cohort_size=10, noise=True)
    share = grid.share(layout)
    assert share is not None
    for part, sigma in ((share[: layout.n_class_cells], 10.0), (share[layout.n_class_cells :], 40.0)):
        assert has_size(part, sigma)


def test_without_noise_nothing_is_drawn_or_scaled() -> None:
    grid = table_grid(0.0, 0.0, n_nodes=3, t_collude=1, cohort_size=9, noise=False)
    assert grid.share(LAYOUT) is None
    assert (grid.class_scale, grid.pair_scale, grid.bound) == (1, 1, 9)


def test_a_sum_that_might_wrap_and_too_few_nodes_are_refused() -> None:
    with pytest.raises(RangeError):
        table_grid(10.0, 10.0, n_nodes=3, t_collude=1, cohort_size=2**31 - 50, noise=True)
    with pytest.raises(NoiseError):
        table_grid(10.0, 10.0, n_nodes=2, t_collude=2, cohort_size=100, noise=True)


def test_the_distance_of_shares_is_that_of_the_smallest_allowed() -> None:
    assert 0 < table_delta(24, 5000) < 1e-11
    assert table_delta(24, 5000) > table_delta(24, 50)


def own_slice() -> NodeSlice:
    return NodeSlice(
        kind="bank",
        positions=np.array([0, 2, 5], dtype=np.uint32),
        pseudonyms=np.arange(96, dtype=np.uint8).reshape(3, 32),
        counterparts={"utility": np.array([-1, 4, 4], np.int32), "tax": np.array([2, -1, 3], np.int32)},
    )


def test_slices_travel_whole() -> None:
    own = own_slice()
    back = read_slice(Parcel(arrays=slice_arrays(own, "slice.0.")), "bank", ["bank", "tax", "utility"], "slice.0.")
    assert piece_sha256(back) == piece_sha256(own)


def test_every_part_of_a_slice_is_under_its_bytes() -> None:
    own = own_slice()
    seen = {piece_sha256(own)}
    for name in ("positions", "pseudonyms"):
        changed = getattr(own, name).copy()
        changed.flat[0] ^= 1
        fields = {"kind": own.kind, "positions": own.positions, "pseudonyms": own.pseudonyms, name: changed}
        seen.add(piece_sha256(NodeSlice(**fields, counterparts=own.counterparts)))
    swapped = {"tax": own.counterparts["utility"], "utility": own.counterparts["tax"]}
    seen.add(piece_sha256(NodeSlice(own.kind, own.positions, own.pseudonyms, swapped)))
    seen.add(piece_sha256(NodeSlice("tax", own.positions, own.pseudonyms, own.counterparts)))
    assert len(seen) == 5
    one, two = sorted(seen)[:2]
    whole = {
        slice_bytes(party, kind, pieces)
        for party, kind, pieces in (
            ("bank-1", "bank", [one, two]),
            ("bank-2", "bank", [one, two]),
            ("bank-1", "tax", [one, two]),
            ("bank-1", "bank", [two, one]),
            ("bank-1", "bank", [one]),
        )
    }
    assert len(whole) == 5


def test_a_parcel_refuses_what_is_missing_or_of_another_type() -> None:
    parcel = Parcel({"a": "x"}, {"b": np.zeros(3, np.int64), "to.tax-1": as_array(b"")})
    for ask in (
        lambda: parcel.text("b"),
        lambda: parcel.array("b", np.uint32, 1),
        lambda: parcel.array("b", np.int64, 2),
        lambda: parcel.blob("c"),
    ):
        with pytest.raises(ExchangeError):
            ask()
    assert parcel.names("to.") == {"tax-1": "to.tax-1"}
    assert parcel.blob("to.tax-1") == b""
