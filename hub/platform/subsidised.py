"""What grants are made for, each bound to the rule that it is granted under: loans, and policies of insurance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, TypeAlias

from sqlalchemy.orm import Session

from hub.platform import financing_rows, policy_rows, premiums, subsidies
from hub.platform.financing_batch import unknown
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.policies import Policy
from hub.platform.products import Applicant
from hub.platform.subsidy_errors import GrantKindError
from hub.platform.subsidy_reasons import Refusal, Standing
from hub.platform.subsidy_rules import PremiumRule, SubsidyRule
from hub.platform.tables.subsidies import GrantRow


class Thing(NamedTuple):
    """A loan by its financing, or a policy: one of the two."""

    financing_id: str | None = None
    policy_id: str | None = None

    @property
    def subject(self) -> str:
        """As the audit record names it."""
        return self.financing_id or self.policy_id or ""


@dataclass(frozen=True)
class SubsidisedLoan:
    """A loan under a rule of interest subsidies."""

    rule: SubsidyRule
    financing: Financing

    @property
    def account_id(self) -> str:
        """The merchant's."""
        return self.financing.account_id

    @property
    def alike(self) -> Sequence[str]:
        """Of all that counts as the same money spent: this loan alone."""
        return (self.financing.financing_id,)

    def refusals(self, merchant: Applicant, standing: Standing, today: date) -> tuple[Refusal, ...]:
        """Return every reason why it gets no subsidy."""
        del today
        return subsidies.refusals(self.rule, merchant, self.financing, standing)

    def set_aside(self, taken: Mapping[int, int]) -> dict[int, int]:
        """What a grant may cost, in fen by calendar year."""
        return subsidies.set_aside(self.rule, self.financing, taken)

    def due(self, until: date, aside: Mapping[int, int]) -> dict[int, int]:
        """What a grant is due for the days before `until`, in fen by calendar year."""
        return subsidies.due(self.rule, self.financing, until, aside)

    def is_over(self, until: date) -> bool:
        """Whether the loan has ended, and all days before are looked at."""
        if self.financing.state not in {State.CLOSED, State.DEFAULTED} or self.financing.ended_on is None:
            return False
        return until >= self.financing.ended_on


@dataclass(frozen=True)
class SubsidisedPolicy:
    """A policy under a rule of premium subsidies.

    Attributes:
        alike: the policy itself, and the merchant's others that share days and a cover with it.
    """

    rule: PremiumRule
    policy: Policy
    alike: Sequence[str] = ()

    @property
    def account_id(self) -> str:
        """The merchant's."""
        return self.policy.account_id

    def refusals(self, merchant: Applicant, standing: Standing, today: date) -> tuple[Refusal, ...]:
        """Return every reason why it gets no subsidy."""
        return premiums.refusals(self.rule, merchant, self.policy, standing, today=today)

    def set_aside(self, taken: Mapping[int, int]) -> dict[int, int]:
        """What a grant may cost, in fen by calendar year."""
        return premiums.set_aside(self.rule, self.policy, taken)

    def due(self, until: date, aside: Mapping[int, int]) -> dict[int, int]:
        """What a grant is due for the days before `until`, in fen by calendar year."""
        return premiums.due(self.rule, self.policy, until, aside)

    def is_over(self, until: date) -> bool:
        """Whether the policy's time is over, and all days before are looked at."""
        return until >= self.policy.covered_until


Subsidised: TypeAlias = SubsidisedLoan | SubsidisedPolicy


def bound(session: Session, rule: SubsidyRule | PremiumRule, thing: Thing) -> Subsidised:
    """Load what a grant is asked for.

    Raises:
        FinancingUnknownError, PolicyUnknownError: there is none.
        GrantKindError: the programme is for the other kind of thing.
    """
    if isinstance(rule, SubsidyRule) and thing.financing_id is not None:
        loaded = financing_rows.load(session, [thing.financing_id]).get(thing.financing_id)
        if loaded is None:
            raise unknown(thing.financing_id)
        return SubsidisedLoan(rule, loaded[1])
    if isinstance(rule, PremiumRule) and thing.policy_id is not None:
        policy = policy_rows.one(session, thing.policy_id)
        return SubsidisedPolicy(rule, policy, [each.policy_id for each in policy_rows.alike(session, policy)])
    wanted = "financing_id" if isinstance(rule, SubsidyRule) else "policy_id"
    raise GrantKindError(
        f"Programme {rule.programme} subsidises {'loans' if wanted == 'financing_id' else 'premiums of policies'}.",
        field=wanted,
        remedy=f"Name a {wanted}, or another programme.",
    )


def bound_all(
    session: Session, rows: Sequence[GrantRow], rules: Mapping[int, SubsidyRule | PremiumRule]
) -> dict[int, Subsidised]:
    """Load what a batch of grants was made for, by the grants' numbers, in a few queries."""
    loans = financing_rows.load(session, [row.financing_id for row in rows if row.financing_id is not None])
    policies = policy_rows.load(session, [row.policy_id for row in rows if row.policy_id is not None])
    found: dict[int, Subsidised] = {}
    for row in rows:
        rule = rules[row.number]
        if isinstance(rule, SubsidyRule) and row.financing_id is not None:
            found[row.number] = SubsidisedLoan(rule, loans[row.financing_id][1])
        elif isinstance(rule, PremiumRule) and row.policy_id is not None:
            found[row.number] = SubsidisedPolicy(rule, policies[row.policy_id])
        else:
            raise RuntimeError(f"grant {row.number} is not of what its rule is for")
    return found
