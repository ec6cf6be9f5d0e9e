"""From cells to what the report says: means, paired differences with intervals, ratios.

The interval of a difference is Student's t over the splits, after the mean over noise seeds in each: splits are the
blocks, and noise seeds of two methods have nothing in common. Where splits share rows their differences are not
independent; the variance then gets Nadeau and Bengio's correction (1/J + held out / trained on, instead of 1/J).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.accuracy.cells import Cell
from benchmarks.accuracy.methods import METHODS, MORE_SPLITS
from benchmarks.accuracy.sets import HOLDOUT, SETS

DEEP_RIVAL = "dp_ebm"
"""Whose difference to the scorecard is also told over all splits that both have."""
OURS, CEILING = ("scorecard", "encoder"), "lightgbm"
RIVALS = {
    "dp_ebm": ("dp-ebm", "dp-ebm-defaults"),
    "dp_sgd": ("dp-sgd-linear", "dp-sgd-mlp"),
    "local_fedavg": ("local-fedavg",),
}
"""Name in the report → methods of which the better one counts."""
_FIGURES = ("auc", "ks", "calibration_error")
Runs = dict[tuple[int, int | None], Cell]


@dataclass(frozen=True)
class Difference:
    """Mean of the paired differences of AUC, and a 95 % interval."""

    mean: float
    low: float
    high: float
    splits: int

    def plain(self) -> dict[str, float]:
        """For files."""
        return {
            "mean": round(self.mean, 5),
            "low": round(self.low, 5),
            "high": round(self.high, 5),
            "splits": self.splits,
        }


def summary(cells: Sequence[Cell], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """What the report has of every set that has cells.

    Args:
        cells: the newest of each key; of a method only those of its newest code count.
        tuned: what `tuning.read_tuned` gives.
    """
    whole = _groups(cells)
    groups = {group: _first_splits(runs) for group, runs in whole.items()}
    found: dict[str, Any] = {}
    for dataset, described in SETS.items():
        methods = {name: _of_method(groups, dataset, name) for name in METHODS}
        present = {name: each for name, each in methods.items() if each["at"]}
        if present:
            found[dataset] = {
                "title": described.title,
                "methods": present,
                "differences": {f"{e:g}": _differences(groups, dataset, e) for e in _epsilons(groups, dataset)},
                "all_splits": {
                    f"{e:g}": _differences(whole, dataset, e).get("scorecard", {}).get(DEEP_RIVAL, {})
                    for e in _epsilons(groups, dataset)
                },
                "tuned": {name: tuned[name][dataset] for name in tuned if dataset in tuned[name]},
            }
    return found


def difference(dataset: str, ours: Runs, theirs: Runs) -> Difference | None:
    """Ours less theirs on the splits that both have; None with no such split."""
    splits = sorted({split for split, _ in ours} & {split for split, _ in theirs})
    if not splits:
        return None
    gaps = np.array([_mean(ours, split) - _mean(theirs, split) for split in splits])
    mean, count = float(gaps.mean()), len(gaps)
    if count == 1:
        return Difference(mean, nan, nan, 1)
    shared = 0.0 if SETS[dataset].fresh else HOLDOUT / (1 - HOLDOUT)
    error = sqrt((1 / count + shared) * float(gaps.var(ddof=1)))
    reach = float(stats.t.ppf(0.975, count - 1)) * error
    return Difference(mean, mean - reach, mean + reach, count)


def _groups(cells: Sequence[Cell]) -> dict[tuple[str, str, float | None], Runs]:
    latest: dict[tuple[str, str, float | None], str] = {}
    for cell in cells:
        latest[(cell.dataset, cell.method, cell.epsilon)] = cell.code
    groups: dict[tuple[str, str, float | None], Runs] = defaultdict(dict)
    for cell in cells:
        group = (cell.dataset, cell.method, cell.epsilon)
        if cell.code == latest[group]:
            groups[group][(cell.split, cell.noise)] = cell
    return groups


def _first_splits(runs: Runs) -> Runs:
    """What all methods are measured on, so that their means can be compared."""
    return {key: cell for key, cell in runs.items() if key[0] not in MORE_SPLITS}


def _epsilons(groups: Mapping[tuple[str, str, float | None], Runs], dataset: str) -> list[float]:
    return sorted({epsilon for name, _, epsilon in groups if name == dataset and epsilon is not None})


def _of_method(groups: Mapping[tuple[str, str, float | None], Runs], dataset: str, method: str) -> dict[str, Any]:
    at = {
        "" if epsilon is None else f"{epsilon:g}": {
            **{name: round(float(np.mean([cell.figures[name] for cell in runs.values()])), 5) for name in _FIGURES},
            "seconds": round(float(np.mean([cell.seconds for cell in runs.values()])), 1),
            "cells": len(runs),
        }
        for (name, who, epsilon), runs in sorted(groups.items(), key=lambda item: item[0][2] or 0.0)
        if (name, who) == (dataset, method)
    }
    return {"title": METHODS[method].title, "family": METHODS[method].family, "at": at}


def _differences(groups: Mapping[tuple[str, str, float | None], Runs], dataset: str, epsilon: float) -> dict[str, Any]:
    ceiling = groups.get((dataset, CEILING, None))
    found: dict[str, Any] = {}
    for who in OURS:
        ours = groups.get((dataset, who, epsilon))
        if ours is None:
            continue
        mine: dict[str, Any] = {}
        for rival, names in RIVALS.items():
            runs = [(name, groups[(dataset, name, epsilon)]) for name in names if (dataset, name, epsilon) in groups]
            if len(runs) == len(names):  # what is half measured is not the rival's best
                # The rival's best is the better of the two on the reported splits themselves: in its favour.
                name, best = max(runs, key=lambda pair: _overall(pair[1]))
                if compared := _compared(dataset, ours, best):
                    mine[rival] = {"best": name, **compared}
        if ceiling:
            mine["lightgbm"] = _compared(dataset, ours, ceiling)
        found[who] = mine
    return found


def _compared(dataset: str, ours: Runs, theirs: Runs) -> dict[str, float]:
    gap = difference(dataset, ours, theirs)
    if gap is None:
        return {}
    splits = {split for split, _ in ours} & {split for split, _ in theirs}
    gini = [np.mean([2 * _mean(runs, split) - 1 for split in splits]) for runs in (ours, theirs)]
    return {**gap.plain(), "gini_ratio": round(float(gini[0] / gini[1]), 4)}


def _mean(runs: Runs, split: int) -> float:
    return float(np.mean([cell.figures["auc"] for (one, _), cell in runs.items() if one == split]))


def _overall(runs: Runs) -> float:
    return float(np.mean([_mean(runs, split) for split in {split for split, _ in runs}]))
