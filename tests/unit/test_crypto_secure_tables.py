from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from crypto.errors import ExchangeError, NotOneHotError, RangeError
from crypto.layout import KindBlocks, TableLayout
from crypto.manifest import expected_inbox
from crypto.modular import BLOCK_ROWS
from crypto.secure_sum import open_sum
from crypto.secure_tables import (
    CheckedInbox,
    Expected,
    check_inbox,
    check_one_hot,
    expand_seed,
    mask_rows,
    masked_for,
    matrix_sha256,
    node_cells,
    positions_sha256,
    rows_sha256,
    stream_key,
)
from tests.core_federation import (
    H,
    inboxes,
    joined_table,
    make_cohort,
    masked_terms,
    opened_table,
    shares,
    stream_keys,
)

LAYOUT = TableLayout((KindBlocks("bank", (3, 2)), KindBlocks("tax", (4,)), KindBlocks("utility", (2, 2))), "bank")
KEY = b"\5" * 32


@pytest.fixture(scope="module")
def cohort():
    return make_cohort(LAYOUT, (3, 2, 2), 400, seed=5)


def test_the_opened_vector_is_the_joined_table(cohort):
    assert np.array_equal(opened_table(cohort), joined_table(cohort))


def test_many_blocks_and_a_label_kind_in_the_middle():
    layout = TableLayout((KindBlocks("tax", (3,)), KindBlocks("bank", (2,)), KindBlocks("utility", (2,))), "bank")
    cohort = make_cohort(layout, (2, 1, 1), 2 * BLOCK_ROWS + 77, seed=2)
    assert np.array_equal(opened_table(cohort), joined_table(cohort))


def test_noise_passes_through_exactly(cohort):
    rng = np.random.default_rng(0)
    noise = {node: rng.integers(-50, 50, LAYOUT.n_cells) for node, _ in cohort.roster}
    assert np.array_equal(open_sum(masked_terms(cohort, noise)) - joined_table(cohort), sum(noise.values()))


def test_no_single_share_is_the_table(cohort):
    """A node's unmasked share of cross cells is already uniform: the witness's part is missing."""
    parts = shares(cohort, stream_keys(cohort))
    without_witness = sum(parts[node] for node, _ in cohort.roster).view(np.int32)
    wrong = without_witness != joined_table(cohort)
    _, pairs = LAYOUT.split(wrong)
    assert all(table.all() for (f, g), table in pairs.items() if f < 2 <= g)


def test_masked_rows_look_uniform_whatever_the_rows():
    """Chi-square over bytes, with fixed keys, for all-zero and for constant one-hot rows."""
    for X in (np.zeros((9000, 5), np.uint8), np.tile(np.uint8([1, 0, 0, 1, 0]), (9000, 1))):
        M = mask_rows(X, KEY)
        assert stats.chisquare(np.bincount(M.view(np.uint8).ravel(), minlength=256)).pvalue > 1e-4
        columns = M.astype(float) / 2**32
        assert all(stats.kstest(columns[:, c], "uniform").pvalue > 1e-4 for c in range(5))
        correlation = np.corrcoef(columns.T) - np.eye(5)
        assert np.abs(correlation).max() * np.sqrt(9000) < 5


def test_a_repeated_seed_gives_another_stream_in_another_attempt_or_node():
    """Were it not so, the difference of two masked matrices would be the difference of the rows."""
    seed, n, d = b"\3" * 32, 500, 4
    X = np.zeros((n, d), np.uint8)
    changed = X.copy()
    changed[7, 2] = 1
    first = mask_rows(X, stream_key(seed, h=H, attempt="c/1", node="a"))
    assert np.count_nonzero(first - mask_rows(changed, stream_key(seed, h=H, attempt="c/1", node="a"))) == 1
    for other in (
        stream_key(seed, h=H, attempt="c/2", node="a"),
        stream_key(seed, h=H, attempt="c/1", node="b"),
        stream_key(seed, h=b"\1" * 32, attempt="c/1", node="a"),
    ):
        assert np.count_nonzero(first == mask_rows(changed, other)) < 4


