"""Offers by consent: a bank learns who meets its rules only of merchants that allowed it, for as long as they do.

1. The merchant names a bank that may look for offers to it. The platform asks it, at its own gateway, for a consent of
   purpose `pre-qualification` for that bank: read and signed by the merchant on its own page, with its own key.
2. Once it is signed, the platform asks for the band under it, compares the band with the rules of the bank's products
   that are on offer, and keeps an offer for each that is met. The band itself is not kept.
3. The bank is told of merchants with an offer of its own, and of no others: not who was looked at, nor who met no rule.
4. The merchant accepts an offer, which makes an application of it, or declines it, or stops all of the bank's. Stopping
   takes effect here at once; the page on which the merchant revokes its consent everywhere is given along.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias

from pydantic import JsonValue
from sqlalchemy import Select, select, union, update
from sqlalchemy.orm import Session

from hub.clock import seconds
from hub.platform.financing_book import FinancingBook, Standing
from hub.platform.financing_orders import Apply
from hub.platform.financing_states import State
from hub.platform.gateway import Consents, IdType
from hub.platform.lending import Lending
from hub.platform.lending_errors import ConsentMissingError, OfferStateError, OfferUnknownError
from hub.platform.product_book import ProductBook
from hub.platform.products import Published, unmet_by
from hub.platform.tables.lending import AllowanceRow, FinancingRow, OfferRow, ScoreRow

TEMPLATE = "pre-qualification"
OFFER_DAYS = 30
MAX_PAGE = 50
AllowanceState: TypeAlias = Literal["asked", "allowed", "ended", "stopped"]
OfferState: TypeAlias = Literal["open", "accepted", "declined", "stopped", "expired"]
_ENDED = frozenset({"refused", "expired", "withdrawn", "revoked"})


@dataclass(frozen=True)
class Allowance:
    """A merchant's word on one bank; `link` leads to the page where it signs."""

    request_id: str
    account_id: str
    bank: str
    state: AllowanceState
    link: str


@dataclass(frozen=True)
class OfferMade:
    """An offer of a product version."""

    offer_id: str
    account_id: str
    bank: str
    product_id: str
    product_version: int
    state: OfferState
    made_on: date
    valid_until: date


@dataclass(frozen=True)
class OfferPage:
    """Offers in order of their identifiers; `next` is after which the next page begins, or None."""

    offers: tuple[OfferMade, ...]
    next: str | None


@dataclass(frozen=True)
class Invitation:
    """What the merchant needs to answer: the request's link, and that to make its key first, where it has none."""

    allowance: Allowance
    invitation_link: str | None


