"""Rivals at their best: settings of each, per set and ε, chosen on splits that are not reported (seeds from 100).

All settings of the first grid are tried on two splits, the best quarter on four more; then one value at a time is
moved from the best, for as long as that gives .0001, four times at most: what falls behind the best by more than .001
on the first two splits is not tried on the others. Where a grid is shared, only ε = 3 has all of it, the other budgets
move on from what was best there, and there are two more splits instead of four. A grid that has changed since is tried
anew, from the fits that are there.

That so much was tried is not charged to the rival's ε, which favours it; digua's own defaults are one for all sets and
budgets.

Run: ``python -m benchmarks.accuracy.tuning [--only dp-ebm/gmsc-28k]``; it goes on where it was cut off.
`make bench` tunes what it needs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.cells import Cell, CellStore
from benchmarks.accuracy.digests import code_of, rows_digest
from benchmarks.accuracy.measures import measured
from benchmarks.accuracy.methods import METHODS, Setting, Task
from benchmarks.accuracy.sets import SETS, Split

ROOT = Path(__file__).parent.parent
TUNED = ROOT / "results" / "tuned.json"
TRIED = ROOT.parent / "out" / "bench" / "tuning"
FIRST, MORE = (100, 101), (102, 103, 104, 105)
SEEDS = (*FIRST, *MORE)
EPSILONS = (1.0, 3.0, 8.0)
SHARED = 3.0
"""The budget whose best setting the others start from, where a grid is shared."""
_PASSES = 4
_BEHIND, _GAIN = 0.001, 0.0001
Target = tuple[str, str, float]


@dataclass(frozen=True)
class Grid:
    """Values tried.

    Attributes:
        first: name → values, all combinations.
        then: name → values, one at a time from the best; "×" names are factors of the best value.
        shared: the first grid is tried at one budget for all, and on fewer splits.
        most: name → the largest value that factors reach.
    """

    first: dict[str, list[Any]]
    then: dict[str, list[Any]]
    shared: bool = False
    most: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For files."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the splits that decide."""
        return SEEDS[:4] if self.shared else SEEDS

    def start(self) -> list[Setting]:
        """All combinations of the first grid."""
        return [dict(zip(self.first, values, strict=True)) for values in product(*self.first.values())]

    def around(self, best: Setting) -> Iterator[Setting]:
        """Settings that differ from the best in one value."""
        for name, values in self.then.items():
            for value in values:
                plain = name.removeprefix("×")
                moved = type(best[plain])(value * best[plain]) if name.startswith("×") else value
                if moved != best[plain] and moved <= self.most.get(plain, math.inf):
                    yield {**best, plain: moved}


_HALVES = [0.5, 2.0]
_STEPS = {"steps": 400}
"""Of all rows each. On 28,000 rows 400 gave at most .0001 more than 200, and 800 less than 400."""
GRIDS: dict[str, Grid] = {
    "dp-ebm": Grid(
        {"learning_rate": [0.01, 0.03, 0.1], "max_rounds": [30, 100, 300], "max_leaves": [3, 6, 12]},
        {
            "×learning_rate": _HALVES,
            "max_leaves": [2, 20],
            "×max_rounds": _HALVES,
            "bin_share": [0.05, 0.2, 0.4],
            "least_bin": [3.0, 10.0, 100.0, 300.0, 1000.0],
        },
    ),
    "dp-sgd-linear": Grid(
        {"steps": [40, 100], "learning_rate": [5.0, 20.0, 80.0], "clip": [0.25, 0.5, 1.0]},
        {"×learning_rate": _HALVES, "×steps": _HALVES, "×clip": _HALVES, "momentum": [0.0]},
        shared=True,
        most=_STEPS,
    ),
    "dp-sgd-mlp": Grid(
        {"steps": [40, 100], "learning_rate": [2.0, 8.0, 32.0], "clip": [0.5, 1.0]},
        {"×learning_rate": _HALVES, "×steps": _HALVES, "×clip": _HALVES, "hidden": [8, 32]},
        shared=True,
        most=_STEPS,
    ),
    "local-fedavg": Grid(
        {"steps": [10, 40], "learning_rate": [2.0, 10.0, 50.0], "clip": [0.25, 0.5], "local_steps": [1, 5]},
        {"×learning_rate": _HALVES, "×steps": _HALVES, "×clip": _HALVES, "momentum": [0.0]},
        shared=True,
        most=_STEPS,
    ),
}


