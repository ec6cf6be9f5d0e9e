"""The programme's ledger at the witness: all campaigns over all nodes, against the owner's budget (4).

A merchant who changes banks would escape the nodes' own ledgers; here every released attempt counts, whoever took part.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import AttemptError
from crypto.wire.campaign import Terms
from nodes.charges import stage_of
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


def check_stage_unreleased(ledger: Ledger, terms: Terms) -> None:
    """T0: a stage that was released in its campaign is not run again there: a model's card states the ε of one run.

    Of an encoder, whose tries count as released one by one, the first term that was sent settles it.

    Raises:
        AttemptError: another attempt of this stage was released.
    """
    for charge in ledger.charges():
        same = charge.campaign_id == terms.campaign_id and stage_of(terms.campaign_id, charge.attempt) == terms.stage
        if same and not charge.refunded:
            raise AttemptError(
                f"stage {terms.stage} of campaign {terms.campaign_id} was released in attempt {charge.attempt}",
                field="attempt",
                remedy="open what was released, or start a new campaign",
            )


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
