"""Financings made anew from the record's orders, by the same code that carried them out.

F1  The record's orders of a financing, in their order, lead to the financing that is stored: state, amounts, days, plan
    and every payment.
F2  Every financing that the record knows is stored, and no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.db import Database
from hub.examination.shown import first_of
from hub.platform import financing_rows
from hub.platform.audit import actions_on
from hub.platform.errors import PlatformError
from hub.platform.financing_moves import applied, moved
from hub.platform.financing_orders import Apply, Order
from hub.platform.financings import Financing
from hub.platform.product_book import ProductBook
from hub.platform.products import ProductTerms
from hub.platform.tables.audit import AuditRow
from hub.platform.tables.lending import FinancingRow
from models.findings import Finding, Findings
from models.said import Said, said

ACTIONS = tuple(
    f"financing-{step}"
    for step in (
        "apply",
        "score",
        "offer",
        "contract",
        "disburse",
        "repay",
        "default",
        "withdraw",
        "refuse",
        "expire",
    )
)
_ORDER: TypeAdapter[Order] = TypeAdapter(Order)
_AT_ONCE = 200
REMEDY = said("stop the platform and keep the database; compare it with its backups and with the bank's own books")


def examine_financings(
    party: str, db: Database, products: ProductBook, *, progress: Callable[[int], None]
) -> Iterator[Finding]:
    """F1 and F2.

    Args:
        party: the platform.
        db: its database; the record's chain was verified.
        products: whose terms the orders were held to.
        progress: told how many financings were looked at.
    """
    found = Findings("financings", party)
    wrong: list[Said] = []
    number, last = 0, ""
    while True:
        with db.reading() as session:
            query = select(FinancingRow.financing_id).where(FinancingRow.financing_id > last)
            names = session.scalars(query.order_by(FinancingRow.financing_id).limit(_AT_ONCE)).all()
            if not names:
                break
            wrong += _differences(session, names, products)
        number, last = number + len(names), names[-1]
        progress(number)
    with db.reading() as session:  # counted together, as the platform may take orders meanwhile
        begun = select(func.count()).select_from(AuditRow).where(AuditRow.action == "financing-apply")
        recorded = session.scalar(begun) or 0
        stored = session.scalar(select(func.count()).select_from(FinancingRow)) or 0
    if recorded != stored:
        wrong.append(
            said("the record knows {recorded} financings, and {number} are stored", recorded=recorded, number=stored)
        )
    yield from first_of(found, wrong, REMEDY)
    if not wrong:
        yield found.ok(said("{number} financings are what the record's orders make of them", number=number))


def _differences(session: Session, names: Sequence[str], products: ProductBook) -> Iterator[Said]:
    orders: dict[str, list[Order]] = defaultdict(list)
    unreadable: set[str] = set()
    for entry in actions_on(session, names, ACTIONS):
        try:
            orders[entry.subject].append(_ORDER.validate_python(entry.what["order"]))
        except (ValidationError, KeyError):
            unreadable.add(entry.subject)
    stored = financing_rows.load(session, names)

    def terms_of(financing: Financing) -> ProductTerms:
        found = products.version_in(session, financing.bank, financing.product_id, financing.product_version)
        return found.terms

    for name in names:
        financing = stored[name][1]
        if name in unreadable:
            yield said("financing {financing}: an order of the record cannot be read", financing=name)
            continue
        try:
            made = _made_of(orders[name], financing, terms_of)
        except PlatformError as refused:
            yield said(
                "financing {financing}: the record's orders cannot have happened ({code})",
                financing=name,
                code=refused.code,
            )
            continue
        if made != financing:
            yield said("financing {financing}: it is not what the record's orders make of it", financing=name)


def _made_of(
    orders: Sequence[Order], stored: Financing, terms_of: Callable[[Financing], ProductTerms]
) -> Financing | None:
    made: Financing | None = None
    for order in orders:
        if isinstance(order, Apply):
            if made is not None:
                return None
            # Where the order names no version, it was for the newest of its day, which the row remembers.
            made = applied(stored.bank, order, order.product_version or stored.product_version)
        elif made is None:
            return None
        else:
            made = moved(made, order, terms_of)
    return made
