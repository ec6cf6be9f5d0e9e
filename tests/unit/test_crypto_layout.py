import itertools

import numpy as np
import pytest

from crypto.errors import ManifestError
from crypto.layout import KindBlocks, TableLayout

LAYOUT = TableLayout((KindBlocks("tax", (2, 3)), KindBlocks("bank", (4,)), KindBlocks("utility", (2,))), "bank")


def test_order_and_numbers_of_cells():
    assert LAYOUT.widths == (2, 3, 4, 2)
    assert LAYOUT.n_class_cells == 22
    assert LAYOUT.n_pair_cells == 2 * 3 + 2 * 4 + 2 * 2 + 3 * 4 + 3 * 2 + 4 * 2
    assert [LAYOUT.class_slice(f) for f in range(4)] == [slice(0, 4), slice(4, 10), slice(10, 18), slice(18, 22)]
    starts = [LAYOUT.pair_slice(f, g) for f in range(4) for g in range(f + 1, 4)]
    assert starts[0].start == 22
    assert starts[-1].stop == LAYOUT.n_cells
    assert all(a.stop == b.start for a, b in itertools.pairwise(starts))
    assert list(LAYOUT.kind_pairs()) == [("tax", "bank"), ("tax", "utility"), ("bank", "utility")]
    assert [LAYOUT.columns(k) for k in ("tax", "bank", "utility")] == [5, 7, 2]
    assert list(LAYOUT.features_of("bank")) == [2]


def test_own_and_cross_products_fill_every_released_cell_once():
    """Products of all ones: a class cell gets 1 for p and 2 for n0 (two outcome columns), a pair cell 1."""
    total = np.zeros(LAYOUT.n_cells, np.uint32)
    for kind in ("tax", "bank", "utility"):
        d = LAYOUT.columns(kind)
        total += LAYOUT.own_cells(kind, np.ones((d, d), np.uint32))
    for k, later in LAYOUT.kind_pairs():
        total += LAYOUT.cross_cells(k, later, np.ones((LAYOUT.columns(k), LAYOUT.columns(later)), np.uint32))
    classes, pairs = LAYOUT.split(total)
    assert all(np.array_equal(c, np.tile([1, 2], (w, 1))) for c, w in zip(classes, LAYOUT.widths, strict=True))
    assert all(np.all(table == 1) for table in pairs.values())


def test_nothing_inside_a_feature_block_is_released():
    d = LAYOUT.columns("tax")
    product = np.zeros((d, d), np.uint32)
    product[:2, :2] = product[2:, 2:] = 7
    assert not LAYOUT.own_cells("tax", product).any()


def test_class_cells_lie_the_same_way_whether_the_label_kind_is_earlier_or_later():
    product = np.zeros((5, 7), np.uint32)
    product[1, 4:] = [10, 20, 30]
    classes, _ = LAYOUT.split(LAYOUT.cross_cells("tax", "bank", product))
    assert classes[0].tolist() == [[0, 0], [10, 50]]
    product = np.zeros((7, 2), np.uint32)
    product[4:, 0] = [10, 20, 30]
    classes, _ = LAYOUT.split(LAYOUT.cross_cells("bank", "utility", product))
    assert classes[3].tolist() == [[10, 50], [0, 0]]


def test_pairs_are_row_major_and_per_cell_values_follow():
    product = np.arange(10, dtype=np.uint32).reshape(5, 2)
    _, pairs = LAYOUT.split(LAYOUT.cross_cells("tax", "utility", product))
    assert np.array_equal(pairs[0, 3], product[:2])
    assert np.array_equal(pairs[1, 3], product[2:])
    classes, pairs = LAYOUT.split(LAYOUT.per_cell(1.5, 2.5))
    assert all(np.all(c == 1.5) for c in classes)
    assert all(np.all(p == 2.5) for p in pairs.values())


@pytest.mark.parametrize(
    ("kinds", "label"),
    [
        ((KindBlocks("a", (2,)), KindBlocks("a", (2,))), "a"),
        ((KindBlocks("a", (2,)),), "b"),
        ((KindBlocks("a", (2, 1)),), "a"),
        ((KindBlocks("a", ()),), "a"),
    ],
)
def test_refuses_contradictory_layouts(kinds, label):
    with pytest.raises(ManifestError):
        TableLayout(kinds, label)


def test_refuses_products_and_vectors_that_are_not_its_own():
    with pytest.raises(ManifestError):
        LAYOUT.cross_cells("bank", "tax", np.zeros((7, 5), np.uint32))
    with pytest.raises(ManifestError):
        LAYOUT.own_cells("tax", np.zeros((4, 4), np.uint32))
    with pytest.raises(ManifestError):
        LAYOUT.split(np.zeros(LAYOUT.n_cells + 1))
    with pytest.raises(ManifestError):
        LAYOUT.columns("water")
