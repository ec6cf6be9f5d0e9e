"""What a bank's core system orders: closed, typed bodies, one for each step of a financing's life.

A financing is named by the bank's own `reference`, so a system that lost an answer, or imports a whole history, needs
no identifier of ours first.
"""

from __future__ import annotations

import hashlib
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from crypto.canonical import canonical_bytes
from hub.platform.financing_states import Step
from hub.platform.financings import DefaultCause
from hub.platform.instalments import MILLION, Instalment
from hub.platform.products import Fen, Months, ProductId, Rate

MAX_ORDERS = 500
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
AccountId = Annotated[str, Field(pattern=r"^[a-z0-9]{8,32}$")]
Amount = Annotated[int, Field(ge=0, le=10**13, strict=True)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Order(_Closed):
    """Attributes:
    reference: the bank's name of the financing.
    if_version: refuse where the financing has changed since this version was read.
    """

    reference: Reference
    if_version: Annotated[int, Field(ge=1)] | None = None


class Apply(_Closed):
    """An application for a product; without a version, for the newest."""

    step: Literal["apply"] = "apply"
    reference: Reference
    account_id: AccountId
    product_id: ProductId
    product_version: Annotated[int, Field(ge=1)] | None = None
    amount_fen: Fen
    term_months: Months
    applied_on: date


class Score(_Order):
    """The bank's own node has the consented score; the score itself stays there."""

    step: Literal["score"] = "score"


class Offer(_Order):
    """The bank's offer. Sent again with other terms, it takes the place of the last."""

    step: Literal["offer"] = "offer"
    amount_fen: Fen
    annual_rate: Rate
    term_months: Months


class Contract(_Order):
    """The contract was signed."""

    step: Literal["contract"] = "contract"
    on: date


class PlannedInstalment(_Closed):
    """One line of the bank's own plan."""

    due_on: date
    principal_fen: Amount
    interest_fen: Amount


class Disburse(_Order):
    """The whole amount was paid out. Without a plan of the bank's, the product's kind of repayment gives it."""

    step: Literal["disburse"] = "disburse"
    on: date
    instalments: Annotated[tuple[PlannedInstalment, ...], Field(min_length=1, max_length=400)] | None = None

    def plan(self) -> tuple[Instalment, ...] | None:
        """The bank's plan as ours."""
        if self.instalments is None:
            return None
        return tuple(Instalment(each.due_on, each.principal_fen, each.interest_fen) for each in self.instalments)


class Repay(_Order):
    """A payment came in, of principal, of interest, or of both."""

    step: Literal["repay"] = "repay"
    on: date
    principal_fen: Amount
    interest_fen: Amount
    payment: Reference
    """The bank's name of the payment: each counts once."""


class Default(_Order):
    """The financing is in default."""

    step: Literal["default"] = "default"
    on: date
    cause: DefaultCause


class End(_Order):
    """It ends before any money was paid out."""

    step: Literal["withdraw", "refuse", "expire"]
    on: date
    reason: Annotated[str, Field(max_length=400)] = ""


Order: TypeAlias = Annotated[
    Apply | Score | Offer | Contract | Disburse | Repay | Default | End, Field(discriminator="step")
]


class Orders(_Closed):
    """A batch: all of it takes effect, in this order, or nothing does."""

    orders: Annotated[tuple[Order, ...], Field(min_length=1, max_length=MAX_ORDERS)]


def millionths(rate: Decimal) -> int:
    """A rate of at most six places as whole millionths."""
    return int(rate * MILLION)


@lru_cache(maxsize=4 * MAX_ORDERS)  # a batch asks for the same ones again and again
def financing_id_of(bank: str, reference: str) -> str:
    """The identifier of a bank's financing: the same whenever it is computed."""
    return hashlib.sha256(canonical_bytes(["financing", bank, reference])).hexdigest()[:32]


def step_of(order: Order) -> Step | None:
    """The step that an order asks for; None for an application."""
    return None if isinstance(order, Apply) else Step(order.step)