def test_streams_expand_by_rows_and_masking_is_undone_by_them():
    rng = np.random.default_rng(1)
    n, d = BLOCK_ROWS + 100, 3
    X = rng.integers(0, 2, (n, d), dtype=np.uint8)
    A = expand_seed(KEY, n, d, 0, n)
    assert np.array_equal(expand_seed(KEY, n, d, 77, BLOCK_ROWS + 3), A[77 : BLOCK_ROWS + 3])
    assert np.array_equal(mask_rows(X, KEY) + A, X)
    for start, stop in ((-1, 2), (2, 1), (0, n + 1)):
        with pytest.raises(RangeError):
            expand_seed(KEY, n, d, start, stop)


def test_masked_for_gives_shared_rows_in_order():
    M = np.arange(8, dtype=np.uint32).reshape(4, 2)
    mine = np.array([2, 5, 6, 9], np.uint32)
    assert masked_for(M, mine, np.array([5, 9], np.uint32)).tolist() == [[2, 3], [6, 7]]
    for bad in ([5, 7], [9, 5], [5, 5], [10]):
        with pytest.raises(ExchangeError):
            masked_for(M, mine, np.array(bad, np.uint32))


# --- the inbox ------------------------------------------------------------------------------------------------------


def inbox_of(cohort, node):
    received = inboxes(cohort, stream_keys(cohort))[node]
    return received, expected_inbox(node, cohort.slices[node], cohort.roster)


def resigned(honest, /, **change):
    """Rows with hashes that fit them: what a lying sender, rather than a lying hub, would sign."""
    rows = replace(honest, **change)
    return replace(rows, positions_sha256=positions_sha256(rows.positions), rows_sha256=rows_sha256(rows.rows))


def tampered(cohort, how):
    received, expected = inbox_of(cohort, "bank-0")
    sender = "tax-0"
    rows = received[sender]
    more = np.concatenate([rows.rows, rows.rows[:1]])
    changes = {
        "altered row": lambda: replace(rows, rows=rows.rows + np.uint32(1)),
        "omitted row": lambda: resigned(rows, rows=rows.rows[1:], positions=rows.positions[1:]),
        "omitted row, positions kept": lambda: resigned(rows, rows=rows.rows[1:]),
        "superfluous row": lambda: resigned(
            rows, rows=more, positions=np.append(rows.positions, rows.positions[-1] + 1).astype(np.uint32)
        ),
        "swapped positions": lambda: resigned(rows, positions=rows.positions[::-1].copy()),
        "header for other positions": lambda: replace(rows, positions_sha256=bytes(32)),
        "other columns": lambda: resigned(rows, rows=rows.rows[:, 1:].copy()),
        "other type": lambda: resigned(rows, rows=rows.rows.astype(np.int64)),
    }
    if how == "missing sender":
        del received[sender]
    elif how == "superfluous sender":
        received["tax-9"] = rows
    elif how == "same-kind sender":
        received["bank-1"] = rows
    else:
        received[sender] = changes[how]()
    return received, expected


@pytest.mark.parametrize(
    "how",
    [
        "altered row",
        "omitted row",
        "omitted row, positions kept",
        "superfluous row",
        "swapped positions",
        "header for other positions",
        "other columns",
        "other type",
        "missing sender",
        "superfluous sender",
        "same-kind sender",
    ],
)
def test_an_inbox_that_is_not_exactly_the_slices_is_refused(cohort, how):
    received, expected = inbox_of(cohort, "bank-0")
    check_inbox(received, expected, LAYOUT)
    with pytest.raises(ExchangeError) as refused:
        check_inbox(*tampered(cohort, how), LAYOUT)
    assert refused.value.field in ("tax-0", "tax-9", "bank-1")


def test_why_an_omitted_row_is_refused_it_would_disclose_bins(cohort):
    """Without the check, the opened total is off in exactly the cells of the receiver's own bins of that row."""
    node, sender = "tax-0", "bank-0"
    received, expected = inbox_of(cohort, node)
    keys, own = stream_keys(cohort), cohort.slices[node]
    whole = check_inbox(received, expected, LAYOUT)
    cut = CheckedInbox(
        {**expected, sender: Expected("bank", expected[sender].positions[1:])},
        {**whole.rows, sender: whole.rows[sender][1:]},
    )
    cells = [node_cells(LAYOUT, "tax", cohort.rows(node), keys[node], box, own.positions) for box in (whole, cut)]
    _, pairs = LAYOUT.split(cells[0] - cells[1])
    victim = cohort.joined["tax"][expected[sender].positions[0]]
    assert victim.any()
    assert np.array_equal(pairs[0, 2].any(axis=0), victim.astype(bool))


