"""Are groups of merchants approved, judged and ranked alike? Ratios and differences with intervals, and what they mean.

The adverse impact ratio is a group's share of approvals over that of the group most often approved; below four fifths
it calls for a reason (the rule of thumb of 29 CFR 1607.4; PIPL 24 asks for decisions without unreasonable differences).
A ratio is judged by its whole interval: noise alone must neither accuse nor acquit. Intervals of ratios and differences
come from those of both sides (Zou & Donner 2008), groups taken as independent; of the logarithms for ratios.

A difference of approvals is no proof of unfairness where defaults differ as well: so the share of defaults that was
observed beyond what was predicted stands beside it, for a group that is judged too harshly shows there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.evaluation import Interval
from models.evaluation_result import Estimate, GroupResult

Finding: TypeAlias = Literal["reference", "alike", "unclear", "adverse", "unknown"]
FOUR_FIFTHS = 0.8
_LEAST_SHARE = 0.05
"""A group with fewer of the merchants is not what others are measured by."""


@dataclass(frozen=True)
class GroupParity:
    """One group against the reference.

    Attributes:
        impact: adverse impact ratio.
        pd_difference: mean predicted PD less the reference's.
        auc_difference: AUC less the reference's.
        surplus: share that defaulted less the mean predicted PD of the group itself.
        finding: by the ratio.
    """

    group: str
    impact: Interval | None
    pd_difference: Interval | None
    auc_difference: Interval | None
    surplus: Interval | None
    finding: Finding


def parity_of(groups: Sequence[GroupResult]) -> tuple[GroupParity, ...]:
    """All groups of one grouping, in their order; the reference is the one most often approved of those not tiny."""
    total = sum(each.count_good + each.count_bad for each in groups)
    known = [
        each
        for each in groups
        if each.approved is not None and each.count_good + each.count_bad >= _LEAST_SHARE * total
    ]
    reference = max(known, key=_approved, default=None)
    return tuple(_against(each, reference) for each in groups)


def difference(one: Estimate | None, two: Estimate | None) -> Interval | None:
    """one − two."""
    if one is None or two is None:
        return None
    value = one.value - two.value
    down = math.hypot(one.value - one.low, two.high - two.value)
    up = math.hypot(one.high - one.value, two.value - two.low)
    return Interval(value, value - down, value + up)


def ratio(one: Estimate | None, two: Estimate | None) -> Interval | None:
    """one ÷ two; None where the interval of two reaches 0, or one is 0."""
    if one is None or two is None or two.low <= 0 or one.value <= 0:
        return None
    value = one.value / two.value
    up = math.hypot(math.log(one.high / one.value), math.log(two.value / two.low))
    if one.low <= 0:
        return Interval(value, 0.0, value * math.exp(up))
    down = math.hypot(math.log(one.value / one.low), math.log(two.high / two.value))
    return Interval(value, value * math.exp(-down), value * math.exp(up))


def _against(group: GroupResult, reference: GroupResult | None) -> GroupParity:
    surplus = difference(group.default_rate, group.mean_pd)
    if reference is None or group is reference:
        return GroupParity(group.group, None, None, None, surplus, "unknown" if reference is None else "reference")
    impact = ratio(group.approved, reference.approved)
    return GroupParity(
        group=group.group,
        impact=impact,
        pd_difference=difference(group.mean_pd, reference.mean_pd),
        auc_difference=difference(group.auc, reference.auc),
        surplus=surplus,
        finding=_finding(impact),
    )


def _finding(impact: Interval | None) -> Finding:
    if impact is None:
        return "unknown"
    if impact.high < FOUR_FIFTHS:
        return "adverse"
    return "alike" if impact.low >= FOUR_FIFTHS else "unclear"


def _approved(group: GroupResult) -> float:
    return 0.0 if group.approved is None else group.approved.value
