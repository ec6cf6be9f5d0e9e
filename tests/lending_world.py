"""The platform's lending on an empty database: a bank with products, merchants, and every audit entry in a list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from hub.db import Database
from hub.platform.audit import AuditRecord, Entry
from hub.platform.financing_book import FinancingBook
from hub.platform.financing_orders import Order
from hub.platform.financing_scores import Borrower
from hub.platform.lending import Lending
from hub.platform.lending_errors import NotEligibleError
from hub.platform.migrations.runner import VERSIONS
from hub.platform.product_book import ProductBook
from hub.platform.products import ProductTerms
from hub.platform.webhook_box import WebhookBox
from tests.databases import empty_database

SHOP: dict[str, Any] = {
    "product_id": "shop-loan",
    "bank": "bank-01",
    "title": {"zh": "小超贷", "en": "Shop loan"},
    "summary": {"zh": "面向小超市经营者的信用贷款", "en": "An unsecured loan for small supermarkets"},
    "amount_fen": {"least": 1_000_000, "most": 30_000_000},
    "term_months": {"least": 6, "most": 36},
    "annual_rate": {"least": "0.0365", "most": "0.048"},
    "guarantee": "credit",
    "repayment": "equal-instalments",
    "rule": {"kinds": ["supermarket"], "bands": ["A", "B", "C"]},
    "on_offer_from": "2026-01-01",
}


BANK, ACTOR = "bank-01", "bank:bank-01"
DAY = date(2026, 3, 2)


def order(step: str, reference: str = "L-1", **fields: Any) -> Order:
    found: Order = TypeAdapter[Order](Order).validate_python({"step": step, "reference": reference, **fields})
    return found


def apply(reference: str = "L-1", **changes: Any) -> Order:
    asked = {
        "account_id": "shop0001",
        "product_id": "shop-loan",
        "amount_fen": 1_200_000,
        "term_months": 12,
        "applied_on": DAY,
    }
    return order("apply", reference, **{**asked, **changes})


def offer(reference: str = "L-1", **changes: Any) -> Order:
    terms = {"amount_fen": 1_200_000, "annual_rate": "0.0435", "term_months": 12}
    return order("offer", reference, **{**terms, **changes})


def whole_life(reference: str) -> list[Order]:
    paid = [
        order("repay", reference, on=DAY + timedelta(30 * n), principal_fen=400_000, interest_fen=9, payment=f"p{n}")
        for n in range(1, 4)
    ]
    return [
        apply(reference),
        order("score", reference),
        offer(reference),
        order("contract", reference, on=DAY),
        order("disburse", reference, on=DAY),
        *paid,
    ]


@dataclass(frozen=True)
class Shop:
    kind: str = "supermarket"
    origin: str = "331121"
    place: str = "310115"


@dataclass
class LendingWorld:
    base: Path
    now: datetime = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
    merchants: dict[str, Shop] = field(default_factory=lambda: {"shop0001": Shop(), "inn00001": Shop("inn")})

    def __post_init__(self) -> None:
        self.db = Database(beside(empty_database(), self.base))
        VERSIONS.migrate(self.db)
        self.audit = AuditRecord(self.db, lambda: self.now)
        self.box = WebhookBox(self.db, lambda: self.now, [BANK])
        self.lending = Lending(self.db, self.audit.write, lambda: self.now, self.merchant, self.box)
        self.products = ProductBook(self.lending)
        self.book = FinancingBook(self.lending, self.products)
        self.products.publish(ACTOR, [ProductTerms.model_validate(SHOP)])

    def merchant(self, _session: Any, account_id: str) -> Shop:
        if account_id not in self.merchants:
            raise NotEligibleError("no such merchant", field="account_id", remedy="register it")
        return self.merchants[account_id]

    def audit_entries(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        """The whole record, its chain checked: actor, action, subject, facts."""
        number, _ = self.audit.verify()
        found: list[Entry] = []
        while len(found) < number:
            found += self.audit.entries(after=len(found))
        return [(each.actor, each.action, each.subject, dict(each.what)) for each in found]

    def close(self) -> None:
        self.db.close()


def beside(url: str, base: Path) -> str:
    """A database's address; SQLite's file lies in the folder."""
    return f"sqlite:///{base}/platform.sqlite" if url.startswith("sqlite") else url


MINE = "91331100MA2E0QXX0A"


class Directory:
    """The world's merchants."""

    def __init__(self, world: LendingWorld) -> None:
        self._world = world

    def applicant(self, session: Session, account_id: str) -> Shop:
        return self._world.merchant(session, account_id)

    def borrower(self, session: Session, account_id: str) -> Borrower:
        return Borrower(MINE, "uscc")

    def identifiers(self, session: Session, account_ids: Collection[str]) -> Mapping[str, str]:
        return {each: f"{MINE}-{each}" for each in account_ids}
