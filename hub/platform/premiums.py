"""Why a policy's premium is subsidised or not, what is set aside for it, and what it is due by a day. Pure.

The premium is earned evenly over the policy's days; of each day's part the share that holds on that day is subsidised.
What has grown up to a day is an exact fraction, rounded half up; a calendar year gets what has grown up to its end less
what had grown up to its beginning. So the years of a policy, and the bookings of any split of its time, sum to its
premium times the share, to the fen. A policy that ends early grows no further.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from hub.platform.accrual import Level, Stretch, by_year, weighed_days, whole_fen
from hub.platform.policies import Policy
from hub.platform.products import Applicant
from hub.platform.subsidy_reasons import Refusal, Standing, at_most, of_merchant, of_money, within_year
from hub.platform.subsidy_rules import PremiumRule


def refusals(
    rule: PremiumRule, merchant: Applicant, policy: Policy, standing: Standing, *, today: date
) -> tuple[Refusal, ...]:
    """Return every reason why a policy gets no subsidy; none if it gets one."""
    insurers = rule.who.insurers
    unmet: tuple[tuple[Refusal, bool], ...] = (
        *of_merchant(rule.who, merchant),
        ("subsidy-insurer", bool(insurers) and policy.insurer not in insurers),
        ("subsidy-covers", not set(rule.least_covers) <= set(policy.terms.covers)),
        ("subsidy-not-covered-now", policy.covered_until <= today),
        ("subsidy-begins-outside", not rule.since <= policy.terms.since < rule.until),
        ("subsidy-already", standing.granted_here),
        ("subsidy-double", standing.doubled),
        ("subsidy-policies-at-once", standing.others_running >= rule.policies_at_once),
        *of_money(
            standing, asked=set_aside(rule, policy, {}), needed=set_aside(rule, policy, standing.yearly_fen or {})
        ),
    )
    return tuple(reason for reason, holds in unmet if holds)


def set_aside(rule: PremiumRule, policy: Policy, taken: Mapping[int, int]) -> dict[int, int]:
    """What a grant may cost in each calendar year, in fen, if the policy runs its whole time.

    Args:
        taken: of the merchant's yearly limit, by its other grants.
    """
    return within_year(rule, _grown_by_year(rule, policy, policy.terms.until), taken)


def due(rule: PremiumRule, policy: Policy, until: date, aside: Mapping[int, int]) -> dict[int, int]:
    """What a grant is due for the days before `until`, in fen by calendar year: grown, within what was set aside."""
    return at_most(_grown_by_year(rule, policy, min(until, policy.covered_until)), aside)


def _grown_by_year(rule: PremiumRule, policy: Policy, end: date) -> dict[int, int]:
    """What grows under the rule from the policy's first day to before `end`, in fen by calendar year."""
    if end <= policy.terms.since:
        return {}
    whole = Stretch(policy.terms.since, end).within(rule.stretch)
    if whole is None:
        return {}
    found: dict[int, int] = {}
    before = 0
    for year, stretch in by_year(whole):
        so_far = _grown(rule, policy, Stretch(whole.since, stretch.until))
        found[year], before = so_far - before, so_far
    return found


def _grown(rule: PremiumRule, policy: Policy, stretch: Stretch) -> int:
    """The whole fen that have grown in a stretch."""
    premium = (Level(policy.terms.since, policy.terms.premium_fen),)
    return whole_fen(weighed_days(premium, rule.levels, stretch, at_most=rule.most_premium_fen) / policy.days)
