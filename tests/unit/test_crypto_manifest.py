import hashlib
import time
from dataclasses import replace

import numpy as np
import pytest

from crypto.blocks import Blocks, even_rows
from crypto.errors import ManifestError
from crypto.layout import KindBlocks, TableLayout
from crypto.manifest import (
    NO_COUNTERPART,
    check_slices,
    expected_inbox,
    holdout_mask,
    manifest_root,
    salted_slice_hash,
    slice_proof,
    terms_proof,
    verify_slice,
    verify_terms,
)
from tests.core_federation import make_cohort

LAYOUT = TableLayout((KindBlocks("bank", (2,)), KindBlocks("tax", (2,)), KindBlocks("utility", (2,))), "bank")
TERMS = b'{"terms":1}'
SLICES = [b"slice-a", b"slice-b", b"slice-c"]
SALTS = [bytes([i]) * 32 for i in range(3)]
HASHES = [salted_slice_hash(salt, data) for salt, data in zip(SALTS, SLICES, strict=True)]
ROOT = manifest_root(TERMS, HASHES)


@pytest.mark.parametrize("index", range(3))
def test_a_node_verifies_its_slice_and_the_terms(index):
    good = {
        "index": index,
        "n_slices": 3,
        "salt": SALTS[index],
        "slice_bytes": SLICES[index],
        "proof": slice_proof(TERMS, HASHES, index),
    }
    verify_slice(ROOT, **good)
    verify_terms(ROOT, terms_bytes=TERMS, n_slices=3, proof=terms_proof(TERMS, HASHES))
    for change in (
        {"slice_bytes": b"another"},
        {"salt": b"\xff" * 32},
        {"index": (index + 1) % 3},
        {"n_slices": 9},
        {"proof": []},
        {"proof": good["proof"][::-1] if len(good["proof"]) > 1 else [bytes(32)]},
    ):
        with pytest.raises(ManifestError):
            verify_slice(ROOT, **{**good, **change})
    with pytest.raises(ManifestError):
        verify_slice(bytes(32), **good)


def test_other_terms_or_slices_give_another_root():
    roots = {
        ROOT,
        manifest_root(TERMS + b" ", HASHES),
        manifest_root(TERMS, HASHES[::-1]),
        manifest_root(TERMS, HASHES[:2]),
        manifest_root(TERMS, [salted_slice_hash(b"\xff" * 32, SLICES[0]), *HASHES[1:]]),
    }
    assert len(roots) == 5
    with pytest.raises(ManifestError):
        verify_terms(ROOT, terms_bytes=TERMS + b" ", n_slices=3, proof=terms_proof(TERMS, HASHES))
    with pytest.raises(ManifestError):
        salted_slice_hash(b"short", SLICES[0])


def test_terms_cannot_pass_as_a_slice():
    forged = manifest_root(TERMS, [*HASHES, hashlib.sha256(TERMS).digest()])
    with pytest.raises(ManifestError):
        verify_slice(
            forged,
            index=3,
            n_slices=4,
            salt=bytes(32),
            slice_bytes=TERMS,
            proof=slice_proof(TERMS, [*HASHES, bytes(32)], 3),
        )


# --- the witness's checks -------------------------------------------------------------------------------------------


def cohort(seed=1):
    return make_cohort(LAYOUT, (3, 2, 2), 60, seed=seed)


def check(made):
    check_slices(made.slices, made.roster, label_kind="bank")


def test_consistent_slices_pass_with_empty_nodes_too():
    for seed in range(5):
        check(cohort(seed))
    made = cohort()
    made.roster.append(("utility-2", "utility"))
    none = np.zeros(0, np.int32)
    empty = replace(
        made.slices["utility-0"],
        positions=np.zeros(0, np.uint32),
        pseudonyms=np.zeros((0, 32), np.uint8),
        counterparts={"bank": none, "tax": none},
    )
    made.slices["utility-2"] = empty
    check(made)


def add_row(own, at, other):
    """`own` with the merchant that `other` holds at its row `at`, and nothing said of its counterparts."""
    position = other.positions[at]
    row = int(np.searchsorted(own.positions, position))
    return replace(
        own,
        positions=np.insert(own.positions, row, position),
        pseudonyms=np.insert(own.pseudonyms, row, other.pseudonyms[at], axis=0),
        counterparts={k: np.insert(v, row, other.counterparts.get(k, v[:1])[0]) for k, v in own.counterparts.items()},
    )


