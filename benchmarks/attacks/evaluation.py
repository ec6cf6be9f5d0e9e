"""Attacks on the evaluation's opened histogram: every band × outcome holds one canary, in one group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.attacks.opening import less_colluders, opened
from benchmarks.attacks.releases import Int64, Release, Seen, Setting, fair_coins
from crypto.histogram import HistogramGrid, HistogramLayout, histogram_delta, noise_grid
from crypto.table_grid import table_scale
from models.accounting import calibrate_cells
from models.mechanisms import DiscreteGaussianCells

BANDS, GROUPS, OTHERS = 5, 3, 300
LAYOUT = HistogramLayout(BANDS, (GROUPS,))
CANARIES = BANDS * 2


@dataclass(frozen=True)
class Stage:
    """An evaluation's noise and grid."""

    cells: DiscreteGaussianCells
    grid: HistogramGrid
    setting: Setting


def stage(setting: Setting) -> Stage:
    """The evaluation of a campaign with this promise."""
    cells = calibrate_cells(
        LAYOUT.touched,
        setting.epsilon,
        setting.delta,
        delta_sum=histogram_delta(setting.nodes, LAYOUT.n_cells),
        scale_of=partial(table_scale, n_nodes=setting.nodes, t_collude=setting.t_collude),
    )
    grid = noise_grid(
        cells.sigma,
        n_nodes=setting.nodes,
        t_collude=setting.t_collude,
        cohort_size=OTHERS + CANARIES,
        noise=True,
    )
    return Stage(cells, grid, setting)


def draw_histogram(of: Stage, trials: int) -> Seen:
    """Some `trials` of either world, by openings of one histogram each."""
    rng = np.random.default_rng(23)
    base = LAYOUT.count(rng.integers(0, BANDS, OTHERS), rng.integers(0, 2, OTHERS), [rng.integers(0, GROUPS, OTHERS)])
    steps = np.stack([_step(canary) for canary in range(CANARIES)]) * of.grid.scale
    into = fair_coins(-(-2 * trials // CANARIES), CANARIES)
    left = np.stack([_open(of, base * of.grid.scale, steps[coins].sum(axis=0)) for coins in into])
    rest = left - base * of.grid.scale
    touched = [np.flatnonzero(step) for step in steps]
    sigma, unit = of.cells.sigma * of.cells.scale, of.grid.scale
    own = np.concatenate([rest[:, cells] for cells in touched])
    loss = (unit * (2 * own - unit) / (2 * sigma**2)).sum(axis=1)
    return Seen(into.T.ravel(), own / sigma, loss)


def _step(canary: int) -> Int64:
    band, outcome = divmod(canary, 2)
    return LAYOUT.count(np.array([band]), np.array([outcome]), [np.array([band % GROUPS])])


def _open(of: Stage, base: Int64, canaries: Int64) -> Int64:
    nodes = of.setting.nodes
    noise = []
    for _ in range(nodes):
        share = of.grid.noise(LAYOUT.n_cells)
        if share is None:
            raise RuntimeError("noise is off")
        noise.append(share)
    nothing = np.zeros_like(base)
    total = opened([base, canaries, *[nothing] * (nodes - 2)], noise, width=32, bound=of.grid.bound)
    return less_colluders(total, noise, of.setting.t_collude)


def histogram(setting: Setting) -> Release:
    """Counts of band × outcome and of band × outcome × group."""
    of = stage(setting)
    return Release((of.cells,), partial(draw_histogram, of))