class Tuner:
    """Tries the settings of one rival on one set at one ε."""

    def __init__(self, method: str, dataset: str, epsilon: float, cache: Path | None, tried: CellStore) -> None:
        self.method, self.dataset, self.epsilon = method, dataset, epsilon
        self._cache, self._tried = cache, tried
        self._results: dict[str, dict[int, float]] = {}

    def best(self) -> dict[str, Any]:
        """The best setting and how it was found, as `tuned.json` keeps it."""
        grid = GRIDS[self.method]
        best, elsewhere = self._first(grid)
        for _ in range(_PASSES):
            near = list(grid.around(best))
            self._run(near, FIRST)
            level = self._mean(best, FIRST) - _BEHIND
            near = [each for each in near if self._mean(each, FIRST) >= level]
            self._run(near, grid.seeds)
            better = max([best, *near], key=self._mean)
            gain, best = self._mean(better) - self._mean(best), better
            if gain < _GAIN:
                break
        return {
            "setting": best,
            "auc": round(self._mean(best), 5),
            "seeds": list(grid.seeds),
            "tried": len(self._results) + elsewhere,
            "grid": grid.plain(),
        }

    def _first(self, grid: Grid) -> tuple[Setting, int]:
        """Where to move on from, and how many settings were tried at another budget for that."""
        if grid.shared and self.epsilon != SHARED:
            found = Tuner(self.method, self.dataset, SHARED, self._cache, self._tried).best()
            self._run([found["setting"]], grid.seeds)
            return found["setting"], found["tried"]
        default = METHODS[self.method].default or {}
        start = [{**default, **each} for each in grid.start()]
        self._run(start, FIRST)
        few = sorted(start, key=self._mean, reverse=True)[: math.ceil(len(start) / 4)]
        self._run(few, grid.seeds)
        return max(few, key=self._mean), 0

    def _run(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        for setting, seed in product(settings, seeds):
            known = self._results.setdefault(json.dumps(setting, sort_keys=True), {})
            if seed not in known:
                known[seed] = self._auc(setting, seed)

    def _mean(self, setting: Setting, seeds: Sequence[int] | None = None) -> float:
        known = self._results[json.dumps(setting, sort_keys=True)]
        return float(np.mean([known[seed] for seed in seeds or known]))

    def _auc(self, setting: Setting, seed: int) -> float:
        method = METHODS[self.method]
        split, rows = _split(self.dataset, seed, self._cache)
        code = code_of(method.modules, method.libraries, setting)
        key = (self.dataset, self.method, self.epsilon, seed, seed)
        cell = self._tried.find(key, code, rows)
        if cell is None:
            began = time.process_time()
            figures = measured(split, method.fit(split, Task(self.epsilon, seed, setting)))
            cell = Cell(
                dataset=self.dataset,
                method=self.method,
                epsilon=self.epsilon,
                split=seed,
                noise=seed,
                code=code,
                rows=rows,
                setting=setting,
                figures=figures,
                seconds=round(time.process_time() - began, 2),
            )
            self._tried.add(cell)
        return cell.figures["auc"]


@lru_cache(maxsize=8)
def _split(dataset: str, seed: int, cache: Path | None) -> tuple[Split, str]:
    split = SETS[dataset].split(dataset, seed, cache)
    return split, rows_digest(split)


def read_tuned() -> dict[str, dict[str, dict[str, Any]]]:
    """method → set → ε as text → what `Tuner.best` found."""
    return dict(json.loads(TUNED.read_text(encoding="utf-8"))) if TUNED.exists() else {}


def tuned_setting(method: str, dataset: str, epsilon: float | None) -> Setting | None:
    """What a method is to use; its default where nothing was tuned."""
    found = read_tuned().get(method, {}).get(dataset, {}).get(f"{epsilon:g}" if epsilon is not None else "")
    return METHODS[method].default if found is None else dict(found["setting"])


def tune(wanted: Sequence[Target], cache: Path | None, say: Callable[[str], None], *, again: bool = False) -> None:
    """Tune what is not tuned yet on the grid of now, and keep it in results/tuned.json.

    Args:
        wanted: rivals with their sets and budgets; those that have no grid are left out.
        cache: where the data sets are kept.
        say: told of each result.
        again: tune anew what is tuned.
    """
    tried = CellStore(TRIED)
    for method, dataset, epsilon in dict.fromkeys(wanted):
        budget = f"{epsilon:g}"
        if method not in GRIDS:
            continue
        known = read_tuned().get(method, {}).get(dataset, {}).get(budget)
        if known is not None and known["grid"] == GRIDS[method].plain() and not again:
            continue
        say(f"tuning {method} on {dataset} at ε {budget}")
        began = time.monotonic()
        found = Tuner(method, dataset, epsilon, cache, tried).best()
        tuned = read_tuned()  # another process may have tuned another rival meanwhile
        tuned.setdefault(method, {}).setdefault(dataset, {})[budget] = found
        fresh = TUNED.with_suffix(".partial")
        fresh.write_text(json.dumps(tuned, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(TUNED)
        say(f"AUC {found['auc']:.4f} with {found['setting']}, {time.monotonic() - began:.0f} s")


def main() -> None:
    """Tune rivals alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="METHOD, METHOD/SET or METHOD/SET/EPSILON")
    parser.add_argument("--again", action="store_true", help="tune anew what is tuned")
    parser.add_argument("--cache", type=Path, help="where the data sets are kept")
    chosen = parser.parse_args()
    wanted = [
        (method, dataset, epsilon)
        for method, dataset, epsilon in product(GRIDS, SETS, EPSILONS)
        if any(not each or f"{method}/{dataset}/{epsilon:g}/".startswith(f"{each}/") for each in chosen.only)
    ]
    if not wanted:
        raise SystemExit(f"--only: rivals with a grid are {', '.join(GRIDS)}; sets are {', '.join(SETS)}")
    tune(wanted, chosen.cache, lambda text: print(text, flush=True), again=chosen.again)


if __name__ == "__main__":
    main()
