"""Attacks on the scorecard stage: its opened table, the scorecard that is fitted on it, and repeated campaigns.

Four features of three bins at two kinds; canary c is a merchant that defaulted and stands in bin c of every feature, so
that no two canaries share a cell. Bin 2 holds nobody else: its canary is an outlier by every feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from benchmarks.attacks.opening import less_colluders, opened
from benchmarks.attacks.releases import Coins, Float64, Int64, Release, Seen, Setting, fair_coins, together
from crypto.layout import KindBlocks, TableLayout
from crypto.table_grid import TableGrid, table_delta, table_grid, table_scale
from models.accounting import TablesNoise, calibrate_tables
from models.codes import ABSENT, DEFAULTED, UNLABELLED
from models.errors import FitError
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import FeatureBins, OpenedTable, from_codes, from_vector

BINS, OTHERS = 3, 900
CAMPAIGNS = 3
"""Campaigns over the same merchants in the repeated ones."""
LAYOUT = TableLayout((KindBlocks("bank", (BINS, BINS)), KindBlocks("tax", (BINS, BINS))), "bank")
FEATURES = tuple(FeatureBins(kind, f"{kind}-{i}", BINS, ordinal=True) for kind in ("bank", "tax") for i in range(2))
_RARE = BINS - 1


@dataclass(frozen=True)
class Cohort:
    """What the attacker knows of the cohort.

    Attributes:
        base: (n_cells,) the table of all others.
        steps: (canaries, n_cells) what each canary adds to it.
        touched: (canaries, touched) its cells.
        whole: the exact table with all canaries; of its sizes only, which are public, not of its counts.
    """

    base: Int64
    steps: Int64
    touched: Int64
    whole: OpenedTable


@cache
def cohort() -> Cohort:
    """Other merchants, of whom bin and outcome go together, and the canaries: empty rows are absent at every kind."""
    rng = np.random.default_rng(17)
    canaries = np.repeat(np.arange(BINS), 4).reshape(BINS, 4)
    bank = rng.integers(0, _RARE, (OTHERS, 2))
    tax = rng.integers(0, _RARE, (OTHERS, 2))
    risk = 0.08 + 0.12 * bank[:, 0] + 0.12 * tax[:, 1]
    outcomes = np.where(rng.random(OTHERS) < risk, DEFAULTED, 1)

    def table(into: Coins) -> OpenedTable:
        rows = np.where(into[:, None], canaries, ABSENT)
        codes = {"bank": np.concatenate([bank, rows[:, :2]]), "tax": np.concatenate([tax, rows[:, 2:]])}
        return from_codes(FEATURES, codes, np.concatenate([outcomes, np.where(into, DEFAULTED, UNLABELLED)]))

    base = table(np.zeros(BINS, dtype=np.bool_)).to_vector().astype(np.int64)
    alone = np.stack([table(np.arange(BINS) == canary).to_vector() for canary in range(BINS)]).astype(np.int64)
    steps = alone - base
    touched = np.stack([np.flatnonzero(step) for step in steps])
    return Cohort(base, steps, touched, table(np.ones(BINS, dtype=np.bool_)))


@dataclass(frozen=True)
class Stage:
    """A scorecard stage's noise and grid."""

    noise: TablesNoise
    grid: TableGrid
    setting: Setting

    @property
    def sigma(self) -> Float64:
        """(n_cells,) noise that colluders cannot take off, on the grid, as the accountant has it."""
        scales = self.grid.class_scale, self.grid.pair_scale
        return LAYOUT.per_cell(self.noise.sigma_class * scales[0], self.noise.sigma_pair * scales[1])

    @property
    def scales(self) -> Int64:
        """(n_cells,) units in a count."""
        return self.grid.scales(LAYOUT).astype(np.int64)


def stage(setting: Setting, *, mu_budget: float | None = None) -> Stage:
    """The stage of a campaign with this promise; with `mu_budget`, of one that has other stages too."""
    noise = calibrate_tables(
        LAYOUT.n_features,
        setting.epsilon,
        setting.delta,
        mu_budget=mu_budget,
        delta_sum=table_delta(setting.nodes, LAYOUT.n_cells),
        scale_of=partial(table_scale, n_nodes=setting.nodes, t_collude=setting.t_collude),
    )
    grid = table_grid(
        noise.sigma_class,
        noise.sigma_pair,
        n_nodes=setting.nodes,
        t_collude=setting.t_collude,
        cohort_size=OTHERS + BINS,
        noise=True,
    )
    return Stage(noise, grid, setting)


def open_table(of: Stage, into: Coins) -> tuple[Int64, Int64]:
    """One attempt with these canaries: (n_cells,) the opened total, and it less the colluders' noise."""
    known, nodes = cohort(), of.setting.nodes
    values = [np.zeros(LAYOUT.n_cells, dtype=np.int64) for _ in range(nodes)]
    values[0] += known.base
    for canary in np.flatnonzero(into):
        values[canary % nodes] += known.steps[canary]
    noise = []
    for _ in range(nodes):
        share = of.grid.share(LAYOUT)
        if share is None:
            raise RuntimeError("noise is off")
        noise.append(share)
    total = opened([own * of.scales for own in values], noise, width=32, bound=of.grid.bound)
    return total, less_colluders(total, noise, of.setting.t_collude)


