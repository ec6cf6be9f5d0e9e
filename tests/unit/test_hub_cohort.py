"""Cohorts: who is in, who leaves with a lost node, what each node's slice says."""

from __future__ import annotations

import numpy as np

from crypto.keys import BoxKey
from crypto.manifest import check_slices
from crypto.wire.campaign import RosterEntry
from hub.cohort import Cohort, Holding

KINDS = ("bank", "tax")


def entry(party: str, kind: str) -> RosterEntry:
    return RosterEntry(party_id=party, kind=kind, sign_key=BoxKey.generate().public, box_key=BoxKey.generate().public)


NODES = [entry("bank-1", "bank"), entry("bank-2", "bank"), entry("tax-1", "tax"), entry("tax-2", "tax")]


def cohort() -> Cohort:
    pseudonyms = np.array([[9] * 32, [1] * 32, [5] * 32, [3] * 32, [7] * 32], dtype=np.uint8)
    sources = {
        "bank": ["bank-1", "bank-2", None, "bank-1", "bank-9"],
        "tax": ["tax-1", None, "tax-2", "tax-2", "tax-1"],
    }
    return Cohort.form(NODES, KINDS, "bank", pseudonyms, {kind: Holding.of(each) for kind, each in sources.items()})


def test_merchants_without_an_invited_label_node_are_left_out_and_order_tells_nothing() -> None:
    formed = cohort()
    assert formed.pseudonyms[:, 0].tolist() == [1, 3, 9]
    assert formed.holders["bank"].tolist() == [1, 0, 0]
    assert formed.holders["tax"].tolist() == [-1, 3, 2]
    assert formed.members() == {"bank": 3, "tax": 2}
    assert formed.pairs() == {("bank", "tax"): 2}


def test_pseudonyms_are_ordered_by_all_their_bytes() -> None:
    rng = np.random.default_rng(1)
    pseudonyms = rng.integers(0, 256, (200, 32)).astype(np.uint8)
    pseudonyms[100:, :9] = pseudonyms[:100, :9]
    sources = {"bank": Holding.of(["bank-1"] * 200), "tax": Holding.of([None] * 200)}
    formed = Cohort.form(NODES, KINDS, "bank", pseudonyms, sources)
    rows = [row.tobytes() for row in formed.pseudonyms]
    assert rows == sorted(rows)


def test_a_lost_bank_takes_its_merchants_along_a_lost_tax_bureau_does_not() -> None:
    without_bank = cohort().without({"bank-1"})
    assert [node.party_id for node in without_bank.nodes] == ["bank-2", "tax-1", "tax-2"]
    assert without_bank.size == 1
    without_tax = cohort().without({"tax-1"})
    assert without_tax.size == 3
    assert without_tax.holders["tax"].tolist() == [-1, 2, -1]
    assert without_tax.holders["bank"].tolist() == [1, 0, 0]


def test_slices_pass_the_witnesss_checks_also_after_losses() -> None:
    for each in (cohort(), cohort().without({"tax-2"}), cohort().without({"bank-2"})):
        roster = [(node.party_id, node.kind) for node in each.nodes]
        slices = {node.party_id: each.slice_of(index) for index, node in enumerate(each.nodes)}
        check_slices(slices, roster, label_kind="bank")


def test_the_training_part_has_no_held_out_merchant() -> None:
    pseudonyms = np.random.default_rng(2).integers(0, 256, (500, 32)).astype(np.uint8)
    whole = Cohort.form(
        NODES, KINDS, "bank", pseudonyms, {"bank": Holding.of(["bank-1"] * 500), "tax": Holding.of(["tax-1"] * 500)}
    )
    part = whole.training(b"s" * 16, 0.3)
    assert 300 < part.size < 400
    assert part.training(b"s" * 16, 0.3).size == part.size
    assert whole.training(b"s" * 16, 0.0).size == 500
