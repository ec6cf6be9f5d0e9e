"""The released things that are attacked, by name, and what attackers see of them.

**Attacker.** It knows everything except whether one merchant's data went in: all other rows, the target's own rows and
outcome, the noise of `t_collude` colluding nodes (which it takes off), and the law of the rest. Every opened sum holds
several such targets, *canaries*, each in or out by a fair coin of its own. No two of them touch the same cell, so every
canary is a trial of its own (whatever is known of the others), and one opening gives many trials.

**A new released thing** is one more function from `Setting` to `Release` under one more name: see `RELEASES` in
`benchmarks.attacks.__main__`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.mechanisms import Adjacency, Mechanism

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]
Coins = NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """A campaign's promise.

    Attributes:
        epsilon, delta: its budget.
        nodes: that add noise.
        t_collude: of these, how many tell the attacker their own.
    """

    epsilon: float
    delta: float = 1e-5
    nodes: int = 3
    t_collude: int = 1


@dataclass(frozen=True)
class Seen:
    """Trials of one released thing.

    Attributes:
        into: (T,) whether the target's data went in.
        features: (T, d) all that the target can have changed of it, less what is known.
        loss: (T,) exact log-likelihood ratio of "in" to "out"; None where there is no closed form.
        score: (T,) what the released model says of the target itself; None where there is no such thing.
    """

    into: Coins
    features: Float64
    loss: Float64 | None = None
    score: Float64 | None = None

    def taken(self, order: Int64) -> Seen:
        """These trials alone."""
        pick: Callable[[Float64 | None], Float64 | None] = lambda each: None if each is None else each[order]  # noqa: E731
        return Seen(self.into[order], self.features[order], pick(self.loss), pick(self.score))


@dataclass(frozen=True)
class Release:
    """A released thing under one setting.

    Attributes:
        mechanisms: that the accountant charges for it.
        draw: at least so many trials of either world, each from an opening of its own or independent of all others.
        trials_share: of the suite's trials that it takes; those that are dear to make take fewer.
        adjacency: of the two worlds; under replace-one "out" means that another merchant's data went in.
    """

    mechanisms: tuple[Mechanism, ...]
    draw: Callable[[int], Seen]
    trials_share: float = 1.0
    adjacency: Adjacency = "replaced-by-empty"


MakeRelease = Callable[[Setting], Release]


def fair_coins(*shape: int) -> Coins:
    """Fair coins of the operating system."""
    count = int(np.prod(shape))
    words = np.frombuffer(secrets.token_bytes(count), dtype=np.uint8)
    return np.asarray((words & 1).astype(np.bool_).reshape(shape))


def together(parts: list[Seen]) -> Seen:
    """What an attacker sees who meets all of these: one target, the same coin, independent noise."""
    ones = min(int(part.into.sum()) for part in parts)
    zeros = min(int((~part.into).sum()) for part in parts)
    into = np.repeat([True, False], [ones, zeros])
    placed = [
        part.taken(np.concatenate([np.flatnonzero(part.into)[:ones], np.flatnonzero(~part.into)[:zeros]]))
        for part in parts
    ]
    losses = [part.loss for part in placed if part.loss is not None]
    loss = np.sum(losses, axis=0) if len(losses) == len(placed) else None
    return Seen(into, np.concatenate([part.features for part in placed], axis=1), loss)
