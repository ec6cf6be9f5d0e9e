"""Policies of comprehensive insurance (综合保险): what an insurer covers for a merchant, from when to when. Pure.

A policy's premium is earned day by day, from its first day to the day before it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hub.platform.accrual import Stretch
from hub.platform.insurance_errors import PolicyStateError
from hub.platform.products import Fen

Cover: TypeAlias = Literal["property", "public-liability", "employees", "accident", "interruption"]
EndCause: TypeAlias = Literal["cancelled", "lapsed", "total-loss"]
Covers = Annotated[tuple[Cover, ...], Field(min_length=1, max_length=5)]
PolicyNumber = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]
MAX_DAYS = 1_100
"""Three years, leap days included: the longest policy."""


class PolicyTerms(BaseModel):
    """A policy as its insurer reports it.

    Attributes:
        number: the insurer's own.
        account_id: of the merchant.
        sum_insured_fen: over all covers.
        premium_fen: for all days from `since` to before `until`, before any subsidy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: PolicyNumber
    account_id: Annotated[str, Field(min_length=1, max_length=32)]
    covers: Covers
    sum_insured_fen: Fen
    premium_fen: Fen
    since: date
    until: date

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not self.since < self.until:
            raise ValueError("until: must lie after since")
        if (self.until - self.since).days > MAX_DAYS:
            raise ValueError(f"until: a policy runs for at most {MAX_DAYS} days")
        if len(set(self.covers)) != len(self.covers):
            raise ValueError("covers: one stands there twice")
        return self


@dataclass(frozen=True)
class Policy:
    """A policy as it stands.

    Attributes:
        ended_on: the first day without cover, where it ended before its time.
    """

    policy_id: str
    insurer: str
    terms: PolicyTerms
    ended_on: date | None = None
    cause: EndCause | None = None

    @property
    def account_id(self) -> str:
        """The merchant's."""
        return self.terms.account_id

    @property
    def days(self) -> int:
        """For which the premium was agreed."""
        return (self.terms.until - self.terms.since).days

    @property
    def covered_until(self) -> date:
        """The first day without cover."""
        return self.terms.until if self.ended_on is None else self.ended_on

    @property
    def covered(self) -> Stretch:
        """Days with cover; none where it ended with its first day."""
        return Stretch(self.terms.since, self.covered_until)


def ended(policy: Policy, on: date, cause: EndCause) -> Policy:
    """The policy without cover from a day on.

    Raises:
        PolicyStateError: it has ended before, or the day lies outside of it.
    """
    if policy.ended_on is not None:
        raise PolicyStateError(
            f"The policy ended on {policy.ended_on} already.",
            field="on",
            remedy="Nothing is to do; or tell the office.",
        )
    if not policy.terms.since <= on < policy.terms.until:
        raise PolicyStateError(
            f"The policy runs from {policy.terms.since} to before {policy.terms.until}.",
            field="on",
            remedy="Name the first day without cover, within that time.",
        )
    return replace(policy, ended_on=on, cause=cause)
