"""Makes a synthetic world from its parameters: who the merchants are, who borrows, and how each loan is paid back.

Merchants, and what becomes of them, are `models.lishui`'s, so that the features which sources hold of the same seed fit
to the loans here. Averages of a year's amounts and rates are met to a rounding unit of their sum: single values are
drawn, scaled to the average, and rounded by largest remainders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from crypto.synthetic_codes import synthetic_usccs
from hub.platform.financing_orders import financing_id_of
from hub.platform.financing_states import State
from hub.platform.financings import (
    Financing,
    Repayment,
    contracted,
    defaulted,
    disbursed,
    offered,
    repaid,
    scored,
)
from hub.platform.instalments import MILLION, RepaymentKind, plan_of
from hub.platform.products import MerchantKind
from hub.platform.world.parameters import YEARS, WorldParameters
from models.lishui.blocks import Block, draw_block
from models.lishui.merchants import INN
from models.lishui.places import COUNTIES, PROVINCES

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

PRODUCT = "two-small-synthetic"
_CREDIT_UNIT = 10_000  # fen: amounts are whole hundreds of yuan
_RATE_UNIT = 100  # millionths: rates are whole hundredths of a per cent
_INDUSTRIES: dict[MerchantKind, tuple[str, ...]] = {
    "supermarket": ("5212", "5213", "5219"),
    "inn": ("6121", "6129", "6130", "6190"),
}
_REPAYMENTS: tuple[RepaymentKind, ...] = ("equal-instalments", "equal-principal", "interest-then-principal")
_DAYS_TO_PAYOUT = 10
_DAYS_TO_DEFAULT = 95
_MOST_DAYS_LATE = 45
_STREAM = 0xD16  # apart from the blocks' own streams


@dataclass(frozen=True)
class WorldMerchant:
    """A synthetic merchant.

    Attributes:
        row: its row in block 0 of `models.lishui` under the world's seed.
        identifier: in the form of a unified social credit code that no authority can have issued.
        industry: GB/T 4754-2017; origin, place: GB/T 2260.
        months_registered: whole months in business at the world's end.
    """

    row: int
    account_id: str
    kind: MerchantKind
    name: str
    identifier: str
    industry: str
    origin: str
    place: str
    months_registered: int


@dataclass(frozen=True)
class World:
    """A world as it stands at the end of its last day."""

    parameters: WorldParameters
    merchants: tuple[WorldMerchant, ...]
    financings: tuple[Financing, ...]

    @property
    def last_day(self) -> date:
        """The end of the third year."""
        return date(self.parameters.first_year + YEARS - 1, 12, 31)


def draw_world(parameters: WorldParameters) -> World:
    """Make the world; the same parameters give the same one."""
    block = draw_block(parameters.seed, 0)
    rng = np.random.default_rng(np.random.SeedSequence(parameters.seed, spawn_key=(_STREAM,)))
    merchants = _merchants(rng, block, parameters.merchants)
    return World(parameters, merchants, tuple(_financings(rng, block, parameters, merchants)))


def shared_out(weights: Floats, average: float) -> Indices:
    """Whole numbers in proportion to weights, whose average is as near to `average` as whole numbers come.

    Args:
        weights: (n,) positive.
        average: of the numbers.

    Returns:
        (n,) numbers; those with the largest remainders were rounded up.
    """
    exact = weights / weights.mean() * average
    whole: Indices = np.floor(exact).astype(np.int64)
    missing = round(average * len(weights)) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
    return whole


def reference_of(account_id: str, paid_out_on: date) -> str:
    """The bank's own name of a financing: a merchant has one a year."""
    return f"SYNTHETIC-{account_id}-{paid_out_on.year}"


def _merchants(rng: np.random.Generator, block: Block, count: int) -> tuple[WorldMerchant, ...]:
    who = block.merchants
    counties, provinces = list(COUNTIES), list(PROVINCES)
    places = [provinces[index] for index in who.province[:count]]
    found = []
    picks = rng.random(count)
    for row, code in enumerate(synthetic_usccs(places, 0)):
        kind: MerchantKind = "inn" if who.trade[row] == INN else "supermarket"
        classes = _INDUSTRIES[kind]
        found.append(
            WorldMerchant(
                row=row,
                account_id=f"synthetic{row:07d}",
                kind=kind,
                name=f"合成{'旅馆' if kind == 'inn' else '超市'}{row:07d}",
                identifier=code,
                industry=classes[int(picks[row] * len(classes))],
                origin=counties[who.county[row]],
                place=places[row],
                months_registered=int(who.months_registered[row]),
            )
        )
    return tuple(found)


