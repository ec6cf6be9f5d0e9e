"""Rules of interest subsidies (贴息) and premium subsidies (综合保险补贴): whose, at which rate, up to what, when, and
out of which budget.

A programme's rule is published in versions that never change; a grant names the version it was made under.
"""

from __future__ import annotations

import itertools
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_validator

from crypto.wire.base import PartyId
from hub.platform.accrual import DayCount, Level, Stretch
from hub.platform.instalments import MILLION
from hub.platform.policies import Cover
from hub.platform.products import Bilingual, Fen, MerchantKind, ProductId, Rate, Region
from hub.platform.subsidy_errors import ProgrammeError
from models.yaml_file import load_yaml_model

ProgrammeId = ProductId
Share = Annotated[Decimal, Field(gt=0, le=1, decimal_places=6)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RateFrom(_Closed):
    """The subsidy's annual rate from a day on."""

    since: date
    rate: Rate


class ShareFrom(_Closed):
    """The share of premiums that is subsidised from a day on."""

    since: date
    share: Share


class Beneficiaries(_Closed):
    """Whose; what is not named does not matter.

    Attributes:
        kinds: of merchants.
        origins: GB/T 2260 codes of the counties where merchants come from.
        places: of provinces, prefectures or counties of business.
    """

    kinds: tuple[MerchantKind, ...] = ()
    origins: tuple[Region, ...] = ()
    places: tuple[Region, ...] = ()


class Borrowers(Beneficiaries):
    """Whose loans.

    Attributes:
        banks: that lend.
        products: as ``bank/product``.
    """

    banks: tuple[PartyId, ...] = ()
    products: tuple[Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")], ...] = ()


class Insured(Beneficiaries):
    """Whose policies.

    Attributes:
        insurers: with whom.
    """

    insurers: tuple[PartyId, ...] = ()


class _Rule(_Closed):
    """What all programmes say.

    Attributes:
        most_fen_a_year: for one merchant in a calendar year, all its grants of the programme together.
        since, until: money grows from the first day to before the last.
        budget_fen: of the programme, all versions of its rule together: the newest counts.
        combines_with: programmes that may subsidise the same.
    """

    programme: ProgrammeId
    title: Bilingual
    most_fen_a_year: Fen | None = None
    since: date
    until: date
    budget_fen: Fen
    combines_with: tuple[ProgrammeId, ...] = ()

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.until <= self.since:
            raise ValueError("until: must lie after since")
        if self.programme in self.combines_with:
            raise ValueError("combines_with: a programme does not combine with itself")
        return self

    @property
    def stretch(self) -> Stretch:
        """When money grows."""
        return Stretch(self.since, self.until)


class SubsidyRule(_Rule):
    """A version of the rule of an interest subsidy; only loans paid out in the programme's time count.

    Attributes:
        who: gets it.
        rates: of the subsidy, in order of their days; before the first there is none.
        most_of_loan_rate: the subsidy's rate is never more than this share of the loan's own.
        most_loan_rate: dearer loans are not subsidised.
        most_principal_fen: of a loan that counts.
        day_count: of the year.
        pause_after_days: so many days after something fell due unpaid, growth pauses until it is paid.
        loans_at_once: of a merchant that are subsidised in the same time, by this programme.
    """

    kind: Literal["interest"] = "interest"
    who: Borrowers = Borrowers()
    rates: Annotated[tuple[RateFrom, ...], Field(min_length=1)]
    most_of_loan_rate: Share = Decimal(1)
    most_loan_rate: Rate | None = None
    most_principal_fen: Fen | None = None
    day_count: DayCount = "actual/360"
    pause_after_days: Annotated[int, Field(ge=0, le=365, strict=True)] = 0
    loans_at_once: Annotated[int, Field(ge=1, strict=True)] = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(later.since <= earlier.since for earlier, later in itertools.pairwise(self.rates)):
            raise ValueError("rates: days must rise")
        return self

    def rates_for(self, loan_rate: int) -> tuple[Level, ...]:
        """The subsidy's rates for a loan, in millionths: rounded down where the loan's own rate limits them."""
        limit = int(self.most_of_loan_rate * loan_rate)
        return tuple(Level(each.since, min(int(each.rate * MILLION), limit)) for each in self.rates)


class PremiumRule(_Rule):
    """A version of the rule of a premium subsidy; only policies that begin in the programme's time count.

    Attributes:
        who: gets it.
        shares: of the premium, in order of their days; before the first there is none.
        least_covers: what a policy has to cover, all of it.
        most_premium_fen: of a policy that counts.
        policies_at_once: of a merchant that are subsidised for the same cover and days, by this programme.
    """

    kind: Literal["premium"]
    who: Insured = Insured()
    shares: Annotated[tuple[ShareFrom, ...], Field(min_length=1)]
    least_covers: tuple[Cover, ...] = ()
    most_premium_fen: Fen | None = None
    policies_at_once: Annotated[int, Field(ge=1, strict=True)] = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(later.since <= earlier.since for earlier, later in itertools.pairwise(self.shares)):
            raise ValueError("shares: days must rise")
        return self

    @property
    def levels(self) -> tuple[Level, ...]:
        """The shares, in millionths."""
        return tuple(Level(each.since, int(each.share * MILLION)) for each in self.shares)


def _kind_of(rule: Any) -> str:
    """What a rule is of; of interest where it does not say."""
    found = rule.get("kind", "interest") if isinstance(rule, dict) else getattr(rule, "kind", "interest")
    return str(found)


Rule: TypeAlias = Annotated[
    Annotated[SubsidyRule, Tag("interest")] | Annotated[PremiumRule, Tag("premium")], Discriminator(_kind_of)
]
RULES: TypeAdapter[SubsidyRule | PremiumRule] = TypeAdapter(Rule)


class SubsidyFile(_Closed):
    """A YAML file of rules, to be published as a whole or not at all."""

    programmes: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [each.programme for each in self.programmes]
        if len(set(names)) != len(names):
            raise ValueError("programmes: one stands in the file twice")
        return self


def read_programmes(path: Path) -> tuple[SubsidyRule | PremiumRule, ...]:
    """Read a file of rules.

    Raises:
        ProgrammeError: it cannot be read or does not fit; the message names file, line and field of each problem.
    """
    return load_yaml_model(path, SubsidyFile, error=ProgrammeError).programmes