def drop_row(own, at):
    return replace(
        own,
        positions=np.delete(own.positions, at),
        pseudonyms=np.delete(own.pseudonyms, at, axis=0),
        counterparts={k: np.delete(v, at) for k, v in own.counterparts.items()},
    )


def altered(values, at, value):
    values = values.copy()
    values[at] = value
    return values


def counterpart(own, kind, at, value):
    return replace(own, counterparts={**own.counterparts, kind: altered(own.counterparts[kind], at, value)})


def first(values, wanted):
    return int(np.flatnonzero(wanted(values))[0])


def lies(made):
    """name → (altered slices by node, nodes of which one must be named)."""
    s = made.slices
    bank, tax = s["bank-0"], s["tax-0"]
    with_tax = first(bank.counterparts["tax"], lambda c: c != NO_COUNTERPART)
    without_tax = first(bank.counterparts["tax"], lambda c: c == NO_COUNTERPART)
    last = len(s["bank-0"].positions) - 1
    return {
        "a merchant at two banks": ({"bank-1": add_row(s["bank-1"], 0, bank)}, {"bank-0", "bank-1"}),
        "a merchant at two tax bureaus": ({"tax-1": add_row(s["tax-1"], 0, tax)}, {"tax-0", "tax-1"}),
        "a merchant at no bank": ({"bank-0": drop_row(bank, with_tax)}, set(s)),
        "another pseudonym at one place": (
            {"tax-0": replace(tax, pseudonyms=altered(tax.pseudonyms, 0, 7))},
            {"tax-0"},
        ),
        "one pseudonym at two places": (
            {"bank-0": replace(bank, pseudonyms=altered(bank.pseudonyms, without_tax, bank.pseudonyms[last]))},
            set(s),
        ),
        "a counterpart hidden": ({"bank-0": counterpart(bank, "tax", with_tax, NO_COUNTERPART)}, {"bank-0"}),
        "a counterpart invented": ({"bank-0": counterpart(bank, "tax", without_tax, 3)}, {"bank-0"}),
        "a counterpart of another kind": ({"bank-0": counterpart(bank, "tax", with_tax, 1)}, {"bank-0"}),
        "a counterpart outside the roster": ({"bank-0": counterpart(bank, "tax", without_tax, 99)}, {"bank-0"}),
        "positions not ascending": ({"bank-0": replace(bank, positions=bank.positions[::-1].copy())}, {"bank-0"}),
        "a position far outside": (
            {"tax-0": replace(tax, positions=altered(tax.positions, -1, 2**32 - 1))},
            {"tax-0"},
        ),
        "a kind other than the roster's": ({"tax-0": replace(tax, kind="utility")}, {"tax-0"}),
        "a short pseudonym array": ({"tax-0": replace(tax, pseudonyms=tax.pseudonyms[1:])}, {"tax-0"}),
        "no counterparts for a kind": (
            {"tax-0": replace(tax, counterparts={"bank": tax.counterparts["bank"]})},
            {"tax-0"},
        ),
    }


@pytest.mark.parametrize("name", list(lies(cohort())))
def test_the_witness_refuses(name):
    made = cohort()
    changed, suspects = lies(made)[name]
    made.slices.update(changed)
    with pytest.raises(ManifestError) as refused:
        check(made)
    assert refused.value.field in suspects


def test_the_witness_refuses_slices_that_are_not_the_rosters():
    made = cohort()
    with pytest.raises(ManifestError):
        check_slices(made.slices, made.roster[1:], label_kind="bank")
    with pytest.raises(ManifestError):
        check_slices(made.slices, [*made.roster, made.roster[0]], label_kind="bank")
    with pytest.raises(ManifestError):
        check_slices(made.slices, made.roster, label_kind="water")


