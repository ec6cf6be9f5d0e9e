"""Policies as rows of a table, for the merchant that they cover and for the programme office."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date

from hub.platform.policies import Policy
from hub.platform.services import Platform
from hub.platform.web import words
from models.i18n import catalogue
from models.said import said
from models.web.listing import Cell, State

HEADINGS = (
    "Policy",
    "Insurer",
    "Covers",
    "Covered from, and the first day without cover",
    "State",
    "Premium",
    "Subsidy set aside",
    "Subsidy so far",
)
NUMERIC = (5, 6, 7)


def rows_of(platform: Platform, policies: Sequence[Policy], tongue: str) -> list[list[Cell]]:
    """One row for each policy, in the columns of `HEADINGS`."""
    today = platform.lending.today()
    paid: dict[str | None, int] = defaultdict(int)
    aside: dict[str | None, int] = defaultdict(int)
    for grant in platform.subsidies.grants_of_policies([each.policy_id for each in policies]):
        paid[grant.policy_id] += sum(grant.accrued_fen.values())
        aside[grant.policy_id] += sum(grant.aside_fen.values())
    return [
        [
            each.terms.number,
            each.insurer,
            _covers(each, tongue),
            said("{since} to {until}", since=each.terms.since.isoformat(), until=each.covered_until.isoformat()),
            _state(each, today),
            words.yuan(each.terms.premium_fen),
            words.yuan(aside[each.policy_id]),
            words.yuan(paid[each.policy_id]),
        ]
        for each in policies
    ]


def _covers(policy: Policy, tongue: str) -> str:
    names = (catalogue("hub").translate(tongue, words.COVERS[cover]) for cover in policy.terms.covers)
    return ("、" if tongue == "zh" else ", ").join(names)


def _state(policy: Policy, today: date) -> State:
    if policy.cause is not None:
        return words.POLICY_ENDS[policy.cause]
    return words.POLICY_COVERED if policy.covered_until > today else words.POLICY_OVER
