"""Campaigns in two adjacent worlds, quick enough to run a thousand: one merchant's data, or empty rows at every kind.

Straight over the composed cores that nodes and witness run (`tests.core_federation`), with fresh keys and seeds in
every campaign; noise is off, so that masks alone have to hide the merchant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crypto.keys import BoxKey
from crypto.layout import KindBlocks, TableLayout
from crypto.secure_sum import mask_vector, open_sum, pair_mask, witness_term
from crypto.secure_tables import stream_key
from tests.core_federation import Cohort, inboxes, joined_table, make_cohort, shares

LAYOUT = TableLayout((KindBlocks("bank", (3, 3)), KindBlocks("tax", (3,)), KindBlocks("utility", (3,))), "bank")
MERCHANTS = 40
H = bytes(range(32))
Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Views:
    """What parties see of one campaign before anything is opened.

    Attributes:
        rows: receiver → all words of masked rows that it receives.
        terms: one row per node's term, the witness's last; their sum is the table.
        masks: one row per node: the witness's mask with it, which the witness can take off.
    """

    rows: dict[str, Words]
    terms: Words
    masks: Words


def worlds(seed: int = 1) -> tuple[Cohort, Cohort, int]:
    """World 0 with empty rows of one merchant at every kind, world 1 with its data; and its position.

    The merchant is the first with a node and a set bin at every kind. It keeps its place in the cohort, which is not
    hidden, and a merchant without a record is unlabelled.
    """
    full = make_cohort(LAYOUT, (2, 2, 2), MERCHANTS, seed=seed, missing=0.1)
    everywhere = np.ones(MERCHANTS, dtype=np.bool_)
    for blocks in LAYOUT.kinds:
        held = [own.positions for own in full.slices.values() if own.kind == blocks.kind]
        everywhere &= np.isin(np.arange(MERCHANTS), np.concatenate(held))
        everywhere &= full.joined[blocks.kind][:, : sum(blocks.widths)].sum(axis=1) == len(blocks.widths)
    target = int(np.flatnonzero(everywhere)[0])
    joined = {kind: rows.copy() for kind, rows in full.joined.items()}
    for kind, rows in joined.items():
        rows[target] = 0
        if kind == LAYOUT.label_kind:
            rows[target, -1] = 1
    full.joined["bank"][target, -3:] = [1, 0, 0]
    return replace(full, joined=joined), full, target


def run(cohort: Cohort, rng: np.random.Generator, number: int = 0) -> Views:
    """One campaign under fresh keys and seeds."""
    attempt = f"c{number}/scorecard/1"
    nodes = [node for node, _ in cohort.roster]
    streams = {node: stream_key(rng.bytes(32), h=H, attempt=attempt, node=node) for node in nodes}
    boxes = {node: BoxKey.from_bytes(rng.bytes(32)) for node in nodes}
    witness = BoxKey.from_bytes(rng.bytes(32))
    public = {node: box.public for node, box in boxes.items()}
    received = inboxes(cohort, streams)
    cells = shares(cohort, streams)
    n = cohort.layout.n_cells
    terms = [
        mask_vector(
            cells[node],
            None,
            me=node,
            box=boxes[node],
            peers={peer: key for peer, key in public.items() if peer != node},
            witness_public=witness.public,
            h=H,
            attempt=attempt,
            width=32,
            bound=1 << 20,
        )
        for node in nodes
    ]
    terms.append(witness_term(cells["witness"], box=witness, nodes=public, h=H, attempt=attempt, n=n, width=32))
    masks = [pair_mask(witness, key, h=H, attempt=attempt, n=n, width=32) for key in public.values()]
    nothing = np.zeros(0, dtype=np.uint32)
    rows = {
        node: np.concatenate([nothing, *(got.rows.ravel() for _, got in sorted(inbox.items()))])
        for node, inbox in received.items()
    }
    return Views(rows, np.stack(terms), np.stack(masks))


def opened(views: Views) -> NDArray[np.int64]:
    """The table, which is exact here."""
    return open_sum(list(views.terms), bound=1 << 20)


def exact(cohort: Cohort) -> NDArray[np.int64]:
    """The table of the joined rows."""
    return joined_table(cohort)
