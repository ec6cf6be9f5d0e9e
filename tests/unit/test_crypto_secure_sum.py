import itertools

import numpy as np
import pytest
from scipy import stats

from crypto.errors import AttemptError, RangeError
from crypto.keys import BoxKey
from crypto.secure_sum import mask_vector, open_sum, pair_mask, sum_bound, witness_term

H = bytes(32)
NODES = ("a", "b", "c", "d")
BOXES = {node: BoxKey.from_bytes(bytes([i + 1]) * 32) for i, node in enumerate((*NODES, "w"))}
PUBLIC = {node: BOXES[node].public for node in NODES}
BOUND = 1 << 30


def term(node, values, noise=None, *, h=H, attempt="c/1", width=32, bound=BOUND, box=None, peers=None):
    return mask_vector(
        np.asarray(values),
        noise,
        me=node,
        box=box or BOXES[node],
        peers=peers if peers is not None else {p: k for p, k in PUBLIC.items() if p != node},
        witness_public=BOXES["w"].public,
        h=h,
        attempt=attempt,
        width=width,
        bound=bound,
    )


def witness(n, values=None, *, h=H, attempt="c/1", width=32, nodes=PUBLIC):
    return witness_term(values, box=BOXES["w"], nodes=nodes, h=h, attempt=attempt, n=n, width=width)


@pytest.mark.parametrize("width", [32, 64])
def test_the_total_opens_with_noise_and_the_witness_part(width):
    rng = np.random.default_rng(1)
    limit = 1 << (width - 4)
    values = {node: rng.integers(-limit, limit, 50) for node in NODES}
    noise = {node: rng.integers(-99, 99, 50) for node in NODES}
    part = rng.integers(-limit, limit, 50)
    bound = (1 << (width - 1)) - 1
    terms = [term(n, values[n], noise[n], width=width, bound=bound) for n in NODES]
    terms.append(witness(50, part, width=width))
    want = sum(values.values()) + sum(noise.values()) + part
    if width == 32:
        want = want.astype(np.int32).astype(np.int64)
    assert np.array_equal(open_sum(terms), want)


def test_both_ends_of_a_pair_derive_one_mask_bound_to_its_context():
    mask = pair_mask(BOXES["a"], PUBLIC["b"], h=H, attempt="c/1", n=64, width=32)
    assert np.array_equal(mask, pair_mask(BOXES["b"], PUBLIC["a"], h=H, attempt="c/1", n=64, width=32))
    others = [
        pair_mask(BOXES["a"], PUBLIC["b"], h=b"\1" * 32, attempt="c/1", n=64, width=32),
        pair_mask(BOXES["a"], PUBLIC["b"], h=H, attempt="c/2", n=64, width=32),
        pair_mask(BOXES["a"], PUBLIC["c"], h=H, attempt="c/1", n=64, width=32),
        pair_mask(BOXES["a"], PUBLIC["b"], h=H, attempt="c/1", n=64, width=64).astype(np.uint32),
    ]
    assert all(np.count_nonzero(mask == other) < 4 for other in others)
    with pytest.raises(AttemptError):
        pair_mask(BOXES["a"], PUBLIC["b"], h=b"short", attempt="c/1", n=1, width=32)


def test_all_or_nothing_any_proper_subset_of_terms_is_noise():
    values = np.zeros(400, np.int64)
    terms = [term(n, values) for n in NODES] + [witness(400)]
    assert not open_sum(terms).any()
    for size in range(1, 5):
        for some in itertools.combinations(terms, size):
            total = some[0].copy()
            for other in some[1:]:
                total += other
            assert np.count_nonzero(total) == 400
            with pytest.raises(RangeError):
                open_sum(some, bound=1000)


@pytest.mark.parametrize("change", [{"h": b"\1" * 32}, {"attempt": "c/2"}, {"box": BoxKey.from_bytes(b"\x77" * 32)}])
def test_a_term_of_another_attempt_opens_to_nothing(change):
    values = np.zeros(100, np.int64)
    terms = [term(n, values) for n in NODES[1:]] + [term("a", values, **change), witness(100)]
    with pytest.raises(RangeError):
        open_sum(terms, bound=1000)


def test_the_hubs_view_of_one_term_is_uniform():
    """Chi-square over bytes with fixed keys; the same values twice under two attempts share nothing."""
    values = np.arange(20_000) % 7
    first, second = term("b", values), term("b", values, attempt="c/2")
    for view in (first, second, first - second):
        counts = np.bincount(view.view(np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_values_and_noise_are_range_checked_never_wrapped():
    zero = np.zeros(3, np.int64)
    with pytest.raises(RangeError):
        term("a", [0, 0, 101], bound=100)
    with pytest.raises(RangeError):
        term("a", zero, np.array([0, -101, 0]), bound=100)
    with pytest.raises(RangeError):
        term("a", zero, zero[:2])
    with pytest.raises(RangeError):
        term("a", zero, bound=1 << 31)
    with pytest.raises(RangeError):
        term("a", np.zeros(3, np.float64))
    with pytest.raises(RangeError):
        term("a", np.zeros(3, np.uint64))
    with pytest.raises(RangeError):
        witness(4, zero)
    with pytest.raises(RangeError):
        witness(3, np.array([0, 0, 1 << 31]))


def test_inputs_are_not_changed():
    values = np.zeros(5, np.uint32)
    term("a", values)
    witness(5, values)
    first, second = np.ones(2, np.uint32), np.ones(2, np.uint32)
    open_sum([first, second])
    assert not values.any()
    assert first.tolist() == [1, 1]


def test_sum_bound_leaves_room_for_twelve_sigmas():
    assert sum_bound(1000, 10.5, width=32) == 1126
    with pytest.raises(RangeError):
        sum_bound((1 << 31) - 121, 10.1, width=32)
    assert sum_bound((1 << 31) - 121, 10.1, width=64)


@pytest.mark.parametrize(
    "peers",
    [
        {},
        {"a": PUBLIC["b"]},
        {"b": PUBLIC["b"], "c": PUBLIC["b"]},
        {"b": BOXES["a"].public},
        {"b": BOXES["w"].public},
    ],
)
def test_refuses_reflected_and_repeated_keys(peers):
    with pytest.raises(AttemptError):
        term("a", np.zeros(2, np.int64), peers=peers)


def test_open_refuses_terms_that_do_not_belong_together():
    for terms in (
        [],
        [np.zeros(2, np.uint32), np.zeros(3, np.uint32)],
        [np.zeros(2, np.uint32), np.zeros(2, np.uint64)],
    ):
        with pytest.raises(AttemptError):
            open_sum(terms)
