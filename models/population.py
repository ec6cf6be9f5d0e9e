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
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from models.margins import Margins
from models.tables import FloatArray, OpenedTable

ComplexArray = NDArray[np.complex128]

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
    return DependenceTree(table, margins).distribution(weights)


class DependenceTree:
    """The tree of a table's features, for sums of weights of merchants' bins; a merchant absent at a kind adds 0.

    Sums are exact but for a grid of z: every weight is shared among the two cells beside it. A convolution of
    distributions is a product of their spectra.
    """

    def __init__(self, table: OpenedTable, margins: Margins) -> None:
        self._masses = [bin_shares(table, margins, index) for index in range(len(table.features))]
        self._joints = {
            (f, g): joint_distribution(table, margins, f, g, self._masses[f], self._masses[g]) for f, g in table.pairs
        }
        self._order, self._parents = dependence_tree(len(self._masses), self._joints)

    def distribution(self, weights: Sequence[FloatArray], cells: int = _CELLS) -> ScoreDistribution:
        """Distribution of z over the cohort."""
        z, own = _spectra(weights, cells)
        subtrees, _ = self._upward(own)
        root = self._order[0]
        mass = np.fft.irfft(self._masses[root] @ subtrees[root], n=cells)
        mass = np.maximum(np.asarray(mass, dtype=np.float64), 0.0)
        return ScoreDistribution(z, np.asarray(mass / float(mass.sum())))

    def within_bins(self, weights: Sequence[FloatArray], cells: int) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        """Distributions of z among the merchants of every bin.

        Returns:
            z (cells,), and per feature (bins, cells) probabilities, each row's sum 1.
        """
        z, own = _spectra(weights, cells)
        subtrees, messages = self._upward(own)
        # Downward: what all but a node's subtree adds, for every bin of the node.
        above: dict[int, ComplexArray] = {}
        for child in self._order[1:]:
            parent = self._parents[child]
            rest = own[parent] * above[parent] if parent in above else own[parent]
            for sibling in self._order[1:]:
                if self._parents[sibling] == parent and sibling != child:
                    rest = rest * messages[sibling]
            above[child] = self._given(child, parent) @ rest
        found = []
        for node, subtree in enumerate(subtrees):
            whole = subtree * above[node] if node in above else subtree
            mass = np.maximum(np.fft.irfft(whole[:-1], n=cells, axis=1), 0.0)
            found.append(np.asarray(mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-300)))
        return z, tuple(found)

    def _upward(self, own: list[ComplexArray]) -> tuple[list[ComplexArray], dict[int, ComplexArray]]:
        """For every bin of a node the spectrum of its subtree's sum, and what each child sends to its parent."""
        subtrees, messages = list(own), {}
        for child in reversed(self._order[1:]):
            parent = self._parents[child]
            messages[child] = self._given(parent, child) @ subtrees[child]
            subtrees[parent] = subtrees[parent] * messages[child]
        return subtrees, messages

    def _given(self, known: int, other: int) -> FloatArray:
        """Probabilities of the bins of `other` (columns) given those of `known` (rows)."""
        joint = self._joints[(known, other)] if known < other else self._joints[(other, known)].T
        return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300))


def _spectra(weights: Sequence[FloatArray], cells: int) -> tuple[FloatArray, list[ComplexArray]]:
    """The grid of z, and per feature the spectrum of each bin's weight, absence last."""
    blocks = [np.append(part, 0.0) for part in weights]
    low = sum(float(block.min()) for block in blocks)
    high = sum(float(block.max()) for block in blocks)
    step = max(high - low, 1e-9) / (cells // 2)
    frequencies = np.exp(-2j * np.pi * np.arange(cells // 2 + 1) / cells)
    spectra = []
    for block in blocks:
        place = (block - block.min()) / step
        whole = np.floor(place).astype(np.int64)
        part = (place - whole)[:, None]
        spectra.append(frequencies[None, :] ** whole[:, None] * (1 - part + part * frequencies[None, :]))
    return low + step * np.arange(cells, dtype=np.float64), spectra


def bin_shares(table: OpenedTable, margins: Margins, index: int) -> FloatArray:
    """Shares of a feature's bins and, last, of merchants absent at its kind."""
    offsets = table.offsets()
    counts = margins.n[offsets[index] : offsets[index + 1]]
    return np.append(counts, max(margins.size - counts.sum(), 0.0)) / margins.size


def joint_distribution(
    table: OpenedTable, margins: Margins, f: int, g: int, row: FloatArray, column: FloatArray
) -> FloatArray:
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


def dependence_tree(count: int, joints: dict[tuple[int, int], FloatArray]) -> tuple[list[int], list[int]]:
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
