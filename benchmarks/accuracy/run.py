"""Every method on every set, split, noise seed and ε: cells that are there already are not fitted again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.accuracy.cells import Cell, CellStore, Key
from benchmarks.accuracy.digests import code_of, rows_digest
from benchmarks.accuracy.measures import measured
from benchmarks.accuracy.methods import DEEPER, METHODS, MORE_SPLITS, SPLITS, Setting, Task
from benchmarks.accuracy.sets import SETS, Split
from benchmarks.accuracy.tuning import EPSILONS, tuned_setting

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "results" / "cells"
QUICK_CELLS = ROOT.parent / "out" / "bench" / "quick"
NOISES = (0, 1, 2)


@dataclass(frozen=True)
class Scope:
    """What to measure: all of it, or parts.

    Attributes:
        only: `METHOD`, `SET` or `METHOD/SET`; everything if empty.
        more: splits beside them for what is told apart by more.
    """

    only: tuple[str, ...] = ()
    splits: tuple[int, ...] = SPLITS
    more: tuple[int, ...] = MORE_SPLITS
    noises: tuple[int, ...] = NOISES
    epsilons: tuple[float, ...] = EPSILONS

    def __post_init__(self) -> None:
        for each in self.only:
            if any(part not in METHODS and part not in SETS for part in each.split("/")):
                raise SystemExit(f"--only {each}: methods are {', '.join(METHODS)}; sets are {', '.join(SETS)}")

    def jobs(self) -> list[Job]:
        """Fits, those of one split together."""
        return [
            Job(dataset, method, epsilon, split, noise)
            for dataset in SETS
            for split in dict.fromkeys((*self.splits, *self.more))
            for method, found in METHODS.items()
            if self._wanted(method, dataset) and (split in self.splits or method in DEEPER)
            for epsilon in (self.epsilons if found.private else (None,))
            for noise in (self.noises if found.private else (None,))
        ]

    def _wanted(self, method: str, dataset: str) -> bool:
        return not self.only or any(set(each.split("/")) <= {method, dataset} for each in self.only)


QUICK = Scope(only=("gmsc-28k",), splits=(0,), more=(), noises=(0,), epsilons=(1.0, 3.0))
"""The size for continuous integration."""


@dataclass(frozen=True)
class Job:
    """One fit to make."""

    dataset: str
    method: str
    epsilon: float | None
    split: int
    noise: int | None

    @property
    def key(self) -> Key:
        """As of its cell."""
        return (self.dataset, self.method, self.epsilon, self.split, self.noise)

    @property
    def setting(self) -> Setting | None:
        """What was tuned for it."""
        return tuned_setting(self.method, self.dataset, self.epsilon)

    @property
    def code(self) -> str:
        """Digest of all that it depends on beside its rows."""
        method = METHODS[self.method]
        return code_of(method.modules, method.libraries, self.setting)


def measure(jobs: Sequence[Job], store: CellStore, cache: Path | None, console: Console) -> Iterator[Cell]:
    """The cells of all jobs, fitted where they are not there yet."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("accuracy", total=len(jobs))
        for job in jobs:
            budget = "" if job.epsilon is None else f", ε {job.epsilon:g}, noise {job.noise}"
            bar.update(task, description=f"{job.method} on {job.dataset}, split {job.split}{budget}")
            yield _cell(job, store, cache)
            bar.advance(task)


def _cell(job: Job, store: CellStore, cache: Path | None) -> Cell:
    split, rows = _split(job.dataset, job.split, cache)
    code, setting = job.code, job.setting
    cell = store.find(job.key, code, rows)
    if cell is not None:
        return cell
    began = time.process_time()
    found = METHODS[job.method].fit(split, Task(job.epsilon, job.noise, setting))
    cell = Cell(
        dataset=job.dataset,
        method=job.method,
        epsilon=job.epsilon,
        split=job.split,
        noise=job.noise,
        code=code,
        rows=rows,
        setting=setting,
        figures=measured(split, found),
        seconds=round(time.process_time() - began, 2),
    )
    store.add(cell)
    return cell


@lru_cache(maxsize=1)
def _split(dataset: str, seed: int, cache: Path | None) -> tuple[Split, str]:
    split = SETS[dataset].split(dataset, seed, cache)
    return split, rows_digest(split)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options that say what to measure."""
    parser.add_argument("--only", nargs="+", default=[], help="METHOD, SET or METHOD/SET")
    parser.add_argument("--quick", action="store_true", help="one split, one noise seed, one small set")
    parser.add_argument("--out", type=Path, default=QUICK_CELLS, help="folder for the cells and the report of --quick")
    parser.add_argument("--splits", type=int, nargs="+", default=list(SPLITS), help="seeds of splits")
    parser.add_argument(
        "--more", type=int, nargs="*", default=list(MORE_SPLITS), help="more of them, for DP-EBM and us"
    )
    parser.add_argument("--noises", type=int, nargs="+", default=list(NOISES), help="seeds of noise")
    parser.add_argument("--epsilon", type=float, nargs="+", default=list(EPSILONS), help="budgets")
    parser.add_argument("--cache", type=Path, help="where the data sets are kept")


def scope_of(chosen: argparse.Namespace, only: Sequence[str] = ()) -> tuple[Scope, Path]:
    """What is to be measured, and where its cells lie."""
    if chosen.quick:
        return QUICK, chosen.out
    seeds = (tuple(chosen.splits), tuple(chosen.more), tuple(chosen.noises))
    return Scope(tuple(only), *seeds, tuple(chosen.epsilon)), CELLS
