"""A batch of orders in one transaction: what each makes of its financing, and what is written down about it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes, digest
from hub.platform import financing_rows as rows
from hub.platform.financing_moves import applied, moved, not_eligible
from hub.platform.financing_orders import Apply, Order, financing_id_of
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.lending import Lending
from hub.platform.lending_errors import (
    FinancingUnknownError,
    FinancingVersionError,
    ReferenceTakenError,
)
from hub.platform.product_book import ProductBook
from hub.platform.products import ProductTerms, Published, unmet_by, unmet_terms
from hub.platform.tables.lending import FinancingRow, ScoreRow

_SCORE_NEEDED = frozenset({State.APPLIED, State.SCORED, State.OFFERED})


def unknown(name: str, *, field: str = "financing_id") -> FinancingUnknownError:
    """The refusal of a financing that is not there, or is another's: both look alike."""
    return FinancingUnknownError(
        f"There is no financing {name} of yours.", field=field, remedy="Compare it with the list of your financings."
    )


def forget(session: Session, lending: Lending, financing_ids: Sequence[str]) -> None:
    """Delete the scores of applications, where there are any, and write down that they were."""
    if not financing_ids:
        return
    lending.db.overwrite_deleted(session)
    gone = session.execute(
        delete(ScoreRow).where(ScoreRow.financing_id.in_(financing_ids)).returning(ScoreRow.financing_id)
    ).all()
    for (financing_id,) in gone:
        lending.audit(session, "platform", "score-delete", financing_id, {})


class Batch:
    """Financings as they become in one transaction.

    Args:
        lending: the platform's services.
        products: whose versions applications name.
        session: the transaction.
        bank: whose financings these are.
        actor: who orders, as the audit record names it.
    """

    def __init__(self, lending: Lending, products: ProductBook, session: Session, bank: str, actor: str) -> None:
        self._its = lending
        self._products = products
        self._session = session
        self._bank = bank
        self._actor = actor
        self._rows: dict[str, FinancingRow] = {}
        self._before: dict[str, Financing] = {}
        self._now: dict[str, Financing] = {}
        self._named: dict[tuple[str, int | None], Published] = {}

    def load(self, orders: Sequence[Order]) -> None:
        """Read the financings that orders name, before any is carried out."""
        found = rows.load(self._session, [financing_id_of(self._bank, each.reference) for each in orders])
        for name, (row, financing) in found.items():
            self._rows[name], self._before[name], self._now[name] = row, financing, financing

    def carry_out(self, order: Order) -> Financing:
        """Carry out one order; raises a PlatformError where it cannot be."""
        name = financing_id_of(self._bank, order.reference)
        if isinstance(order, Apply):
            return self._apply(name, order)
        before = self._now.get(name)
        if before is None:
            raise unknown(order.reference, field="reference")
        if order.if_version not in (None, before.version):
            raise FinancingVersionError(
                f"The financing is at version {before.version}, not {order.if_version}.",
                field="if_version",
                remedy="Read it again, and decide anew.",
            )
        now = moved(before, order, self._terms)
        self._now[name] = now
        self._note(order, before.state, now)
        return now

    def write(self) -> None:
        """Store what has changed."""
        names = [name for name, now in self._now.items() if now is not self._before[name]]
        rows.write(self._session, [(self._rows[name], self._before[name], self._now[name]) for name in names])
        forget(self._session, self._its, [name for name in names if self._now[name].state not in _SCORE_NEEDED])

    def _apply(self, name: str, order: Apply) -> Financing:
        sha256 = digest(canonical_bytes(order)).hex()
        row = self._rows.get(name)
        if row is not None:
            if row.applied_sha256 != sha256:
                raise ReferenceTakenError(
                    "Another application came under this reference.",
                    field="reference",
                    remedy="Give every financing a reference of its own.",
                )
            return self._now[name]
        with self._session.no_autoflush:  # neither reads financings: they are written together
            published = self._published(order.product_id, order.product_version)
            applicant = self._its.merchants(self._session, order.account_id)
        unmet = unmet_by(published.terms.rule, applicant, None) + unmet_terms(
            published.terms, amount_fen=order.amount_fen, term_months=order.term_months, on=order.applied_on
        )
        if unmet:
            raise not_eligible(unmet)
        found = applied(self._bank, order, published.version)
        row = rows.row_of(found, reference=order.reference, applied_sha256=sha256)
        self._session.add(row)
        self._rows[name], self._before[name], self._now[name] = row, found, found
        self._note(order, None, found)
        return found

    def _terms(self, financing: Financing) -> ProductTerms:
        return self._published(financing.product_id, financing.product_version).terms

    def _published(self, product_id: str, version: int | None) -> Published:
        # Within this transaction the newest version stays the newest: others wait for their turn.
        if (product_id, version) not in self._named:
            found = self._products.version_in(self._session, self._bank, product_id, version)
            self._named[product_id, version] = found
        return self._named[product_id, version]

    def _note(self, order: Order, was: State | None, now: Financing) -> None:
        what = {
            "order": order.model_dump(mode="json", exclude_none=True),
            "from": None if was is None else was.value,
            "to": now.state.value,
            "version": now.version,
        }
        self._its.audit(self._session, self._actor, f"financing-{order.step}", now.financing_id, what)
        if self._actor != f"bank:{self._bank}":  # the bank knows what it ordered itself
            self._its.events.add(
                self._session,
                self._bank,
                f"financing.{now.state.value}",
                {
                    "reference": order.reference,
                    "financing_id": now.financing_id,
                    "state": now.state.value,
                    "version": now.version,
                },
            )
