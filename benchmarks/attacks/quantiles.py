"""Attacks on private quantiles: the opened trees of counts, and the bins that follow from them.

The target is the one merchant beyond the grid's upper end, by both features. Every merchant stands in the root of every
tree, so targets would share a count: an opening has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from benchmarks.attacks.opening import less_colluders, opened
from benchmarks.attacks.releases import Float64, Int64, Release, Seen, Setting, fair_coins
from crypto.histogram import HistogramGrid, histogram_delta, noise_grid
from crypto.table_grid import table_scale
from models.accounting import bins_mechanism, calibrate_cells
from models.codes import ABSENT
from models.mechanisms import DiscreteGaussianCells
from models.quantile_bins import count_trees, on_grid, settled, tree_counts
from models.schema import Schema

KIND, OTHERS = "bank", 400
_TITLE = {"zh": "名", "en": "name"}
_FEATURES = {"amount": [0, 20], "years": [0, 12]}


@dataclass(frozen=True)
class Stage:
    """A bins stage's noise and grid."""

    cells: DiscreteGaussianCells
    grid: HistogramGrid
    setting: Setting


@cache
def schema() -> Schema:
    """Two features without given bins."""
    features = {
        name: {"title": _TITLE, "class": "C2", "quantiles": {"count": 5, "range": ends}, "whole": True}
        for name, ends in _FEATURES.items()
    }
    return Schema.model_validate(
        {
            "name": "quantiles",
            "id": {"column": "id", "type": "opaque"},
            "as_of": "2026-01-01",
            "label": {"column": "bad", "kind": KIND, "performance_months": 12, "title": _TITLE},
            "kinds": {
                KIND: {"features": features},
                "tax": {"features": {"paid": {"title": _TITLE, "class": "C2", "bins": [0.0, 10.0]}}},
            },
        }
    )


@cache
def counts() -> tuple[Int64, Int64]:
    """(Σ nodes,) of all others, and what the target adds."""
    cells = [tree.cells for tree in count_trees(schema())]
    places = [feature.name for feature in on_grid(schema()).features(KIND)]
    rng = np.random.default_rng(31)
    codes = np.stack([rng.integers(0, last - 1, OTHERS + 1) for last in cells], axis=1).astype(np.uint8)
    if places != [tree.feature for tree in count_trees(schema())]:
        raise RuntimeError("a column for each tree is needed")
    codes[-1] = [last - 1 for last in cells]
    whole = tree_counts(schema(), KIND, codes)
    codes[-1] = ABSENT
    base = tree_counts(schema(), KIND, codes)
    return base, whole - base


def touched() -> int:
    """Counts in which one merchant stands."""
    return sum(tree.levels for tree in count_trees(schema()))


def distance(setting: Setting) -> float:
    """Of the summed noise shares from discrete Gaussians."""
    return histogram_delta(setting.nodes, sum(tree.nodes for tree in count_trees(schema())))


def stage(setting: Setting, *, mu_budget: float | None = None) -> Stage:
    """The stage with a campaign's whole promise; with `mu_budget`, of one that has other stages too, as all have."""
    scale_of = partial(table_scale, n_nodes=setting.nodes, t_collude=setting.t_collude)
    if mu_budget is None:
        cells = calibrate_cells(
            touched(), setting.epsilon, setting.delta, delta_sum=distance(setting), scale_of=scale_of
        )
    else:
        cells = bins_mechanism(touched(), mu_budget, scale_of=scale_of)
    grid = noise_grid(
        cells.sigma, n_nodes=setting.nodes, t_collude=setting.t_collude, cohort_size=OTHERS + 1, noise=True
    )
    return Stage(cells, grid, setting)


def _open(of: Stage, *, into: bool) -> tuple[Int64, Int64]:
    """The opened total, and it less the colluders' noise."""
    base, target = counts()
    values = [np.zeros_like(base) for _ in range(of.setting.nodes)]
    values[0] += base
    values[-1] += target * into
    noise = []
    for _ in values:
        share = of.grid.noise(len(base))
        if share is None:
            raise RuntimeError("noise is off")
        noise.append(share)
    total = opened([own * of.grid.scale for own in values], noise, width=32, bound=of.grid.bound)
    return total, less_colluders(total, noise, of.setting.t_collude)


def draw_trees(of: Stage, trials: int) -> Seen:
    """Some `trials` of either world."""
    base, target = counts()
    own = np.flatnonzero(target)
    into = fair_coins(2 * trials)
    left = np.stack([_open(of, into=bool(coin))[1] for coin in into])
    unit, sigma = of.grid.scale, of.cells.sigma * of.cells.scale
    rest = left[:, own] - base[own] * unit
    step = target[own] * unit
    return Seen(into, rest / sigma, (step * (2 * rest - step) / (2 * sigma**2)).sum(axis=1))


def trees(setting: Setting) -> Release:
    """Every count of the trees."""
    of = stage(setting)
    return Release((of.cells,), partial(draw_trees, of), trials_share=0.5)


def bins(setting: Setting) -> Release:
    """The bins alone: which edges of the grid they have."""
    of = stage(setting)

    def draw(trials: int) -> Seen:
        into = fair_coins(2 * trials)
        return Seen(into, np.stack([_edges(_open(of, into=bool(coin))[0]) for coin in into]))

    return Release((of.cells,), draw, trials_share=0.5)


def _edges(total: Int64) -> Float64:
    """Which edges of every grid the bins have."""
    made = settled(schema(), total)
    fine = {feature.name: feature.spec.bins or () for feature in on_grid(schema()).features(KIND)}
    return np.concatenate(
        [np.isin(fine[feature.name], feature.spec.bins or ()) for feature in made.features(KIND)]
    ).astype(np.float64)
