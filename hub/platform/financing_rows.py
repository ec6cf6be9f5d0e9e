"""Financings to and from their tables: a whole batch in three queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from hub.platform.batches import batches
from hub.platform.financing_states import State
from hub.platform.financings import Financing, Repayment
from hub.platform.instalments import Instalment
from hub.platform.tables.lending import FinancingRow, InstalmentRow, RepaymentRow


def load(session: Session, financing_ids: Collection[str]) -> dict[str, tuple[FinancingRow, Financing]]:
    """Return those that there are, by identifier, each with the row that holds it."""
    found: dict[str, tuple[FinancingRow, Financing]] = {}
    for part in batches(sorted(set(financing_ids))):
        rows = session.scalars(select(FinancingRow).where(FinancingRow.financing_id.in_(part))).all()
        plans, payments = _plans(session, part), _payments(session, part)
        for row in rows:
            name = row.financing_id
            found[name] = (row, of_row(row, tuple(plans[name]), tuple(payments[name])))
    return found


def of_row(row: FinancingRow, plan: tuple[Instalment, ...], repayments: tuple[Repayment, ...]) -> Financing:
    """A row, with what belongs to it, as a financing."""
    return Financing(
        financing_id=row.financing_id,
        account_id=row.account_id,
        bank=row.bank,
        product_id=row.product_id,
        product_version=row.product_version,
        amount_fen=row.amount_fen,
        annual_rate=row.annual_rate,
        term_months=row.term_months,
        state=State(row.state),
        applied_on=row.applied_on,
        contracted_on=row.contracted_on,
        disbursed_on=row.disbursed_on,
        ended_on=row.ended_on,
        plan=plan,
        repayments=repayments,
        version=row.version,
    )


def row_of(financing: Financing, *, reference: str, applied_sha256: str) -> FinancingRow:
    """A new financing's row."""
    return FinancingRow(
        financing_id=financing.financing_id,
        account_id=financing.account_id,
        bank=financing.bank,
        reference=reference,
        product_id=financing.product_id,
        product_version=financing.product_version,
        amount_fen=financing.amount_fen,
        annual_rate=financing.annual_rate,
        term_months=financing.term_months,
        state=financing.state.value,
        applied_on=financing.applied_on,
        version=financing.version,
        applied_sha256=applied_sha256,
    )


def write(session: Session, changes: Iterable[tuple[FinancingRow, Financing, Financing]]) -> None:
    """Bring rows to what their financings have become; plans and payments are only added to.

    Args:
        changes: each row, what its financing was, and what it is now.
    """
    due: list[dict[str, object]] = []
    paid: list[dict[str, object]] = []
    for row, before, now in changes:
        row.amount_fen, row.annual_rate, row.term_months = now.amount_fen, now.annual_rate, now.term_months
        row.state, row.version = now.state.value, now.version
        row.contracted_on, row.disbursed_on, row.ended_on = now.contracted_on, now.disbursed_on, now.ended_on
        due += (
            {
                "financing_id": now.financing_id,
                "number": number,
                "due_on": each.due_on,
                "principal_fen": each.principal_fen,
                "interest_fen": each.interest_fen,
            }
            for number, each in enumerate(now.plan[len(before.plan) :], len(before.plan) + 1)
        )
        paid += (
            {
                "financing_id": now.financing_id,
                "number": number,
                "paid_on": each.paid_on,
                "principal_fen": each.principal_fen,
                "interest_fen": each.interest_fen,
                "reference": each.reference,
            }
            for number, each in enumerate(now.repayments[len(before.repayments) :], len(before.repayments) + 1)
        )
    session.flush()  # new financings come before what refers to them
    for table, lines in ((InstalmentRow, due), (RepaymentRow, paid)):
        if lines:
            session.execute(insert(table), lines)


def _plans(session: Session, names: Collection[str]) -> dict[str, list[Instalment]]:
    found: dict[str, list[Instalment]] = defaultdict(list)
    query = (
        select(
            InstalmentRow.financing_id, InstalmentRow.due_on, InstalmentRow.principal_fen, InstalmentRow.interest_fen
        )
        .where(InstalmentRow.financing_id.in_(names))
        .order_by(InstalmentRow.financing_id, InstalmentRow.number)
    )
    for name, due_on, principal, interest in session.execute(query):
        found[name].append(Instalment(due_on, principal, interest))
    return found


def _payments(session: Session, names: Collection[str]) -> dict[str, list[Repayment]]:
    found: dict[str, list[Repayment]] = defaultdict(list)
    query = (
        select(
            RepaymentRow.financing_id,
            RepaymentRow.paid_on,
            RepaymentRow.principal_fen,
            RepaymentRow.interest_fen,
            RepaymentRow.reference,
        )
        .where(RepaymentRow.financing_id.in_(names))
        .order_by(RepaymentRow.financing_id, RepaymentRow.number)
    )
    for name, paid_on, principal, interest, reference in session.execute(query):
        found[name].append(Repayment(paid_on, principal, interest, reference))
    return found