def test_pseudonyms_ascend_with_positions_to_their_last_byte():
    made = cohort()
    where = np.arange(len(made.pseudonyms), dtype=">u2")
    for node, own in made.slices.items():
        pseudonyms = np.full_like(own.pseudonyms, 200)
        pseudonyms[:, 30:] = where[own.positions].view(np.uint8).reshape(-1, 2)
        made.slices[node] = replace(own, pseudonyms=pseudonyms)
    check(made)
    for node, own in made.slices.items():
        made.slices[node] = replace(own, pseudonyms=255 - own.pseudonyms)
    with pytest.raises(ManifestError):
        check(made)


def test_blocks_add_up_to_the_whole_and_hold_only_their_own_positions():
    made = cohort()
    blocks = Blocks(len(made.pseudonyms), 7)
    found = check_slices(made.slices, made.roster, label_kind="bank")
    parts = [
        check_slices(pieces(made, blocks, block), made.roster, label_kind="bank", span=blocks.span(block))
        for block in range(blocks.count)
    ]
    for kind, members in found.members.items():
        assert sum(part.members[kind] for part in parts) == members
    for pair, members in found.pairs.items():
        assert sum(part.pairs[pair] for part in parts) == members
    assert (parts[0].first, parts[-1].last) == (found.first, found.last)
    with pytest.raises(ManifestError):
        check_slices(pieces(made, blocks, 1), made.roster, label_kind="bank", span=blocks.span(2))
    with pytest.raises(ManifestError):
        check_slices(pieces(made, blocks, 1), made.roster, label_kind="bank", span=(7, 20))
    with pytest.raises(ManifestError):
        blocks.span(blocks.count)


def pieces(made, blocks, block):
    cut = {}
    for node, own in made.slices.items():
        here = blocks.within(own.positions, block)
        named = {kind: index[here] for kind, index in own.counterparts.items()}
        cut[node] = replace(own, positions=own.positions[here], pseudonyms=own.pseudonyms[here], counterparts=named)
    return cut


@pytest.mark.parametrize(
    ("size", "most", "rows", "count"), [(10, 6, 3, 4), (9, 4, 2, 5), (8, 8, 8, 1), (0, 5, 1, 1), (3, 1, 1, 3)]
)
def test_blocks_are_even(size, most, rows, count):
    assert even_rows(size, most) == rows
    assert Blocks(size, even_rows(size, most)).count == count


def test_a_large_cohort_is_checked_quickly():
    made = make_cohort(LAYOUT, (12, 6, 6), 150_000, seed=3)
    started = time.process_time()
    check(made)
    assert time.process_time() - started < 2.0  # measured: 0.06 s


def test_expected_inboxes_are_symmetric_and_refuse_wrong_counterparts():
    made = cohort()
    due = {node: expected_inbox(node, own, made.roster) for node, own in made.slices.items()}
    for node, senders in due.items():
        for sender, rows in senders.items():
            assert rows.kind == made.slices[sender].kind
            assert np.array_equal(rows.positions, due[sender][node].positions)
    bank = made.slices["bank-0"]
    for value in (0, 99, -2):
        with pytest.raises(ManifestError):
            expected_inbox("bank-0", counterpart(bank, "tax", 0, value), made.roster)
    own_kind = {**bank.counterparts, "bank": bank.counterparts["tax"]}
    with pytest.raises(ManifestError):
        expected_inbox("bank-0", replace(bank, counterparts=own_kind), made.roster)


# --- hold-out -------------------------------------------------------------------------------------------------------


def test_holdout_follows_the_written_rule():
    pseudonyms = np.random.default_rng(4).integers(0, 256, (3000, 32), dtype=np.uint8)
    salt = b"terms-hash-of-this-campaign....."
    mask = holdout_mask(pseudonyms, salt, 0.3)
    for row in (0, 1, 2999):
        digest = hashlib.sha256(salt + pseudonyms[row].tobytes()).digest()
        assert mask[row] == (int.from_bytes(digest[:8], "big") / 2**64 < 0.3)
    assert 0.25 < mask.mean() < 0.35
    assert np.all(holdout_mask(pseudonyms, salt, 0.5) >= mask)
    assert not holdout_mask(pseudonyms, salt, 0.0).any()
    assert np.mean(holdout_mask(pseudonyms, b"other" * 4, 0.3) == mask) < 0.7
    assert holdout_mask(pseudonyms[:0], salt, 0.3).shape == (0,)
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(ManifestError):
            holdout_mask(pseudonyms, salt, bad)
