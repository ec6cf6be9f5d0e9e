"""DP-SGD by Opacus on the same one-hot bins: central, linear or MLP; and local-DP FedAvg, where nodes trust no sum.

Per-sample gradients are clipped (by their norms: "ghost clipping") and the noise is Gaussian. Every row takes part in
every step, which for tables of this size is at least as good as sampling; then T steps are T Gaussians and compose
exactly, μ = √T/z. Adjacency: a row's gradient is there or not, which is what replacing a merchant by empty rows does to
ours. The number of rows is public, as it is with us.

FedAvg: 24 nodes, each with its rows of all columns (better than what sources of different kinds could have), take
steps on their own and average the weights. No secure sum: each adds all the noise that its own rows need.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.sets import Part, Split
from models.accounting import gdp_budget

NODES = 24
_TAIL_FROM = 0.7


@dataclass(frozen=True)
class Setting:
    """What can be chosen without looking at private rows.

    Attributes:
        steps: T; of FedAvg, those of each node.
        learning_rate: for the mean gradient.
        clip: bound on a row's gradient, in L2.
        hidden: units of the one hidden layer; 0 is logistic regression.
        momentum: of SGD.
        local_steps: FedAvg: steps between two averages.
    """

    steps: int = 60
    learning_rate: float = 10.0
    clip: float = 0.5
    hidden: int = 0
    momentum: float = 0.9
    local_steps: int = 1

    def plain(self) -> dict[str, float]:
        """For files."""
        return asdict(self)


class Learner:
    """A model with Opacus' optimizer over one party's rows."""

    def __init__(self, rows: torch.Tensor, bad: torch.Tensor, setting: Setting, noise: float, seed: int) -> None:
        torch.manual_seed(setting.hidden)  # public first weights
        width = rows.shape[1]
        layers = (
            [nn.Linear(width, setting.hidden), nn.Tanh(), nn.Linear(setting.hidden, 1)]
            if setting.hidden
            else [nn.Linear(width, 1)]
        )
        self.rows, self.bad = rows, bad
        self.module = GradSampleModuleFastGradientClipping(
            nn.Sequential(*layers), loss_reduction="mean", max_grad_norm=setting.clip, use_ghost_clipping=True
        )
        if not setting.hidden:
            for weight in self.module.parameters():
                nn.init.zeros_(weight)
        self.optimizer = DPOptimizerFastGradientClipping(
            torch.optim.SGD(self.module.parameters(), lr=setting.learning_rate, momentum=setting.momentum),
            noise_multiplier=noise,
            max_grad_norm=setting.clip,
            expected_batch_size=len(rows),
            loss_reduction="mean",
            generator=torch.Generator().manual_seed(seed),
        )
        self.loss = DPLossFastGradientClipping(
            self.module, self.optimizer, nn.BCEWithLogitsLoss(reduction="mean"), loss_reduction="mean"
        )

    def step(self) -> None:
        """One noisy step over all rows."""
        self.optimizer.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            # Inputs need no gradients; the hooks on outputs, which count here, fire all the same.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            self.loss(self.module(self.rows), self.bad[:, None], shape=(len(self.rows), 1)).backward()
        self.optimizer.step()

    def weights(self) -> list[torch.Tensor]:
        """Copies of the parameters."""
        return [weight.detach().clone() for weight in self.module.parameters()]

    def take(self, weights: list[torch.Tensor]) -> None:
        """Go on from these parameters."""
        with torch.no_grad():
            for own, given in zip(self.module.parameters(), weights, strict=True):
                own.copy_(given)

    def predict(self, rows: torch.Tensor) -> Prediction:
        """Of other rows."""
        with torch.no_grad():
            logits = self.module(rows).squeeze(1).double()
        return Prediction(risk=logits.numpy(), pd=torch.sigmoid(logits).numpy())


def central(split: Split, setting: Setting, epsilon: float, delta: float, seed: int) -> Prediction:
    """One trusted party holds all rows; the parameters of the last 30 % of the steps are averaged."""
    rows, bad = _tensors(split, split.train)
    noise = sqrt(setting.steps) / gdp_budget(epsilon, delta)
    learner = Learner(rows, bad, setting, noise, _seed(split, seed))
    tail: list[list[torch.Tensor]] = []
    for number in range(1, setting.steps + 1):
        learner.step()
        if number > _TAIL_FROM * setting.steps:
            tail.append(learner.weights())
    learner.take(_mean(tail))
    return learner.predict(_tensors(split, split.test)[0])


def local_fedavg(split: Split, setting: Setting, epsilon: float, delta: float, seed: int) -> Prediction:
    """24 nodes with their own full noise each; averages of the last 30 % of the rounds."""
    rows, bad = _tensors(split, split.train)
    owner = np.random.default_rng([split.seed, 24]).integers(NODES, size=len(rows))
    noise = sqrt(setting.steps) / gdp_budget(epsilon, delta)
    nodes = [
        Learner(rows[owner == node], bad[owner == node], setting, noise, _seed(split, seed) + node)
        for node in range(NODES)
    ]
    tail: list[list[torch.Tensor]] = []
    for number in range(1, setting.steps + 1):
        for node in nodes:
            node.step()
        if number % setting.local_steps == 0 or number == setting.steps:
            average = _mean([node.weights() for node in nodes], [len(node.rows) for node in nodes])
            for node in nodes:
                node.take(average)
            if number > _TAIL_FROM * setting.steps:
                tail.append(average)
    nodes[0].take(_mean(tail))
    return nodes[0].predict(_tensors(split, split.test)[0])


def _mean(several: list[list[torch.Tensor]], shares: list[int] | None = None) -> list[torch.Tensor]:
    weights = torch.tensor(shares or [1] * len(several), dtype=torch.float32)
    weights /= weights.sum()
    return [torch.einsum("k,k...->...", weights, torch.stack(each)) for each in zip(*several, strict=True)]


def _tensors(split: Split, part: Part) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, D) one-hot rows of unit norm, and (n,) 1 for default."""
    codes = split.joined(part)
    widths = np.array([feature.width + 1 for feature in split.features])
    columns: NDArray[np.int64] = codes + np.concatenate([[0], np.cumsum(widths)[:-1]])
    rows = torch.zeros(len(codes), int(widths.sum()))
    rows.scatter_(1, torch.from_numpy(columns), 1 / sqrt(len(widths)))
    return rows, torch.from_numpy(part.bad.astype(np.float32))


def _seed(split: Split, seed: int) -> int:
    return int(np.random.SeedSequence([split.seed, seed]).generate_state(1)[0]) * NODES
