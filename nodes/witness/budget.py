"""The programme's ledger at the witness: all campaigns over all nodes, against the owner's budget (4).

A merchant who changes banks would escape the nodes' own ledgers; here every released attempt counts, whoever took part.
"""

from __future__ import annotations

from dataclasses import dataclass

from nodes.ledger import Ledger


@dataclass(frozen=True)
class CampaignCost:
    """What one campaign released: attempts that stand, and attempts that were voided and refunded."""

    campaign_id: str
    attempts: int
    refunded: int


@dataclass(frozen=True)
class Programme:
    """What the whole programme has cost each merchant at most, and what its owner allows."""

    epsilon_spent: float
    epsilon_budget: float
    delta: float
    campaigns: tuple[CampaignCost, ...]


def programme(ledger: Ledger) -> Programme:
    """The programme as the witness's ledger has it."""
    spent = ledger.spent()
    standing: dict[str, int] = {}
    refunded: dict[str, int] = {}
    for charge in ledger.charges():
        standing.setdefault(charge.campaign_id, 0)
        refunded.setdefault(charge.campaign_id, 0)
        counted = refunded if charge.refunded else standing
        counted[charge.campaign_id] += 1
    campaigns = tuple(CampaignCost(name, standing[name], refunded[name]) for name in sorted(standing))
    return Programme(spent.epsilon, ledger.epsilon, spent.delta, campaigns)
