"""Why something is not subsidised: every reason that there is, and what else than the thing itself bears on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hub.platform.products import Applicant, lies_in
from hub.platform.subsidy_rules import Beneficiaries, PremiumRule, SubsidyRule

Refusal: TypeAlias = Literal[
    "subsidy-kind",
    "subsidy-origin",
    "subsidy-place",
    "subsidy-bank",
    "subsidy-product",
    "subsidy-loan-rate",
    "subsidy-not-paid-out",
    "subsidy-paid-out-outside",
    "subsidy-insurer",
    "subsidy-covers",
    "subsidy-not-covered-now",
    "subsidy-begins-outside",
    "subsidy-already",
    "subsidy-double",
    "subsidy-loans-at-once",
    "subsidy-policies-at-once",
    "subsidy-yearly-limit",
    "subsidy-budget",
]
REASONS: Mapping[Refusal, str] = {
    "subsidy-kind": "The programme is for other kinds of merchants.",
    "subsidy-origin": "The programme is for merchants from other counties.",
    "subsidy-place": "The programme is for business in other places.",
    "subsidy-bank": "The programme does not cover loans of this bank.",
    "subsidy-product": "The programme does not cover this product.",
    "subsidy-loan-rate": "The loan's rate is above what the programme subsidises.",
    "subsidy-not-paid-out": "The loan has not been paid out, or is in default or closed.",
    "subsidy-paid-out-outside": "The loan was not paid out within the programme's time.",
    "subsidy-insurer": "The programme is not for policies of this insurer.",
    "subsidy-covers": "The policy does not cover all that the programme asks for.",
    "subsidy-not-covered-now": "The policy has ended.",
    "subsidy-begins-outside": "The policy does not begin within the programme's time.",
    "subsidy-already": "This programme subsidises it already, or took its subsidy back.",
    "subsidy-double": "Another programme subsidises the same, and the two do not combine.",
    "subsidy-loans-at-once": "The programme subsidises as many loans of this merchant as it may at once.",
    "subsidy-policies-at-once": "The programme subsidises as many policies of this merchant at once as it may.",
    "subsidy-yearly-limit": "The merchant's yearly limit is set aside for its other grants.",
    "subsidy-budget": "What is left of the budget is less than this would need.",
}
"""Each reason in words; Chinese in the catalogue."""


@dataclass(frozen=True)
class Standing:
    """What else bears on a grant.

    Attributes:
        granted_here: it has, or had, a grant of this programme.
        doubled: another programme subsidises the same, and one of the two rules does not combine with the other.
        others_running: loans of the merchant, or policies for the same cover and days, that this programme subsidises.
        yearly_fen: set aside for the merchant's other grants of this programme, by calendar year.
        left_fen: of the budget.
    """

    granted_here: bool = False
    doubled: bool = False
    others_running: int = 0
    yearly_fen: Mapping[int, int] | None = None
    left_fen: int | None = None


def of_merchant(who: Beneficiaries, merchant: Applicant) -> tuple[tuple[Refusal, bool], ...]:
    """Reasons that lie in the merchant, and whether each holds."""
    return (
        ("subsidy-kind", bool(who.kinds) and merchant.kind not in who.kinds),
        ("subsidy-origin", bool(who.origins) and merchant.origin not in who.origins),
        ("subsidy-place", bool(who.places) and not any(lies_in(merchant.place, each) for each in who.places)),
    )


def of_money(
    standing: Standing, *, asked: Mapping[int, int], needed: Mapping[int, int]
) -> tuple[tuple[Refusal, bool], ...]:
    """Reasons that lie in the money, and whether each holds.

    Args:
        asked, needed: to be set aside, without and with the merchant's yearly limit, by calendar year.
    """
    need = sum(needed.values())
    return (
        ("subsidy-yearly-limit", sum(asked.values()) > 0 and need == 0),
        ("subsidy-budget", standing.left_fen is not None and need > standing.left_fen),
    )


def combines(rule: SubsidyRule | PremiumRule, others: Collection[SubsidyRule | PremiumRule]) -> bool:
    """Whether one may have this programme beside all of the others: each of two has to name the other."""
    return all(
        other.programme in rule.combines_with and rule.programme in other.combines_with
        for other in others
        if other.programme != rule.programme
    )


def within_year(
    rule: SubsidyRule | PremiumRule, by_year: Mapping[int, int], taken: Mapping[int, int]
) -> dict[int, int]:
    """Amounts within what is left of a merchant's yearly limit; years without any left out."""
    most = rule.most_fen_a_year
    if most is None:
        return {year: fen for year, fen in by_year.items() if fen}
    return at_most(by_year, {year: max(most - taken.get(year, 0), 0) for year in by_year})


def at_most(by_year: Mapping[int, int], limits: Mapping[int, int]) -> dict[int, int]:
    """Amounts no greater than their year's limit, which is 0 where none is named; years without any left out."""
    found = {year: min(fen, limits.get(year, 0)) for year, fen in by_year.items()}
    return {year: fen for year, fen in found.items() if fen}
