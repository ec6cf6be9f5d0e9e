"""A financing: no step skipped or doubled, arrears from plan and payments, plans exact to the fen."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hub.platform.financing_states import FINAL, TRANSITIONS, State, Step, after
from hub.platform.financings import (
    Financing,
    Repayment,
    contracted,
    defaulted,
    disbursed,
    ended,
    offered,
    overdue_spells,
    repaid,
    scored,
)
from hub.platform.instalments import Instalment, checked_plan, months_later, plan_of
from hub.platform.lending_errors import FinancingStateError, FinancingTermsError, RepaymentError

DAY = date(2026, 1, 31)
KINDS = ("equal-instalments", "equal-principal", "interest-then-principal")


def applied(amount_fen: int = 1_200_000) -> Financing:
    return Financing(
        financing_id="f" * 32,
        account_id="a" * 32,
        bank="bank-01",
        product_id="shop",
        product_version=1,
        amount_fen=amount_fen,
        annual_rate=0,
        term_months=12,
        state=State.APPLIED,
        applied_on=DAY,
    )


def paid_out(amount_fen: int = 1_200_000, *, rate: int = 43_500, months: int = 12) -> Financing:
    taken = contracted(offered(scored(applied()), amount_fen=amount_fen, annual_rate=rate, term_months=months), on=DAY)
    return disbursed(taken, on=DAY, plan=plan_of(amount_fen, rate, months, "equal-instalments", DAY))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_plans_bring_back_the_amount_to_the_fen(kind: Any, data: st.DataObject) -> None:
    months = data.draw(st.integers(1, 120))
    amount = data.draw(st.integers(months, 10**10))
    rate = data.draw(st.integers(0, 360_000))
    plan = plan_of(amount, rate, months, kind, DAY)
    assert checked_plan(amount, DAY, plan) == plan
    assert len(plan) == months
    left = amount
    for each in plan:
        assert abs(each.interest_fen * 12 * 10**6 - left * rate) * 2 <= 12 * 10**6  # within half a fen
        left -= each.principal_fen
    assert left == 0


@given(amount=st.integers(10**4, 10**9), rate=st.integers(10_000, 200_000), months=st.integers(2, 60))
@settings(max_examples=60)
def test_equal_instalments_are_equal_but_for_the_last_one(amount: int, rate: int, months: int) -> None:
    totals = [each.total_fen for each in plan_of(amount, rate, months, "equal-instalments", DAY)]
    assert len(set(totals[:-1])) == 1
    # Rounding of at most half a fen a month grows with interest until the end.
    assert abs(totals[-1] - totals[0]) <= months * (1 + rate / 12e6) ** months


def test_a_plan_by_hand() -> None:
    plan = plan_of(1_000_000, 120_000, 3, "equal-instalments", date(2026, 1, 31))
    # 10,000.00 yuan at 1 % a month: 3,400.22 a month.
    assert plan == (
        Instalment(date(2026, 2, 28), 330_022, 10_000),
        Instalment(date(2026, 3, 31), 333_322, 6_700),
        Instalment(date(2026, 4, 30), 336_656, 3_367),
    )


def test_a_day_that_a_month_lacks_is_its_last() -> None:
    assert months_later(date(2027, 12, 31), 2) == date(2028, 2, 29)
    assert months_later(date(2026, 8, 31), 1) == date(2026, 9, 30)


@pytest.mark.parametrize(
    "plan",
    [
        (),
        (Instalment(DAY, 100, 0),),
        (Instalment(DAY + timedelta(1), 99, 0),),
        (Instalment(DAY + timedelta(1), 101, 0), Instalment(DAY + timedelta(2), -1, 0)),
        (Instalment(DAY + timedelta(2), 50, 0), Instalment(DAY + timedelta(1), 50, 0)),
    ],
    ids=["none", "too-early", "too-little", "negative", "not-in-order"],
)
def test_a_banks_own_plan_must_be_one(plan: tuple[Instalment, ...]) -> None:
    with pytest.raises(FinancingTermsError):
        checked_plan(100, DAY, plan)


@pytest.mark.parametrize("state", list(State), ids=str)
@pytest.mark.parametrize("step", list(Step), ids=str)
def test_only_steps_of_the_table_are_open(state: State, step: Step) -> None:
    if step in TRANSITIONS[state]:
        assert after(state, step) == TRANSITIONS[state][step]
        return
    with pytest.raises(FinancingStateError) as refused:
        after(state, step)
    assert refused.value.remedy is not None


def test_every_state_can_be_reached_and_the_ends_lead_nowhere() -> None:
    reached, todo = set(), [State.APPLIED]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += TRANSITIONS[state].values()
    assert reached == set(State)
    assert {State.CLOSED, State.WITHDRAWN, State.REFUSED, State.EXPIRED} == FINAL


def test_the_last_payment_closes_it() -> None:
    loan = paid_out()
    for number, due in enumerate(loan.plan):
        assert loan.state == State.DISBURSED
        loan = repaid(loan, Repayment(due.due_on, due.principal_fen, due.interest_fen, f"p{number}"))
        assert loan.overdue_days(due.due_on) == 0
    assert (loan.state, loan.outstanding_fen, loan.ended_on) == (State.CLOSED, 0, loan.plan[-1].due_on)
    with pytest.raises(FinancingStateError):
        repaid(loan, Repayment(loan.plan[-1].due_on, 1, 0, "more"))


def test_part_of_an_instalment_leaves_it_overdue() -> None:
    loan = paid_out()
    first, second = loan.plan[:2]
    on = first.due_on + timedelta(10)
    loan = repaid(loan, Repayment(first.due_on, first.principal_fen - 1, first.interest_fen, "a"))
    assert (loan.arrears_fen(on), loan.overdue_days(on), loan.overdue_days(first.due_on)) == (1, 10, 0)
    loan = repaid(loan, Repayment(on, 1, 0, "b"))
    assert (loan.arrears_fen(on), loan.overdue_days(on), loan.overdue_days(on - timedelta(1))) == (0, 0, 9)
    assert list(overdue_spells(loan, on)) == [(first, 10)]
    assert loan.overdue_days(second.due_on + timedelta(3)) == 3


def test_an_early_end_leaves_nothing_overdue() -> None:
    loan = paid_out()
    on = loan.plan[0].due_on
    loan = repaid(loan, Repayment(on, loan.outstanding_fen, loan.plan[0].interest_fen, "all"))
    assert loan.state == State.CLOSED
    assert loan.overdue_days(on + timedelta(400)) == 0
    assert list(overdue_spells(loan, on + timedelta(400))) == []


def test_overdue_is_a_default_from_the_ninetieth_day() -> None:
    loan = paid_out()
    due = loan.plan[0].due_on
    with pytest.raises(FinancingTermsError, match="89 days"):
        defaulted(loan, on=due + timedelta(89), cause="overdue")
    gone = defaulted(loan, on=due + timedelta(90), cause="overdue")
    assert gone.in_default_since() == due + timedelta(90)
    assert defaulted(loan, on=due, cause="insolvency").state == State.DEFAULTED


def test_what_comes_after_a_default_recovers_it_without_undoing_it() -> None:
    loan = defaulted(paid_out(), on=DAY + timedelta(200), cause="write-off")
    loan = repaid(loan, Repayment(DAY + timedelta(210), 1_000_000, 0, "a"))
    assert (loan.state, loan.recovered_on()) == (State.DEFAULTED, None)
    loan = repaid(loan, Repayment(DAY + timedelta(220), 200_000, 500, "b"))
    assert (loan.state, loan.recovered_on(), loan.ended_on) == (
        State.DEFAULTED,
        DAY + timedelta(220),
        DAY + timedelta(200),
    )


@pytest.mark.parametrize(
    ("payment", "field"),
    [
        (Repayment(DAY, 0, 0, "x"), "principal_fen"),
        (Repayment(DAY, -1, 5, "x"), "principal_fen"),
        (Repayment(DAY, 1_200_001, 0, "x"), "principal_fen"),
        (Repayment(DAY, 5, 0, "first"), "reference"),
        (Repayment(DAY - timedelta(1), 5, 0, "x"), "paid_on"),
    ],
    ids=["nothing", "negative", "too-much", "twice", "too-early"],
)
def test_a_repayment_that_cannot_be_is_refused(payment: Repayment, field: str) -> None:
    loan = repaid(paid_out(), Repayment(DAY, 0, 10, "first"))
    with pytest.raises((RepaymentError, FinancingTermsError)) as refused:
        repaid(loan, payment)
    assert refused.value.field == field


class Life(RuleBasedStateMachine):
    """Whatever is asked of a financing in whatever order, its path is one of the table and its money adds up."""

    def __init__(self) -> None:
        super().__init__()
        self.loan = applied()
        self.path = [State.APPLIED]
        self.day = DAY
        self.payments = 0

    def _try(self, step: Step, move: Any) -> None:
        before = self.loan
        allowed = step in TRANSITIONS[before.state]
        try:
            self.loan = move(before)
        except FinancingStateError:
            assert not allowed
            assert self.loan is before
        except (FinancingTermsError, RepaymentError):
            assert self.loan is before
        else:
            assert allowed
            assert self.loan.version == before.version + 1
            self.path.append(self.loan.state)

    @rule(days=st.integers(0, 60))
    def wait(self, days: int) -> None:
        self.day += timedelta(days)

    @rule()
    def score(self) -> None:
        self._try(Step.SCORE, scored)

    @rule(amount=st.integers(-1, 10**7), months=st.integers(1, 24))
    def offer(self, amount: int, months: int) -> None:
        self._try(Step.OFFER, lambda loan: offered(loan, amount_fen=amount, annual_rate=40_000, term_months=months))

    @rule()
    def contract(self) -> None:
        self._try(Step.CONTRACT, lambda loan: contracted(loan, on=self.day))

    @rule()
    def disburse(self) -> None:
        def move(loan: Financing) -> Financing:
            after(loan.state, Step.DISBURSE)
            plan = plan_of(loan.amount_fen, loan.annual_rate, loan.term_months, "equal-principal", self.day)
            return disbursed(loan, on=self.day, plan=plan)

        self._try(Step.DISBURSE, move)

    @rule(share=st.fractions(0, 1), interest=st.integers(0, 10**5))
    def repay(self, share: Any, interest: int) -> None:
        self.payments += 1
        principal = int(self.loan.outstanding_fen * share)
        step = Step.RECOVER if self.loan.state == State.DEFAULTED else Step.REPAY
        self._try(step, lambda loan: repaid(loan, Repayment(self.day, principal, interest, str(self.payments))))

    @precondition(lambda self: self.loan.repayments)
    @rule()
    def repay_twice(self) -> None:
        again = replace(self.loan.repayments[-1], paid_on=self.day)
        with pytest.raises((RepaymentError, FinancingStateError)):
            repaid(self.loan, again)

    @rule(cause=st.sampled_from(["overdue", "insolvency"]))
    def default(self, cause: Any) -> None:
        self._try(Step.DEFAULT, lambda loan: defaulted(loan, on=self.day, cause=cause))

    @rule(step=st.sampled_from([Step.WITHDRAW, Step.REFUSE, Step.EXPIRE]))
    def end(self, step: Any) -> None:
        self._try(step, lambda loan: ended(loan, step, on=self.day))

    @invariant()
    def path_is_of_the_table(self) -> None:
        for earlier, later in zip(self.path, self.path[1:], strict=False):
            ways = set(TRANSITIONS[earlier].values())
            # Closing follows in the same breath as the payment that brings back the last of the principal.
            assert later in ways
        assert self.path.count(State.CONTRACTED) <= 1

    @invariant()
    def money_adds_up(self) -> None:
        loan = self.loan
        if loan.disbursed_on is None:
            assert loan.repayments == ()
            assert loan.plan == ()
            return
        assert 0 <= loan.outstanding_fen <= loan.amount_fen
        assert (loan.state == State.CLOSED) == (loan.outstanding_fen == 0 and loan.in_default_since() is None)
        paid = list(accumulate(each.total_fen for each in loan.repayments))
        due = sum(each.total_fen for each in loan.plan if each.due_on <= self.day)
        assert loan.arrears_fen(self.day) == max(0, due - (paid[-1] if paid else 0))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
