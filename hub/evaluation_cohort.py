"""Whom an evaluation can count: held-out merchants who may be scored, at all of their consents' sources (6).

A merchant is counted when it is held out, its consent for training also lets its bank have a credit score, all sources
that the consent names are there, and, for a model across kinds, two of them are others than the bank: with one other
its points could be told from the sum. Nodes check all of it against their own consents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from crypto.manifest import holdout_mask
from crypto.wire.campaign import RosterEntry
from hub.cohort import Cohort, Holding

OTHERS = 2
"""Sources besides the bank that a score needs."""


def evaluation_cohort(
    nodes: Sequence[RosterEntry],
    kinds: Sequence[str],
    label_kind: str,
    pseudonyms: NDArray[np.uint8],
    sources: Mapping[str, Holding],
    *,
    scorable: NDArray[np.bool_] | None = None,
    salt: bytes,
    fraction: float,
) -> Cohort:
    """The cohort of an evaluation attempt.

    Args:
        nodes: that take part.
        kinds: of the model, in the schema's order.
        label_kind: whose nodes score and count.
        pseudonyms: (n, 32), one per merchant.
        sources: kind → who holds each merchant, by its consent.
        scorable: (n,) whose consent lets its bank have a credit score; everybody's where None.
        salt, fraction: the hold-out rule.
    """
    kept = holdout_mask(pseudonyms, salt, fraction)
    if scorable is not None:
        kept &= scorable
    present = {(entry.party_id, entry.kind) for entry in nodes}
    others = np.zeros(len(pseudonyms), dtype=np.int64)
    for kind in kinds:
        parties, index = sources[kind]
        there = np.array([*((party, kind) in present for party in parties), True], dtype=np.bool_)
        kept &= there[index]
        others += (index >= 0) if kind != label_kind else 0
    if len(kinds) > 1:
        kept &= others >= OTHERS
    return Cohort.form(
        [entry for entry in nodes if entry.kind in kinds],
        kinds,
        label_kind,
        pseudonyms[kept],
        {kind: Holding(sources[kind].parties, sources[kind].holders[kept]) for kind in kinds},
    )
