"""A small federation of the composed cores: random cohorts, and one attempt run from slices to the opened table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crypto.blocks import Blocks
from crypto.keys import BoxKey
from crypto.layout import TableLayout
from crypto.manifest import NO_COUNTERPART, NodeSlice, expected_inbox
from crypto.secure_sum import mask_vector, open_sum, witness_term
from crypto.secure_tables import (
    Expected,
    ReceivedRows,
    SeededNode,
    check_inbox,
    mask_rows,
    masked_for,
    node_cells,
    positions_sha256,
    rows_sha256,
    stream_key,
    witness_cells,
)

H = bytes(range(32))
ATTEMPT = "c1/scorecard/1"


@dataclass
class Cohort:
    """Joined 0/1 data by kind (all-zero rows where a kind lacks a merchant), and how nodes split it."""

    layout: TableLayout
    roster: list[tuple[str, str]]
    joined: dict[str, NDArray[np.uint8]]
    slices: dict[str, NodeSlice]
    pseudonyms: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 32), np.uint8))

    def rows(self, node: str) -> NDArray[np.uint8]:
        own = self.slices[node]
        return self.joined[own.kind][own.positions]


def one_hot(rng: np.random.Generator, n: int, widths: Sequence[int], *, absent: float) -> NDArray[np.uint8]:
    blocks = []
    for width in widths:
        block = np.eye(width, dtype=np.uint8)[rng.integers(0, width, n)]
        block[rng.random(n) < absent] = 0
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def make_cohort(
    layout: TableLayout,
    nodes_per_kind: Sequence[int],
    n: int,
    *,
    seed: int = 0,
    missing: float = 0.3,
    unlabelled: float = 0.2,
) -> Cohort:
    """Every merchant is at one label node; at each other kind at one node or none; nodes are of uneven size."""
    rng = np.random.default_rng(seed)
    roster = [(f"{b.kind}-{i}", b.kind) for b, m in zip(layout.kinds, nodes_per_kind, strict=True) for i in range(m)]
    joined, holder = {}, {}
    for blocks, m in zip(layout.kinds, nodes_per_kind, strict=True):
        share = rng.dirichlet(np.ones(m))
        first = next(i for i, (_, kind) in enumerate(roster) if kind == blocks.kind)
        at = (first + rng.choice(m, size=n, p=share)).astype(np.int32)
        X = one_hot(rng, n, blocks.widths, absent=0.1)
        if blocks.kind == layout.label_kind:
            outcome = np.where(rng.random(n) < unlabelled, 2, rng.integers(0, 2, n))
            X = np.concatenate([X, np.eye(3, dtype=np.uint8)[outcome]], axis=1)
        else:
            at[rng.random(n) < missing] = NO_COUNTERPART
        X[at == NO_COUNTERPART] = 0
        joined[blocks.kind], holder[blocks.kind] = X, at
    pseudonyms = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    pseudonyms = pseudonyms[np.lexsort(pseudonyms.T[::-1])]
    slices = {}
    for index, (node, kind) in enumerate(roster):
        positions = np.flatnonzero(holder[kind] == index).astype(np.uint32)
        counterparts = {k: at[positions] for k, at in holder.items() if k != kind}
        slices[node] = NodeSlice(kind, positions, pseudonyms[positions], counterparts)
    return Cohort(layout, roster, joined, slices, pseudonyms)


def joined_table(cohort: Cohort) -> NDArray[np.int64]:
    """The table of the joined data, counted plainly."""
    layout, cells, blocks = cohort.layout, [], []
    outcomes = cohort.joined[layout.label_kind][:, -3:].astype(np.int64)
    for kind in layout.kinds:
        at = 0
        for width in kind.widths:
            blocks.append(cohort.joined[kind.kind][:, at : at + width].astype(np.int64))
            at += width
    for block in blocks:
        cells.append(np.stack([block.T @ outcomes[:, 0], block.T @ (outcomes[:, 1] + outcomes[:, 2])], 1).ravel())
    for f, left in enumerate(blocks):
        cells += [(left.T @ right).ravel() for right in blocks[f + 1 :]]
    return np.concatenate(cells)


def stream_keys(cohort: Cohort, *, attempt: str = ATTEMPT) -> dict[str, bytes]:
    seeds = {node: bytes([index + 1]) * 32 for index, (node, _) in enumerate(cohort.roster)}
    return {node: stream_key(seed, h=H, attempt=attempt, node=node) for node, seed in seeds.items()}


def inboxes(
    cohort: Cohort, keys: dict[str, bytes], blocks: Blocks | None = None, block: int = 0
) -> dict[str, dict[str, ReceivedRows]]:
    """T2: what every node receives of a block."""
    blocks = blocks or whole(cohort)
    received: dict[str, dict[str, ReceivedRows]] = {node: {} for node, _ in cohort.roster}
    for sender, own in cohort.slices.items():
        here = blocks.within(own.positions, block)
        M = mask_rows(cohort.rows(sender)[here], keys[sender], first_row=here.start)
        for receiver, due in due_in(expected_inbox(sender, own, cohort.roster), blocks, block).items():
            rows = masked_for(M, own.positions[here], due.positions)
            received[receiver][sender] = ReceivedRows(
                due.positions, rows, positions_sha256(due.positions), rows_sha256(rows)
            )
    return received


def due_in(expected: Mapping[str, Expected], blocks: Blocks, block: int) -> dict[str, Expected]:
    """What must come from every counterpart that shares merchants of a block; nothing from the others."""
    due = {}
    for party, whole in expected.items():
        positions = whole.positions[blocks.within(whole.positions, block)]
        if len(positions):
            due[party] = Expected(whole.kind, positions)
    return due


def whole(cohort: Cohort) -> Blocks:
    """The cohort as one block."""
    size = len(cohort.pseudonyms)
    return Blocks(size, size)


def shares(cohort: Cohort, keys: dict[str, bytes], blocks: Blocks | None = None) -> dict[str, NDArray[np.uint32]]:
    """T3 and T3′ before masking: every node's share of the cells, and the witness's."""
    blocks = blocks or whole(cohort)
    cells = {node: np.zeros(cohort.layout.n_cells, dtype=np.uint32) for node, _ in cohort.roster}
    for block in range(blocks.count):
        received = inboxes(cohort, keys, blocks, block)
        for node, kind in cohort.roster:
            own = cohort.slices[node]
            here = blocks.within(own.positions, block)
            due = due_in(expected_inbox(node, own, cohort.roster), blocks, block)
            inbox = check_inbox(received[node], due, cohort.layout)
            X = cohort.rows(node)[here]
            cells[node] += node_cells(
                cohort.layout, kind, X, keys[node], inbox, own.positions[here], first_row=here.start
            )
    seeded = {node: SeededNode(s.kind, s.positions, keys[node]) for node, s in cohort.slices.items()}
    cells["witness"] = witness_cells(cohort.layout, seeded)
    return cells


def masked_terms(
    cohort: Cohort,
    noise: dict[str, NDArray[np.int64]] | None = None,
    *,
    bound: int = 1 << 20,
    blocks: Blocks | None = None,
) -> list[NDArray[np.uint32]]:
    """All terms of one attempt: nodes in order of the roster, the witness last."""
    boxes = {node: BoxKey.from_bytes(bytes([index + 1]) * 32) for index, (node, _) in enumerate(cohort.roster)}
    witness = BoxKey.from_bytes(b"\xee" * 32)
    public = {node: box.public for node, box in boxes.items()}
    cells = shares(cohort, stream_keys(cohort), blocks)
    terms = [
        mask_vector(
            cells[node],
            noise[node] if noise else None,
            me=node,
            box=boxes[node],
            peers={p: key for p, key in public.items() if p != node},
            witness_public=witness.public,
            h=H,
            attempt=ATTEMPT,
            width=32,
            bound=bound,
        )
        for node, _ in cohort.roster
    ]
    n = cohort.layout.n_cells
    terms.append(witness_term(cells["witness"], box=witness, nodes=public, h=H, attempt=ATTEMPT, n=n, width=32))
    return terms


def opened_table(cohort: Cohort) -> NDArray[np.int64]:
    return open_sum(masked_terms(cohort), bound=1 << 20)
