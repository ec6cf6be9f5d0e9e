"""A financing as it stands, and what follows from its plan and payments: arrears, days overdue, whether it may close.

Pure: nothing here knows a database or a clock. `hub.platform.financing_book` keeps financings and moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import accumulate
from typing import Literal, TypeAlias

from hub.platform.financing_states import State, Step, after
from hub.platform.instalments import Instalment, checked_plan
from hub.platform.lending_errors import FinancingTermsError, RepaymentError

DefaultCause: TypeAlias = Literal["overdue", "insolvency", "write-off"]
DEFAULT_DAYS = 90
"""So many days overdue are a default, whatever else happens."""
MAX_AMOUNT_FEN = 10**13
"""A hundred milliards of yuan: anything above is a slip of the unit."""


@dataclass(frozen=True)
class Repayment:
    """A payment that came in on a day, in fen; `reference` is the bank's own name of it."""

    paid_on: date
    principal_fen: int
    interest_fen: int
    reference: str

    @property
    def total_fen(self) -> int:
        """Both together."""
        return self.principal_fen + self.interest_fen


@dataclass(frozen=True)
class Financing:
    """A financing.

    Attributes:
        financing_id: 32 hex digits.
        account_id: the merchant's.
        bank: the party that lends.
        product_id, product_version: as applied for; the version never changes.
        amount_fen: asked for, then offered, then contracted.
        annual_rate: millionths; 0 until an offer names it.
        term_months: likewise.
        state: see `hub.platform.financing_states`.
        applied_on, contracted_on, disbursed_on, ended_on: civil dates in Asia/Shanghai; `ended_on` is the day of any
            of the four ends before repayment, of closing, or of default.
        plan: what is due, from the disbursement on.
        repayments: what came in, in order of days.
        version: counts changes; a caller that names another than the present one is refused.
    """

    financing_id: str
    account_id: str
    bank: str
    product_id: str
    product_version: int
    amount_fen: int
    annual_rate: int
    term_months: int
    state: State
    applied_on: date
    contracted_on: date | None = None
    disbursed_on: date | None = None
    ended_on: date | None = None
    plan: tuple[Instalment, ...] = ()
    repayments: tuple[Repayment, ...] = ()
    version: int = 1

    @property
    def outstanding_fen(self) -> int:
        """Principal that was paid out and has not come back."""
        if self.disbursed_on is None:
            return 0
        return self.amount_fen - sum(each.principal_fen for each in self.repayments)

    def arrears_fen(self, on: date) -> int:
        """What was due by the end of a day and has not been paid by then: principal and interest together."""
        due = sum(each.total_fen for each in self.plan if each.due_on <= on)
        return max(0, due - self.paid_fen(on))

    def overdue_days(self, on: date) -> int:
        """Days since the oldest instalment fell due that is not fully paid by the end of a day; 0 on the due day."""
        if self.state == State.CLOSED and self.ended_on is not None and on >= self.ended_on:
            return 0
        paid = self.paid_fen(on)
        for instalment, needed in zip(self.plan, accumulate(each.total_fen for each in self.plan), strict=True):
            if instalment.due_on > on:
                return 0
            if needed > paid:
                return (on - instalment.due_on).days
        return 0

    def in_default_since(self) -> date | None:
        """The day of its default, or None."""
        return self.ended_on if self.state == State.DEFAULTED else None

    def recovered_on(self) -> date | None:
        """The day on which a default's principal had come back as a whole, or None."""
        if self.state != State.DEFAULTED:
            return None
        left = self.amount_fen
        for each in self.repayments:
            left -= each.principal_fen
            if left == 0:
                return each.paid_on
        return None

    def paid_fen(self, on: date) -> int:
        """What came in by the end of a day: principal and interest together."""
        return sum(each.total_fen for each in self.repayments if each.paid_on <= on)


def scored(financing: Financing) -> Financing:
    """The consented score has come."""
    return _moved(financing, Step.SCORE)


def offered(financing: Financing, *, amount_fen: int, annual_rate: int, term_months: int) -> Financing:
    """The bank offers; an earlier offer of its own is replaced."""
    if not 0 < amount_fen <= MAX_AMOUNT_FEN:
        raise FinancingTermsError("The amount is out of range.", field="amount_fen", remedy="Give it in fen.")
    return replace(
        _moved(financing, Step.OFFER), amount_fen=amount_fen, annual_rate=annual_rate, term_months=term_months
    )