def seen_of(of: Stage, into: Coins, left: Int64) -> Seen:
    """Every canary's own cells: (openings, canaries) coins and (openings, n_cells) totals give a trial per canary."""
    known, sigma = cohort(), of.sigma
    trials = []
    for canary in range(BINS):
        cells = known.touched[canary]
        step = known.steps[canary, cells] * of.scales[cells]
        rest = left[:, cells] - known.base[cells] * of.scales[cells]
        loss = (step * (2 * rest - step) / (2 * sigma[cells] ** 2)).sum(axis=1)
        trials.append(Seen(into[:, canary], rest / sigma[cells], loss))
    return Seen(
        np.concatenate([each.into for each in trials]),
        np.concatenate([each.features for each in trials]),
        np.concatenate([each.loss for each in trials if each.loss is not None]),
    )


def draw_table(of: Stage, trials: int) -> Seen:
    """Some `trials` of either world."""
    into = fair_coins(openings(trials), BINS)
    return seen_of(of, into, np.stack([open_table(of, coins)[1] for coins in into]))


def openings(trials: int, canaries: int = BINS) -> int:
    """Openings that give about `trials` of either world."""
    return -(-2 * trials // canaries)


def tables(setting: Setting) -> Release:
    """The noisy class and pair counts."""
    of = stage(setting)
    return Release(of.noise.mechanisms, partial(draw_table, of))


def replaced(setting: Setting) -> Release:
    """The table under replace-one: the outlier's data, or that of canary 0 in their place; canary 1 is in."""
    of = stage(setting)

    def draw(trials: int) -> Seen:
        into = fair_coins(2 * trials)
        coins = np.stack([~into, np.ones_like(into), into], axis=1)
        seen = seen_of(of, coins, np.stack([open_table(of, each)[1] for each in coins]))
        other, _, outlier = (seen.taken(np.arange(len(into)) + at * len(into)) for at in range(BINS))
        if other.loss is None or outlier.loss is None:
            raise RuntimeError("tables have an exact loss")
        features = np.concatenate([outlier.features, other.features], axis=1)
        return Seen(into, features, outlier.loss - other.loss)

    return Release(of.noise.mechanisms, draw, trials_share=0.5, adjacency="replace-one")


def scorecard(setting: Setting) -> Release:
    """The fitted scorecard alone: points, base and calibration; and the outlier's own score. Other canaries are in."""
    of = stage(setting)

    def draw(trials: int) -> Seen:
        into = fair_coins(2 * trials)
        cards = [_fitted(of, open_table(of, np.array([True] * _RARE + [bool(coin)]))[0]) for coin in into]
        target = np.full((1, 2), _RARE)
        scores = [-1.0 if card is None else float(card.score({"bank": target, "tax": target})[0]) for card in cards]
        return Seen(into, np.stack([_published(card) for card in cards]), score=np.array(scores))

    return Release(of.noise.mechanisms, draw, trials_share=0.5)


def repeated(setting: Setting) -> Release:
    """The tables of several campaigns over the same merchants, each with the promise of one."""
    of = stage(setting)
    return Release(
        of.noise.mechanisms * CAMPAIGNS,
        lambda trials: together([draw_table(of, trials) for _ in range(CAMPAIGNS)]),
        trials_share=0.5,
    )


def left_after_one(setting: Setting) -> Release:
    """Two campaigns' tables; the target revoked its consent between them, so that only the first can hold it.

    The difference of both would show it alone, were their noise the same.
    """
    of = stage(setting)

    def draw(trials: int) -> Seen:
        into = fair_coins(openings(trials), BINS)
        nobody = np.zeros(BINS, dtype=np.bool_)
        pairs = [(open_table(of, coins)[1], open_table(of, nobody)[1]) for coins in into]
        first, second = (seen_of(of, into, np.stack(each)) for each in zip(*pairs, strict=True))
        return Seen(first.into, np.concatenate([first.features, second.features], axis=1), first.loss)

    return Release(of.noise.mechanisms * 2, draw, trials_share=0.5)


def _fitted(of: Stage, total: Int64) -> Scorecard | None:
    whole = cohort().whole
    table = from_vector(
        of.grid.counts(LAYOUT, total),
        FEATURES,
        cohort_size=whole.cohort_size,
        kind_totals=whole.kind_totals,
        pair_totals=whole.pair_totals,
        sigma_class=of.noise.sigma_class,
        sigma_pair=of.noise.sigma_pair,
    )
    try:
        return train(table)
    except FitError:
        return None  # that there is no model is published too


def _published(card: Scorecard | None) -> Float64:
    """All numbers of a scorecard, and whether there is one."""
    if card is None:
        return np.zeros(LAYOUT.n_features * BINS + len(LAYOUT.kinds) + 5)
    points = [point for entry in card.features for point in entry.points]
    calibration = card.calibration.intercept, card.calibration.slope
    return np.array([1.0, *points, *card.absent.values(), card.base, *calibration, card.points_to_double])
