"""What one order makes of one financing: no database, no clock; the batch and the doctor do the same by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from hub.platform.financing_orders import (
    Apply,
    Contract,
    Default,
    Disburse,
    End,
    Offer,
    Order,
    Repay,
    Score,
    financing_id_of,
    millionths,
)
from hub.platform.financing_states import State, Step, after
from hub.platform.financings import (
    Financing,
    Repayment,
    contracted,
    defaulted,
    disbursed,
    ended,
    offered,
    repaid,
    scored,
)
from hub.platform.instalments import plan_of
from hub.platform.lending_errors import NotEligibleError
from hub.platform.products import ProductTerms, Unmet, unmet_terms

_ENDS: Mapping[str, Literal[Step.WITHDRAW, Step.REFUSE, Step.EXPIRE]] = {
    "withdraw": Step.WITHDRAW,
    "refuse": Step.REFUSE,
    "expire": Step.EXPIRE,
}


def not_eligible(unmet: Sequence[Unmet]) -> NotEligibleError:
    """The refusal that names every condition that is not met."""
    return NotEligibleError(
        f"Not met: {', '.join(unmet)}.",
        field="product_id",
        remedy="Compare with the product's terms; choose another product, or change what is asked for.",
    )


def applied(bank: str, order: Apply, product_version: int) -> Financing:
    """The financing that an application makes.

    Args:
        bank: whose product it is.
        order: the application.
        product_version: that it is for.
    """
    return Financing(
        financing_id=financing_id_of(bank, order.reference),
        account_id=order.account_id,
        bank=bank,
        product_id=order.product_id,
        product_version=product_version,
        amount_fen=order.amount_fen,
        annual_rate=0,
        term_months=order.term_months,
        state=State.APPLIED,
        applied_on=order.applied_on,
    )


def moved(before: Financing, order: Order, terms_of: Callable[[Financing], ProductTerms]) -> Financing:
    """The financing after an order that is no application.

    Args:
        before: the financing.
        order: of its bank.
        terms_of: the product that a financing was applied for; asked only where they matter.

    Raises:
        PlatformError: the order cannot be carried out.
    """
    match order:
        case Score():
            return scored(before)
        case Offer():
            rate = millionths(order.annual_rate)
            after(before.state, Step.OFFER)
            terms = terms_of(before)
            unmet = unmet_terms(
                terms,
                amount_fen=order.amount_fen,
                term_months=order.term_months,
                annual_rate=rate,
                on=before.applied_on,
            )
            if unmet:
                raise not_eligible(unmet)
            return offered(before, amount_fen=order.amount_fen, annual_rate=rate, term_months=order.term_months)
        case Contract():
            return contracted(before, on=order.on)
        case Disburse():
            after(before.state, Step.DISBURSE)
            plan = order.plan() or plan_of(
                before.amount_fen,
                before.annual_rate,
                before.term_months,
                terms_of(before).repayment,
                order.on,
            )
            return disbursed(before, on=order.on, plan=plan)
        case Repay():
            payment = Repayment(order.on, order.principal_fen, order.interest_fen, order.payment)
            return repaid(before, payment)
        case Default():
            return defaulted(before, on=order.on, cause=order.cause)
        case End():
            return ended(before, _ENDS[order.step], on=order.on)
        case Apply():
            raise TypeError("an application makes a financing; it moves none")