def contracted(financing: Financing, *, on: date) -> Financing:
    """The merchant took the offer, and both signed."""
    _in_order(financing.applied_on, on, "contracted_on")
    return replace(_moved(financing, Step.CONTRACT), contracted_on=on)


def disbursed(financing: Financing, *, on: date, plan: tuple[Instalment, ...]) -> Financing:
    """The bank paid out the whole amount; from now on `plan` is due."""
    moved = _moved(financing, Step.DISBURSE)
    _in_order(financing.contracted_on, on, "disbursed_on")
    return replace(moved, disbursed_on=on, plan=checked_plan(financing.amount_fen, on, plan))


def repaid(financing: Financing, payment: Repayment) -> Financing:
    """A payment came in. The one that brings back the last of the principal closes the financing.

    Raises:
        FinancingStateError: nothing was paid out, or it is closed already.
        RepaymentError: the reference came before, nothing or too much is paid, or the day lies before the last one.
    """
    recovers = financing.state == State.DEFAULTED
    state = after(financing.state, Step.RECOVER if recovers else Step.REPAY)
    if any(each.reference == payment.reference for each in financing.repayments):
        raise RepaymentError(
            "A repayment of this reference is known already.",
            field="reference",
            remedy="Nothing is to be done if it is the same payment; give another reference if it is not.",
        )
    if min(payment.principal_fen, payment.interest_fen) < 0 or payment.total_fen == 0:
        raise RepaymentError("A repayment pays something.", field="principal_fen", remedy="Give both amounts in fen.")
    outstanding = financing.outstanding_fen
    if payment.principal_fen > outstanding:
        raise RepaymentError(
            f"The repayment's principal is more than the {outstanding} fen that are outstanding.",
            field="principal_fen",
            remedy="Book what is beyond the outstanding principal as interest, or give it back.",
        )
    last = financing.repayments[-1].paid_on if financing.repayments else financing.disbursed_on
    _in_order(last, payment.paid_on, "paid_on")
    closes = not recovers and payment.principal_fen == outstanding
    return replace(
        financing,
        state=after(state, Step.CLOSE) if closes else state,
        version=financing.version + 1,
        repayments=(*financing.repayments, payment),
        ended_on=payment.paid_on if closes else financing.ended_on,
    )


def defaulted(financing: Financing, *, on: date, cause: DefaultCause) -> Financing:
    """The bank declares a default.

    Raises:
        FinancingStateError: nothing is outstanding.
        FinancingTermsError: `overdue` is the cause, and it is not `DEFAULT_DAYS` overdue on this day.
    """
    moved = _moved(financing, Step.DEFAULT)
    last = financing.repayments[-1].paid_on if financing.repayments else financing.disbursed_on
    _in_order(last, on, "on")
    if cause == "overdue" and (days := financing.overdue_days(on)) < DEFAULT_DAYS:
        raise FinancingTermsError(
            f"The financing is {days} days overdue, not {DEFAULT_DAYS}.",
            field="cause",
            remedy="Name another cause, or wait until it is that long overdue.",
        )
    return replace(moved, ended_on=on)


def ended(financing: Financing, step: Literal[Step.WITHDRAW, Step.REFUSE, Step.EXPIRE], *, on: date) -> Financing:
    """It ends before any money was paid out."""
    moved = _moved(financing, step)
    _in_order(financing.contracted_on or financing.applied_on, on, "on")
    return replace(moved, ended_on=on)


def overdue_spells(financing: Financing, until: date) -> Iterator[tuple[Instalment, int]]:
    """Every instalment that was paid late by the end of a day, and by how many days (so far, where it is unpaid)."""
    payments = list(zip(financing.repayments, accumulate(each.total_fen for each in financing.repayments), strict=True))
    for instalment, needed in zip(financing.plan, accumulate(each.total_fen for each in financing.plan), strict=True):
        if instalment.due_on >= until:
            return
        paid_on = next((each.paid_on for each, paid in payments if paid >= needed and each.paid_on <= until), until)
        if financing.state == State.CLOSED and financing.ended_on is not None:
            paid_on = min(paid_on, financing.ended_on)  # an early end leaves interest of later months undue
        if paid_on > instalment.due_on:
            yield instalment, (paid_on - instalment.due_on).days


def _moved(financing: Financing, step: Step) -> Financing:
    return replace(financing, state=after(financing.state, step), version=financing.version + 1)


def _in_order(before: date | None, on: date, field: str) -> None:
    if before is not None and on < before:
        raise FinancingTermsError(
            f"{on} lies before {before}, when the step before it was.", field=field, remedy="Correct the date."
        )