def test_node_cells_refuses_two_senders_with_one_merchant_and_own_kind(cohort):
    received, expected = inbox_of(cohort, "bank-0")
    good = check_inbox(received, expected, LAYOUT)
    key, own = stream_keys(cohort)["bank-0"], cohort.slices["bank-0"]
    X = cohort.rows("bank-0")
    shared = replace(expected["tax-1"], positions=expected["tax-0"].positions)
    twice = CheckedInbox({**expected, "tax-1": shared}, {**good.rows, "tax-1": good.rows["tax-0"]})
    with pytest.raises(ExchangeError):
        node_cells(LAYOUT, "bank", X, key, twice, own.positions)
    same = CheckedInbox({"bank-1": Expected("bank", own.positions)}, {"bank-1": X.astype(np.uint32)})
    with pytest.raises(ExchangeError):
        node_cells(LAYOUT, "bank", X, key, same, own.positions)
    with pytest.raises(ExchangeError):
        node_cells(LAYOUT, "bank", X, key, good, own.positions[1:])


# --- the rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "outcomes", "names"),
    [
        ([1, 1, 0, 0, 1], False, "feature 0"),
        ([2, 0, 0, 0, 1], False, "feature 0"),
        ([0, 0, 0, 1, 1], False, "feature 1"),
        ([1, 0, 0, 0, 1, 1, 1, 0], True, "outcomes"),
        ([1, 0, 0, 0, 1, 0, 0, 0], True, "outcomes"),
    ],
)
def test_overweight_rows_are_refused_with_row_and_block(row, outcomes, names):
    good = [0, 1, 0, 1, 0, *([0, 0, 1] if outcomes else [])]
    X = np.array([good] * (BLOCK_ROWS + 5), np.uint8)
    check_one_hot(X, (3, 2), outcomes=outcomes)
    X[BLOCK_ROWS + 2] = row
    with pytest.raises(NotOneHotError) as refused:
        check_one_hot(X, (3, 2), outcomes=outcomes)
    assert refused.value.field == names
    assert f"row {BLOCK_ROWS + 2}" in refused.value.message


def test_absent_blocks_pass_and_a_weight_of_256_does_not_vanish():
    check_one_hot(np.zeros((3, 5), np.uint8), (3, 2), outcomes=False)
    check_one_hot(np.zeros((0, 5), np.uint8), (3, 2), outcomes=False)
    with pytest.raises(NotOneHotError):
        check_one_hot(np.ones((1, 256), np.uint8), (256,), outcomes=False)
    for X in (np.zeros((3, 4), np.uint8), np.zeros((3, 5), np.uint32), np.zeros(5, np.uint8)):
        with pytest.raises(NotOneHotError):
            check_one_hot(X, (3, 2), outcomes=False)


def test_node_cells_encodes_no_overweight_row(cohort):
    X = cohort.rows("bank-0").copy()
    X[0] = 1
    received, expected = inbox_of(cohort, "bank-0")
    inbox = check_inbox(received, expected, LAYOUT)
    with pytest.raises(NotOneHotError):
        node_cells(LAYOUT, "bank", X, KEY, inbox, cohort.slices["bank-0"].positions)


def test_the_frozen_hash_covers_entries_shape_and_positions():
    X = np.zeros((4, 6), np.uint8)
    at = np.arange(4, dtype=np.uint32)
    flipped = X.copy()
    flipped[3, 5] = 1
    hashes = {
        matrix_sha256(X, at),
        matrix_sha256(flipped, at),
        matrix_sha256(X.reshape(6, 4), at),
        matrix_sha256(X, at + 1),
    }
    assert len(hashes) == 4
    assert matrix_sha256(np.asfortranarray(flipped), at) == matrix_sha256(flipped, at)
