"""How a score is distributed, told from the private table alone: a tree of features and an exact sum over it.

Pairs of features are known, triples are not. The maximum-dependence tree over the features (Chow & Liu 1968) is the
joint distribution that uses F − 1 of the pair blocks as they are; the distribution of z = Σ weights under it
is an exact sum over the tree on a grid of z. It has the heavy tails that a normal approximation lacks (several
rare, bad bins that occur together), which is what the calibration of PD needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from models.fit import Margins
from models.tables import FloatArray, OpenedTable

_CELLS = 2048


@dataclass(frozen=True)
class ScoreDistribution:
    """Probabilities `mass` of the values `z`."""

    z: FloatArray
    mass: FloatArray

    def matched(self, mean: float, variance: float) -> ScoreDistribution:
        """The same shape moved and stretched to a mean and a variance."""
        centre = float(self.mass @ self.z)
        spread = float(np.sqrt(self.mass @ (self.z - centre) ** 2))
        scale = float(np.sqrt(variance)) / spread if spread > 0 else 1.0
        return ScoreDistribution(mean + (self.z - centre) * scale, self.mass)


def score_distribution(table: OpenedTable, margins: Margins, weights: Sequence[FloatArray]) -> ScoreDistribution:
    """Distribution of z over the cohort under the dependence tree."""
    blocks = [_Block(table, margins, index, weights[index]) for index in range(len(table.features))]
    joints = {(f, g): _joint(table, margins, f, g, blocks[f].mass, blocks[g].mass) for f, g in table.pairs}
    order, parents = _tree(len(blocks), joints)
    low = sum(float(block.weights.min()) for block in blocks)
    high = sum(float(block.weights.max()) for block in blocks)
    step = max(high - low, 1e-9) / (_CELLS // 2)
    # Upward pass: for every bin of a node, the spectrum of its subtree's sum; convolution is multiplication.
    frequencies = np.exp(-2j * np.pi * np.arange(_CELLS // 2 + 1) / _CELLS)
    spectra = []
    for block in blocks:
        place = (block.weights - block.weights.min()) / step
        whole = np.floor(place).astype(np.int64)
        part = (place - whole)[:, None]
        lower = frequencies[None, :] ** whole[:, None]
        spectra.append(lower * (1 - part + part * frequencies[None, :]))
    for child in reversed(order[1:]):
        parent = parents[child]
        joint = joints[(parent, child)] if parent < child else joints[(child, parent)].T
        given = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        spectra[parent] = spectra[parent] * (given @ spectra[child])
    root = order[0]
    mass = np.maximum(np.asarray(np.fft.irfft(blocks[root].mass @ spectra[root], n=_CELLS), dtype=np.float64), 0.0)
    return ScoreDistribution(low + step * np.arange(_CELLS, dtype=np.float64), np.asarray(mass / float(mass.sum())))


class _Block:
    """A feature's bins and, last, the bin of merchants absent at its kind (weight 0)."""

    def __init__(self, table: OpenedTable, margins: Margins, index: int, weights: FloatArray) -> None:
        offsets = table.offsets()
        counts = margins.n[offsets[index] : offsets[index + 1]]
        self.mass = np.append(counts, max(margins.size - counts.sum(), 0.0)) / margins.size
        self.weights = np.append(weights, 0.0)


def _joint(table: OpenedTable, margins: Margins, f: int, g: int, row: FloatArray, column: FloatArray) -> FloatArray:
    """Joint probabilities of two features' bins and absences; cells that noise may have made are independent."""
    offsets = table.offsets()
    counts = margins.pairs[offsets[f] : offsets[f + 1], offsets[g] : offsets[g + 1]] / margins.size
    same = table.features[f].kind == table.features[g].kind
    out = np.zeros((row.size, column.size))
    out[:-1, :-1] = counts
    if same:
        out[-1, -1] = row[-1]
    else:
        out[:-1, -1] = row[:-1] - counts.sum(axis=1)
        out[-1, :-1] = column[:-1] - counts.sum(axis=0)
        out[-1, -1] = 1.0 - row[:-1].sum() - column[:-1].sum() + counts.sum()
    expected = np.outer(row, column)
    if same:
        present = max(1.0 - row[-1], 1e-12)
        expected /= present
        expected[-1, :], expected[:, -1], expected[-1, -1] = 0.0, 0.0, row[-1]
    excess = out - expected
    noise = table.sigma_pair / margins.size
    kept = np.maximum(0.0, 1.0 - (2.0 * noise / np.maximum(np.abs(excess), 1e-12)) ** 2)
    joint = np.maximum(expected + kept * excess, 0.0)
    for _ in range(20):
        joint *= (row / np.maximum(joint.sum(axis=1), 1e-300))[:, None]
        joint *= (column / np.maximum(joint.sum(axis=0), 1e-300))[None, :]
    return joint


def _tree(count: int, joints: dict[tuple[int, int], FloatArray]) -> tuple[list[int], list[int]]:
    """Nodes in breadth-first order from feature 0, and each node's parent."""
    if count == 1:
        return [0], [-1]
    cost = np.zeros((count, count))
    for (f, g), joint in joints.items():
        expected = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        positive = joint > 0
        information = float((joint[positive] * np.log(joint[positive] / expected[positive])).sum())
        cost[f, g] = 1.0 / (1e-6 + max(information, 0.0))
    order, parents = breadth_first_order(minimum_spanning_tree(cost), 0, directed=False)
    return [int(node) for node in order], [int(parent) for parent in parents]