def _financings(
    rng: np.random.Generator, block: Block, its: WorldParameters, merchants: tuple[WorldMerchant, ...]
) -> Iterator[Financing]:
    who, count = block.merchants, its.merchants
    health, size, discipline = who.health[:count], who.size[:count], who.discipline[:count]
    comes_about = rng.random(count) < its.default_share
    default_month = np.where(comes_about, block.outcomes.month[:count], 0)
    may_borrow = np.ones(count, dtype=np.bool_)
    borrowed = np.zeros(count, dtype=np.bool_)
    own_bank = rng.integers(its.banks, size=count)  # a merchant stays with its bank
    last_day = date(its.first_year + YEARS - 1, 12, 31)
    for year, wanted in enumerate(its.financings):
        old_enough = who.months_registered[:count] >= 12 * (YEARS - year)
        appeal = np.exp(0.5 * health + 0.2 * size) * (may_borrow & old_enough)
        chosen = np.sort(rng.choice(count, size=wanted, replace=False, p=appeal / appeal.sum()))
        changes = ((0.0, 0.0), *zip(its.credit_change, its.rate_change, strict=True))[year]
        noise = rng.standard_normal((2, wanted))
        credit = np.exp(np.clip(0.4 * size[chosen] + 0.3 * noise[0], -1.4, 1.4))
        amounts = shared_out(credit, its.baseline_credit_yuan * 100 * (1 + changes[0]) / _CREDIT_UNIT)
        dear = np.exp(np.clip(-0.08 * health[chosen] + 0.06 * noise[1], -0.4, 0.4))
        rates = shared_out(dear, its.baseline_rate * MILLION * (1 + changes[1]) / _RATE_UNIT)
        first_day = date(its.first_year + year, 1, 1)
        days = (date(its.first_year + year, 12, 31) - first_day).days
        payout = rng.integers(_DAYS_TO_PAYOUT, days + 1, wanted)
        lateness = np.clip(its.late_share * np.exp(-0.6 * discipline[chosen]), 0, 1)
        for nth, row in enumerate(chosen):
            ends_at = 0 if borrowed[row] else int(default_month[row])  # only the first loan meets it
            agreed = _agreed(
                rng,
                its,
                account_id=merchants[row].account_id,
                bank=f"bank-{own_bank[row] + 1:02d}",
                amount_fen=int(amounts[nth]) * _CREDIT_UNIT,
                annual_rate=int(rates[nth]) * _RATE_UNIT,
                on=first_day + timedelta(int(payout[nth])),
            )
            found = _paid_back(rng, agreed, float(lateness[nth]), its.early_share, ends_at, last_day)
            may_borrow[row] &= not ends_at
            borrowed[row] = True
            yield found


def _agreed(
    rng: np.random.Generator,
    its: WorldParameters,
    *,
    account_id: str,
    bank: str,
    amount_fen: int,
    annual_rate: int,
    on: date,
) -> Financing:
    """A financing that was paid out on a day, ten days after the application."""
    term = int(rng.choice(np.array(its.terms)))
    applied = Financing(
        financing_id=financing_id_of(bank, reference_of(account_id, on)),
        account_id=account_id,
        bank=bank,
        product_id=PRODUCT,
        product_version=1,
        amount_fen=amount_fen,
        annual_rate=0,
        term_months=term,
        state=State.APPLIED,
        applied_on=on - timedelta(_DAYS_TO_PAYOUT),
    )
    offer = offered(scored(applied), amount_fen=amount_fen, annual_rate=annual_rate, term_months=term)
    kind = _REPAYMENTS[int(rng.integers(len(_REPAYMENTS)))]
    plan = plan_of(amount_fen, annual_rate, term, kind, on)
    return disbursed(contracted(offer, on=on - timedelta(2)), on=on, plan=plan)


def _paid_back(
    rng: np.random.Generator, financing: Financing, late: float, early: float, default_month: int, last_day: date
) -> Financing:
    """What came in by the last day. From `default_month` on (0: never) nothing comes in any more."""
    months = len(financing.plan)
    early_month = int(rng.integers(1, months + 1)) if rng.random() < early else 0
    is_late = rng.random(months) < late
    days_late = np.minimum(rng.geometric(0.12, months), _MOST_DAYS_LATE)
    found, before = financing, financing.plan[0].due_on
    for month, due in enumerate(financing.plan, start=1):
        if month == default_month:
            on = due.due_on + timedelta(_DAYS_TO_DEFAULT)
            return found if on > last_day else defaulted(found, on=on, cause="overdue")
        before = max(before, due.due_on + timedelta(int(days_late[month - 1]) if is_late[month - 1] else 0))
        if before > last_day:
            return found
        principal = found.outstanding_fen if month == early_month else due.principal_fen
        if principal + due.interest_fen:
            found = repaid(found, Repayment(before, principal, due.interest_fen, f"payment-{month}"))
        if found.state == State.CLOSED:
            return found
    return found
