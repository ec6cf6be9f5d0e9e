"""Keeps financings: takes orders from banks' core systems and from merchants, a batch in one transaction.

Each change, its audit entry and the event for the bank are written together or not at all. Writers take turns
(`hub.db`), so a batch sees every change before it; who acts on what it read earlier names `if_version`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from hub.platform import financing_rows as rows
from hub.platform.errors import PlatformError
from hub.platform.financing_batch import Batch, unknown
from hub.platform.financing_orders import Order
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.lending import Lending
from hub.platform.product_book import ProductBook
from hub.platform.tables.lending import FinancingRow

PAGE = 500


@dataclass(frozen=True)
class Standing:
    """A financing and the bank's name of it."""

    reference: str
    financing: Financing


class FinancingBook:
    """All financings of the platform."""

    def __init__(self, lending: Lending, products: ProductBook) -> None:
        self._its = lending
        self._products = products

    def execute(self, bank: str, actor: str, orders: Sequence[Order]) -> list[Standing]:
        """Carry out orders on a bank's financings, in their order; all of them, or none.

        Args:
            bank: whose financings these are.
            actor: who ordered it, as the audit record names it.
            orders: at most `MAX_ORDERS`.

        Returns:
            What each order left its financing as.

        Raises:
            PlatformError: the first order that cannot be carried out; its field begins with ``orders.NUMBER``.
        """
        with self._its.db.session() as session:
            return self.within(session, bank, actor, orders)

    def within(self, session: Session, bank: str, actor: str, orders: Sequence[Order]) -> list[Standing]:
        """As `execute`, in a transaction of the caller's."""
        batch = Batch(self._its, self._products, session, bank, actor)
        batch.load(orders)
        found = []
        for number, order in enumerate(orders):
            try:
                found.append(Standing(order.reference, batch.carry_out(order)))
            except PlatformError as refused:
                refused.field = f"orders.{number}" + (f".{refused.field}" if refused.field else "")
                raise
        batch.write()
        return found

    def get(self, financing_id: str, *, bank: str | None = None, account_id: str | None = None) -> Standing:
        """Return a financing; where a bank or an account is given, only if it is theirs.

        Raises:
            FinancingUnknownError: there is none, or it is another's.
        """
        with self._its.db.reading() as session:
            found = rows.load(session, [financing_id]).get(financing_id)
        if found is None or bank not in (None, found[0].bank) or account_id not in (None, found[0].account_id):
            raise unknown(financing_id)
        return Standing(found[0].reference, found[1])

    def known(self, financing_ids: Collection[str]) -> dict[str, Standing]:
        """Return those financings that there are, by identifier, whosever they are."""
        with self._its.db.reading() as session:
            loaded = rows.load(session, financing_ids)
        return {name: Standing(row.reference, financing) for name, (row, financing) in loaded.items()}

    def page(
        self,
        *,
        bank: str | None = None,
        account_id: str | None = None,
        state: State | None = None,
        after_id: str = "",
        limit: int = PAGE,
    ) -> list[Standing]:
        """Return financings in order of their identifiers, those after one of them."""
        query = select(FinancingRow.financing_id).where(FinancingRow.financing_id > after_id)
        for column, value in (
            (FinancingRow.bank, bank),
            (FinancingRow.account_id, account_id),
            (FinancingRow.state, state),
        ):
            if value is not None:
                query = query.where(column == value)
        with self._its.db.reading() as session:
            names = session.scalars(query.order_by(FinancingRow.financing_id).limit(limit)).all()
            loaded = rows.load(session, names)
        return [Standing(loaded[name][0].reference, loaded[name][1]) for name in names]
