"""What programme statistics may cost within any 365 days: a second bound, beside that over all campaigns.

A rolling window and not the calendar's year: two reports around New Year would else cost twice what a year may. Charges
are those of the ledger, composed as it composes them; none of training is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nodes.charges import Charge
from nodes.errors import YearlyBudgetExceeded

WINDOW = timedelta(days=365)
_STAGE = "statistics"
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class YearlyBudget:
    """ε of programme statistics in any 365 days, and whose bound that is."""

    epsilon: float
    owner: str


def is_statistics(charge: Charge) -> bool:
    """Whether a charge pays for programme statistics."""
    return any(each.stage == _STAGE for each in charge.mechanisms)


def within(charges: Sequence[Charge], now: int) -> list[Charge]:
    """Standing charges of statistics of the last 365 days, oldest first."""
    since = now - int(WINDOW.total_seconds())
    found = [each for each in charges if not each.refunded and is_statistics(each) and each.sent_at > since]
    return sorted(found, key=lambda each: each.sent_at)


def check_year(
    budget: YearlyBudget,
    charges: Sequence[Charge],
    planned: Charge,
    now: int,
    spent: Callable[[Sequence[Charge]], float],
) -> None:
    """Refuse statistics that would pass the yearly budget.

    Args:
        budget: the owner's.
        charges: the ledger.
        planned: what is asked; nothing is checked where it is no statistics.
        now: seconds since 1970.
        spent: ε of charges composed.

    Raises:
        YearlyBudgetExceeded: it names the owner and from when on the same would be within the budget.
    """
    if not is_statistics(planned):
        return
    counted = within(charges, now)
    total = spent([*counted, planned])
    if total <= budget.epsilon * (1 + _TOLERANCE):
        return
    raise YearlyBudgetExceeded(
        owner=budget.owner,
        spent=spent(counted),
        asked=spent([planned]),
        epsilon=budget.epsilon,
        free_from=_free_from(budget, counted, planned, spent),
    )


def _free_from(
    budget: YearlyBudget, counted: Sequence[Charge], planned: Charge, spent: Callable[[Sequence[Charge]], float]
) -> datetime | None:
    """When enough of the oldest charges have left the window; None where the request alone is too dear."""
    for gone in range(1, len(counted) + 1):
        if spent([*counted[gone:], planned]) <= budget.epsilon * (1 + _TOLERANCE):
            return datetime.fromtimestamp(counted[gone - 1].sent_at, UTC) + WINDOW
    return None
