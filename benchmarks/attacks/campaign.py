"""Attacks on all that one campaign publishes together, and on a merchant's changing place over two campaigns.

A merchant in training is met by the trees of private quantiles, by the encoder's sums and by the table (scorecard,
encoder and model card follow from these); one that is held out by the evaluation's histogram alone. Training and
evaluation are charged in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmarks.attacks import encoder, evaluation, quantiles, tables
from benchmarks.attacks.releases import Release, Seen, Setting, together
from crypto.table_grid import table_delta, table_scale
from models.accounting import in_parallel, split_budget
from models.mechanisms import Mechanism
from models.stages import Stage


@dataclass(frozen=True)
class Campaign:
    """Stages that share one promise; `bins` where bins come from quantiles."""

    bins: quantiles.Stage | None
    rounds: encoder.Stage
    table: tables.Stage
    held_out: evaluation.Stage

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """What is charged: training and evaluation in parallel."""
        first = () if self.bins is None else (self.bins.cells,)
        training = (*first, *self.rounds.noise.mechanisms, *self.table.noise.mechanisms)
        return in_parallel(training, (self.held_out.cells,))

    def draw_training(self, trials: int) -> Seen:
        """What is seen of a merchant in training."""
        first = [] if self.bins is None else [quantiles.draw_trees(self.bins, trials)]
        return together([*first, encoder.draw_sums(self.rounds, trials), tables.draw_table(self.table, trials)])


def campaign(setting: Setting, *, bins: bool = False) -> Campaign:
    """Stages with this promise, split as a campaign's terms split it."""
    stages: tuple[Stage, ...] = ("encoder", "scorecard")
    mu = split_budget(
        setting.epsilon,
        setting.delta,
        ("bins", *stages) if bins else stages,
        n_features=tables.LAYOUT.n_features,
        charged_attempts=encoder.specification().charged_attempts,
        bins_touched=quantiles.touched() if bins else 0,
        delta_sum=table_delta(setting.nodes, tables.LAYOUT.n_cells) + (quantiles.distance(setting) if bins else 0.0),
        scale_of=partial(table_scale, n_nodes=setting.nodes, t_collude=setting.t_collude),
    )
    trees = quantiles.stage(setting, mu_budget=mu["bins"]) if bins else None
    table = tables.stage(setting, mu_budget=mu["scorecard"])
    beside = (*table.noise.mechanisms, *(() if trees is None else (trees.cells,)))
    rounds = encoder.stage(setting, mu_budget=mu["encoder"], beside=beside)
    return Campaign(trees, rounds, table, evaluation.stage(setting))


def in_training(setting: Setting) -> Release:
    """A merchant in training: all gradient sums and the table."""
    whole = campaign(setting)
    return Release(whole.mechanisms, whole.draw_training, trials_share=0.5)


def with_quantiles(setting: Setting) -> Release:
    """A merchant in training where bins come from private quantiles: trees, gradient sums and table."""
    whole = campaign(setting, bins=True)
    return Release(whole.mechanisms, whole.draw_training, trials_share=0.5)


def held_out(setting: Setting) -> Release:
    """A held-out merchant: the histogram, which has the campaign's whole promise to itself."""
    whole = campaign(setting)
    return Release(whole.mechanisms, partial(evaluation.draw_histogram, whole.held_out))


def both_places(setting: Setting) -> Release:
    """Two campaigns: in training in the first, held out in the second."""
    whole = campaign(setting)

    def draw(trials: int) -> Seen:
        return together([whole.draw_training(trials), evaluation.draw_histogram(whole.held_out, trials)])

    return Release(whole.mechanisms * 2, draw, trials_share=0.5)
