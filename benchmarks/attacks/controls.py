"""Positive controls: faults put into the product's own functions, each of which the suite must find.

A suite that finds nothing proves nothing unless it finds what is there. Each control replaces one function of the
product while a released thing is drawn; claims stay those of the product without the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.attacks.releases import Int64, Setting
from benchmarks.attacks.suite import Result, attack
from crypto.noise import discrete_gaussian
from crypto.table_grid import TableGrid
from models import dpsgd

Faulty = Callable[[], Any]
_USUAL = Setting(3.0)
_SMALLER = 4


@dataclass(frozen=True)
class Control:
    """A fault.

    Attributes:
        about: what is wrong.
        release: where it must show.
        target: the product's function, as `unittest.mock.patch` names it.
        faulty: makes what stands in its place.
        setting: of the campaign.
        share: of the suite's trials that the fault is given: those that show less clearly need more.
    """

    about: str
    release: str
    target: str
    faulty: Faulty
    setting: Setting = _USUAL
    share: float = 0.4

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """With the fault."""
        with patch(self.target, self.faulty()):
            yield

    def found(self, trials: int) -> list[Result]:
        """The suite's results with the fault."""
        with self.in_place():
            return attack(self.release, self.setting, round(trials * self.share))


def _quarter() -> Callable[[int, float], Int64]:
    def quarter(n: int, sigma: float) -> Int64:
        return np.rint(discrete_gaussian(n, sigma) / _SMALLER).astype(np.int64)

    return quarter


def _one_block_bare() -> Callable[[TableGrid, Any], Int64 | None]:
    share_of = TableGrid.share

    def share(self: TableGrid, layout: Any) -> Int64 | None:
        noise = share_of(self, layout)
        if noise is not None:
            noise[layout.pair_slice(0, 1)] = 0
        return noise

    return share


class _Again:
    """Every second attempt gets the noise of the one before: `draws` samplings are kept, then given once more."""

    def __init__(self, draws: int) -> None:
        self._draws, self._kept, self._given = draws, list[Int64](), 0

    def __call__(self, n: int, sigma: float) -> Int64:
        if len(self._kept) < self._draws:
            self._kept.append(discrete_gaussian(n, sigma))
            return self._kept[-1]
        again = self._kept[self._given]
        self._given += 1
        if self._given == self._draws:
            self._kept, self._given = [], 0
        return again


def _unclipped() -> Callable[[list[torch.Tensor], float, float], torch.Tensor]:
    clip_and_round = dpsgd._clip_and_round

    def unclipped(samples: list[torch.Tensor], clip: float, grid: float) -> torch.Tensor:
        return clip_and_round(samples, float("inf"), grid)

    return unclipped


def _share_of_all() -> Callable[[float, int, int], float]:
    def share(sigma: float, n_noising: int, t_collude: int) -> float:
        return float(sigma / np.sqrt(n_noising))

    return share


def _everybody() -> Callable[..., Any]:
    def sample(n: int, rate: float, coins: Any) -> Any:
        return np.ones(n, dtype=np.bool_)

    return sample


_PAIR_OF_COLLUDERS = Setting(8.0, nodes=3, t_collude=2)
CONTROLS = {
    "tables: a quarter of the noise": Control(
        "σ of every share is a quarter of what is due", "tables", "crypto.table_grid.discrete_gaussian", _quarter
    ),
    "tables: one block without noise": Control(
        "one pair of features gets no noise",
        "tables",
        "crypto.table_grid.TableGrid.share",
        _one_block_bare,
    ),
    "tables: colluders' part not made up for": Control(
        "shares are σ/√n, not σ/√(n − t)",
        "tables",
        "crypto.table_grid.share_sigma",
        _share_of_all,
        _PAIR_OF_COLLUDERS,
        share=2.0,
    ),
    "tables: noise used twice": Control(
        "the second campaign's noise is that of the first",
        "two campaigns, left after one",
        "crypto.table_grid.discrete_gaussian",
        lambda: _Again(2 * _USUAL.nodes),
    ),
    "scorecard: no noise": Control(
        "the fit is made on a table without noise",
        "scorecard",
        "crypto.table_grid.discrete_gaussian",
        lambda: lambda n, sigma: np.zeros(n, dtype=np.int64),
    ),
    "gradient sums: a quarter of the noise": Control(
        "σ of every share is a quarter of what is due", "gradient sums", "crypto.round_grid.discrete_gaussian", _quarter
    ),
    "gradient sums: no clipping": Control(
        "gradients enter as long as they are", "gradient sums", "models.dpsgd._clip_and_round", _unclipped
    ),
    "gradient sums, sampled: no coins": Control(
        "every row takes part in every round",
        "gradient sums, sampled",
        "benchmarks.attacks.encoder.poisson_sample",
        _everybody,
        share=2.0,
    ),
    "encoder parameters: next to no noise": Control(
        "σ of every share is 2 grid units",
        "encoder parameters",
        "crypto.round_grid.discrete_gaussian",
        lambda: lambda n, sigma: discrete_gaussian(n, 2.0),
    ),
    "quantile trees: a quarter of the noise": Control(
        "σ of every share is a quarter of what is due",
        "quantile trees",
        "crypto.histogram.discrete_gaussian",
        _quarter,
        share=1.6,
    ),
    "evaluation histogram: a quarter of the noise": Control(
        "σ of every share is a quarter of what is due",
        "evaluation histogram",
        "crypto.histogram.discrete_gaussian",
        _quarter,
    ),
}