class Prequalification:
    """Offers to merchants, by their consent."""

    def __init__(self, lending: Lending, products: ProductBook, financings: FinancingBook, consents: Consents) -> None:
        self._its = lending
        self._products = products
        self._financings = financings
        self._consents = consents

    def allow(
        self, account_id: str, bank: str, identifier: str, *, actor: str, id_type: IdType, recipients: tuple[str, ...]
    ) -> Invitation:
        """Ask a merchant, that wants it, for its consent to offers of a bank.

        Args:
            identifier, id_type: the merchant's; they go to the gateway and no further.
            recipients: parties that the consent names: the platform's own node, which receives the band.
        """
        now = self._its.clock()
        with self._its.db.reading() as session:
            self._its.merchants(session, account_id)
            # While one waits it is asked for again under the same key: the merchant finds one request, not many.
            number = sum(each.state != "asked" for each in session.scalars(_of(account_id, bank)))
        fields: dict[str, JsonValue] = {"recipients": list(recipients)}
        key = f"pre-qualification-{account_id}-{bank}-{number}"
        asked = self._consents.ask(identifier, TEMPLATE, fields, key=key, id_type=id_type)
        with self._its.db.session() as session:
            row = session.scalars(_requested(asked.request_id)).first()
            if row is None:
                row = AllowanceRow(
                    request_id=asked.request_id,
                    account_id=account_id,
                    bank=bank,
                    state="asked",
                    link=asked.link,
                    asked_at=seconds(now),
                    changed_at=seconds(now),
                )
                session.add(row)
                self._its.audit(session, actor, "offers-ask", account_id, {"bank": bank, "request": asked.request_id})
            return Invitation(_allowance(row), asked.invitation_link)

    def refresh(self, account_id: str, bank: str, identifier: str) -> Allowance | None:
        """Look whether the merchant has answered, and find offers once it has allowed them.

        Returns:
            How its word on this bank stands, or None where it was never asked.
        """
        with self._its.db.reading() as session:
            row = session.scalars(_of(account_id, bank).limit(1)).first()
        if row is None or row.state in ("stopped", "ended"):
            return None if row is None else _allowance(row)
        standing = self._consents.standing(row.request_id)
        if standing in _ENDED:
            return self._end(row.request_id, "ended", actor="platform")
        if standing != "given" or not self._consents.usable(identifier, row.request_id):
            return _allowance(row)
        if row.state == "asked":
            row = self._allowed(row.request_id)
        self._find(row, identifier)
        return _allowance(row)

    def stop(self, account_id: str, bank: str, identifier: str, *, actor: str) -> str:
        """End all offers of a bank to a merchant, at once.

        Returns:
            The page on which it revokes its consent.

        Raises:
            ConsentMissingError: it has allowed this bank nothing.
        """
        with self._its.db.reading() as session:
            row = session.scalars(_of(account_id, bank).limit(1)).first()
        if row is None:
            raise ConsentMissingError(
                f"Offers of {bank} were never allowed.", field="bank", remedy="There is nothing to stop."
            )
        if row.state != "stopped":
            self._end(row.request_id, "stopped", actor=actor)
        return self._consents.revoke_link(identifier, row.request_id)

    def allowances_of(self, account_id: str) -> list[Allowance]:
        """Return a merchant's word on each bank that it was asked about, the newest of each, in order of banks."""
        query = select(AllowanceRow).where(AllowanceRow.account_id == account_id).order_by(AllowanceRow.number)
        with self._its.db.reading() as session:
            newest = {row.bank: _allowance(row) for row in session.scalars(query)}
        return [newest[bank] for bank in sorted(newest)]

    def accounts_to_follow(self, after: str, limit: int) -> list[str]:
        """Return accounts, after one, of which an answer may have come: to offers, or to a score for an application."""
        asked = select(AllowanceRow.account_id).where(AllowanceRow.state.in_(("asked", "allowed")))
        waiting = (
            select(FinancingRow.account_id)
            .join(ScoreRow, ScoreRow.financing_id == FinancingRow.financing_id)
            .where(FinancingRow.state == State.APPLIED.value)
        )
        both = union(asked, waiting).subquery()
        query = select(both.c.account_id).where(both.c.account_id > after).order_by(both.c.account_id).limit(limit)
        with self._its.db.reading() as session:
            return list(session.scalars(query))

    def offers_to(self, account_id: str) -> list[OfferMade]:
        """Return a merchant's offers, the newest first."""
        query = (
            select(OfferRow)
            .where(OfferRow.account_id == account_id)
            .order_by(OfferRow.made_on.desc(), OfferRow.offer_id)
        )
        with self._its.db.reading() as session:
            return [self._offer(row) for row in session.scalars(query).all()]

    def offers_of(self, bank: str, *, after: str = "", limit: int = MAX_PAGE) -> OfferPage:
        """Return a bank's open and accepted offers: whom it may know of; in order of their identifiers."""
        today = self._its.today()
        stands = (OfferRow.state == "accepted") | ((OfferRow.state == "open") & (OfferRow.valid_until >= today))
        query = (
            select(OfferRow)
            .join(AllowanceRow, AllowanceRow.request_id == OfferRow.request_id)
            .where(OfferRow.bank == bank, OfferRow.offer_id > after, AllowanceRow.state == "allowed", stands)
            .order_by(OfferRow.offer_id)
            .limit(limit)
        )
        with self._its.db.reading() as session:
            found = tuple(self._offer(row) for row in session.scalars(query).all())
        return OfferPage(found, found[-1].offer_id if len(found) == limit else None)

    def decline(self, account_id: str, offer_id: str, *, actor: str) -> OfferMade:
        """The merchant does not want it.

        Raises:
            OfferUnknownError, OfferStateError: there is none, or it is not open.
        """
        with self._its.db.session() as session:
            row = self._open(session, account_id, offer_id)
            self._answer(session, row, "declined", actor)
            return self._offer(row)

    def accept(self, account_id: str, offer_id: str, *, amount_fen: int, term_months: int, actor: str) -> Standing:
        """The merchant takes an offer: it becomes an application for the product's version.

        Raises:
            OfferUnknownError, OfferStateError: there is none, or it is not open.
            NotEligibleError: amount or term lies outside the product.
        """
        with self._its.db.session() as session:
            row = self._open(session, account_id, offer_id)
            order = Apply(
                reference=f"offer-{offer_id}",
                account_id=account_id,
                product_id=row.product_id,
                product_version=row.product_version,
                amount_fen=amount_fen,
                term_months=term_months,
                applied_on=self._its.today(),
            )
            (standing,) = self._financings.within(session, row.bank, actor, [order])
            self._answer(session, row, "accepted", actor)
            return standing

    def _find(self, allowance: AllowanceRow, identifier: str) -> None:
        """Make the offers whose rules the merchant meets; products that were looked at before are left out."""
        today = self._its.today()
        with self._its.db.reading() as session:
            applicant = self._its.merchants(session, allowance.account_id)
            looked_at = select(OfferRow.product_id, OfferRow.product_version).where(
                OfferRow.request_id == allowance.request_id
            )
            known = {(row.product_id, row.product_version) for row in session.execute(looked_at)}
        fresh = [
            each
            for each in self._products.newest(bank=allowance.bank, on=today)
            if (each.terms.product_id, each.version) not in known and not unmet_by(each.terms.rule, applicant, None)
        ]
        if not fresh:
            return
        versions = "-".join(f"{each.terms.product_id}.{each.version}" for each in fresh)
        key = f"offers-{allowance.request_id}-{versions}"[:128]
        band = self._consents.score(identifier, allowance.request_id, "pre-qualification", key=key).band
        self._make(allowance, [each for each in fresh if band in each.terms.rule.bands], today)

    def _make(self, allowance: AllowanceRow, products: list[Published], today: date) -> None:
        with self._its.db.session() as session:
            current = session.scalars(_requested(allowance.request_id)).one()
            if current.state != "allowed":  # stopped while the score was on its way
                return
            for each in products:
                offer_id = secrets.token_hex(16)
                session.add(
                    OfferRow(
                        offer_id=offer_id,
                        account_id=allowance.account_id,
                        bank=allowance.bank,
                        product_id=each.terms.product_id,
                        product_version=each.version,
                        request_id=allowance.request_id,
                        state="open",
                        made_on=today,
                        valid_until=today + timedelta(OFFER_DAYS),
                    )
                )
                what: dict[str, JsonValue] = {
                    "account": allowance.account_id,
                    "product": each.terms.product_id,
                    "version": each.version,
                }
                self._its.audit(session, "platform", "offer-make", offer_id, what)
                self._its.events.add(session, allowance.bank, "offer.open", {"offer_id": offer_id, **what})

    def _allowed(self, request_id: str) -> AllowanceRow:
        with self._its.db.session() as session:
            row = session.scalars(_requested(request_id)).one()
            if row.state == "asked":
                row.state, row.changed_at = "allowed", seconds(self._its.clock())
                self._its.audit(session, "platform", "offers-allow", row.account_id, {"bank": row.bank})
            return row

    def _end(self, request_id: str, state: Literal["ended", "stopped"], *, actor: str) -> Allowance:
        with self._its.db.session() as session:
            row = session.scalars(_requested(request_id)).one()
            row.state, row.changed_at = state, seconds(self._its.clock())
            was_open = session.execute(
                update(OfferRow)
                .where(OfferRow.request_id == request_id, OfferRow.state == "open")
                .values(state="stopped")
                .returning(OfferRow.offer_id)
            ).all()
            self._its.audit(session, actor, f"offers-{state}", row.account_id, {"bank": row.bank})
            for (offer_id,) in was_open:  # of a merchant without offers the bank never heard
                self._its.events.add(session, row.bank, "offer.stopped", {"offer_id": offer_id})
            return _allowance(row)

    def _open(self, session: Session, account_id: str, offer_id: str) -> OfferRow:
        row = session.get(OfferRow, offer_id)
        if row is None or row.account_id != account_id:
            raise OfferUnknownError(
                f"There is no offer {offer_id} to this merchant.", field="offer_id", remedy="List the offers again."
            )
        if (state := self._offer(row).state) != "open":
            raise OfferStateError(f"The offer is {state}.", field="offer_id", remedy="List the offers again.")
        return row

    def _answer(self, session: Session, row: OfferRow, state: OfferState, actor: str) -> None:
        row.state = state
        self._its.audit(session, actor, f"offer-{state}", row.offer_id, {"account": row.account_id})
        self._its.events.add(session, row.bank, f"offer.{state}", {"offer_id": row.offer_id})

    def _offer(self, row: OfferRow) -> OfferMade:
        late = row.state == "open" and row.valid_until < self._its.today()
        states: dict[str, OfferState] = {"open": "open", "accepted": "accepted", "declined": "declined"}
        return OfferMade(
            offer_id=row.offer_id,
            account_id=row.account_id,
            bank=row.bank,
            product_id=row.product_id,
            product_version=row.product_version,
            state="expired" if late else states.get(row.state, "stopped"),
            made_on=row.made_on,
            valid_until=row.valid_until,
        )


def _of(account_id: str, bank: str) -> Select[AllowanceRow]:
    """A merchant's words on a bank, the newest first."""
    return (
        select(AllowanceRow)
        .where(AllowanceRow.account_id == account_id, AllowanceRow.bank == bank)
        .order_by(AllowanceRow.number.desc())
    )


def _requested(request_id: str) -> Select[AllowanceRow]:
    return select(AllowanceRow).where(AllowanceRow.request_id == request_id)


def _allowance(row: AllowanceRow) -> Allowance:
    states: dict[str, AllowanceState] = {"asked": "asked", "allowed": "allowed", "stopped": "stopped"}
    return Allowance(row.request_id, row.account_id, row.bank, states.get(row.state, "ended"), row.link)
