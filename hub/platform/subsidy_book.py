"""Grants of subsidies, for loans and for policies: decided in the order of asking, accrued to the fen, taken back.

A grant sets aside what it may cost (`hub.platform.subsidies`, `hub.platform.premiums`), so that a budget is spent in
the order of grants and never passed. Accruals of a programme go through its grants in parts, each part a transaction
with its audit entry: one that was cut off goes on where it was, and one for a day that was done books nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeAlias

from pydantic import JsonValue
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from hub.clock import seconds
from hub.platform.lending import Lending
from hub.platform.programme_book import Programme, ProgrammeBook
from hub.platform.subsidised import Subsidised, Thing, bound, bound_all
from hub.platform.subsidy_errors import AccrualDayError, GrantRefusedError, GrantStateError, GrantUnknownError
from hub.platform.subsidy_reasons import REASONS, Refusal, Standing, combines
from hub.platform.subsidy_rules import PremiumRule, SubsidyRule
from hub.platform.tables.subsidies import AccrualRow, GrantRow, GrantYearRow

PART = 500
"""Grants that are accrued in one transaction."""
Cause: TypeAlias = Literal["fraud", "used-otherwise", "paid-in-error"]


@dataclass(frozen=True)
class Grant:
    """A grant as it stands.

    Attributes:
        financing_id, policy_id: of the loan or of the policy; one of the two.
        state: ``running``; ``settled`` once loan or policy has ended and all is accrued; ``taken-back``.
        aside_fen, accrued_fen: by calendar year.
        accrued_until: the first day that was not yet looked at.
    """

    number: int
    programme: str
    version: int
    financing_id: str | None
    policy_id: str | None
    account_id: str
    state: str
    granted_on: date
    accrued_until: date | None
    aside_fen: Mapping[int, int]
    accrued_fen: Mapping[int, int]


@dataclass(frozen=True)
class Part:
    """What one part of an accrual did: grants looked at, fen booked in all, grants that are left."""

    grants: int
    fen: int
    left: int


class SubsidyBook:
    """All grants of all programmes."""

    def __init__(self, lending: Lending, programmes: ProgrammeBook) -> None:
        self._its = lending
        self._programmes = programmes

    def why_not(self, programme: str, thing: Thing) -> tuple[Refusal, ...]:
        """Return every reason why a programme would not subsidise a loan or a policy now; none if it would.

        Raises:
            ProgrammeUnknownError, FinancingUnknownError, PolicyUnknownError: there is none.
            GrantKindError: the programme is for the other kind of thing.
        """
        with self._its.db.reading() as session:
            return self._weighed(session, self._programmes.newest_in(session, programme), thing)[0]

    def grant_in(self, session: Session, actor: str, programme: str, thing: Thing) -> Grant:
        """Subsidise a loan or a policy under the newest version of a programme's rule.

        Raises:
            ProgrammeUnknownError, FinancingUnknownError, PolicyUnknownError: there is none.
            GrantKindError: the programme is for the other kind of thing.
            GrantRefusedError: conditions are not met; every one is named.
        """
        newest = self._programmes.newest_in(session, programme)
        reasons, its, aside = self._weighed(session, newest, thing)
        if reasons:
            raise GrantRefusedError(
                " ".join(REASONS[reason] for reason in reasons),
                field=reasons[0],
                remedy="Ask again once what is named has changed.",
            )
        row = GrantRow(
            programme=programme,
            version=newest.version,
            financing_id=thing.financing_id,
            policy_id=thing.policy_id,
            account_id=its.account_id,
            state="running",
            granted_on=self._its.today(),
        )
        session.add(row)
        session.flush()
        session.add_all(
            GrantYearRow(number=row.number, year=year, aside_fen=fen, accrued_fen=0) for year, fen in aside.items()
        )
        session.flush()
        self._its.audit(
            session,
            actor,
            "subsidy-grant",
            thing.subject,
            {
                "grant": row.number,
                "programme": programme,
                "version": newest.version,
                "aside_fen": {str(year): fen for year, fen in aside.items()},
            },
        )
        return _grant(row, aside, {})

    def accrue_in(self, session: Session, actor: str, programme: str, until: date) -> Part:
        """Book what the days before `until` have brought to the next `PART` grants of a programme.

        Raises:
            ProgrammeUnknownError: there is none.
            AccrualDayError: the days are not over yet.
        """
        self._programmes.newest_in(session, programme)
        if until > self._its.today():
            raise AccrualDayError(
                f"Days before {until} are not over yet.", field="until", remedy="Name today or an earlier day."
            )
        waiting = (
            GrantRow.programme == programme,
            GrantRow.state == "running",
            or_(GrantRow.accrued_until.is_(None), GrantRow.accrued_until < until),
        )
        rows = session.scalars(select(GrantRow).where(*waiting).order_by(GrantRow.number).limit(PART)).all()
        left = (session.scalar(select(func.count()).select_from(GrantRow).where(*waiting)) or 0) - len(rows)
        years = _years(session, [row.number for row in rows])
        rules = {row.number: self._programmes.version_in(session, row.programme, row.version).rule for row in rows}
        granted = bound_all(session, rows, rules)
        total = 0
        for row in rows:
            its, mine = granted[row.number], years[row.number]
            found = its.due(until, {each.year: each.aside_fen for each in mine})
            total += self._book(session, mine, found, until)
            row.accrued_until = until
            if its.is_over(until) or until >= its.rule.until:
                row.state = "settled"
                for each in mine:
                    each.aside_fen = each.accrued_fen  # what is left goes back to the budget
        if rows:
            what: dict[str, JsonValue] = {
                "until": until.isoformat(),
                "from": rows[0].number,
                "to": rows[-1].number,
                "fen": total,
            }
            self._its.audit(session, actor, "subsidy-accrue", programme, what)
        return Part(len(rows), total, left)

    def accrue(self, actor: str, programme: str, until: date) -> Iterator[Part]:
        """Accrue a whole programme, part by part, each in a transaction of its own."""
        while True:
            with self._its.db.session() as session:
                part = self.accrue_in(session, actor, programme, until)
            yield part
            if not part.left:
                return

    def take_back_in(self, session: Session, actor: str, number: int, cause: Cause) -> Grant:
        """Take back all that a grant brought: one booking a year, and nothing grows any more.

        Raises:
            GrantUnknownError, GrantStateError: there is none, or it was taken back.
        """
        row = session.get(GrantRow, number)
        if row is None:
            raise GrantUnknownError(f"There is no grant {number}.", field="grant", remedy="Look it up by its loan.")
        if row.state == "taken-back":
            raise GrantStateError(f"Grant {number} was taken back already.", field="grant", remedy="Nothing is to do.")
        mine = _years(session, [number])[number]
        fen = self._book(session, mine, {}, self._its.today())
        row.state = "taken-back"
        for each in mine:
            each.aside_fen = 0
        self._its.audit(
            session, actor, "subsidy-take-back", _thing(row).subject, {"grant": number, "cause": cause, "fen": fen}
        )
        return _grant(row, {each.year: 0 for each in mine}, {each.year: 0 for each in mine})

    def grants(
        self, *, programme: str | None = None, account_id: str | None = None, after: int = 0, limit: int = PART
    ) -> list[Grant]:
        """Return grants in order of their numbers, those after one of them."""
        query = select(GrantRow).where(GrantRow.number > after)
        if programme is not None:
            query = query.where(GrantRow.programme == programme)
        if account_id is not None:
            query = query.where(GrantRow.account_id == account_id)
        with self._its.db.reading() as session:
            return _grants(session, session.scalars(query.order_by(GrantRow.number).limit(limit)).all())

    def grants_of_policies(self, policy_ids: Collection[str]) -> list[Grant]:
        """Return the grants of some policies, in order of their numbers."""
        query = select(GrantRow).where(GrantRow.policy_id.in_(policy_ids)).order_by(GrantRow.number)
        with self._its.db.reading() as session:
            return _grants(session, session.scalars(query).all())

    def bookings(self, number: int) -> list[tuple[int, date, int]]:
        """Return what was booked on a grant, in order: year, `until`, fen."""
        query = select(AccrualRow).where(AccrualRow.number == number).order_by(AccrualRow.entry)
        with self._its.db.reading() as session:
            return [(row.year, row.until, row.fen) for row in session.scalars(query).all()]

    def left_fen(self, programme: str) -> int:
        """What is left of a programme's budget: neither accrued nor set aside."""
        with self._its.db.reading() as session:
            return self._left(session, self._programmes.newest_in(session, programme).rule)

    def _weighed(
        self, session: Session, programme: Programme, thing: Thing
    ) -> tuple[tuple[Refusal, ...], Subsidised, dict[int, int]]:
        rule = programme.rule
        its = bound(session, rule, thing)
        column = GrantRow.policy_id if isinstance(rule, PremiumRule) else GrantRow.financing_id
        same = session.scalars(select(GrantRow).where(column.in_(its.alike))).all()
        others = [
            self._programmes.newest_in(session, row.programme).rule
            for row in same
            if row.programme != rule.programme and row.state != "taken-back"
        ]
        own = select(GrantRow).where(GrantRow.account_id == its.account_id, GrantRow.programme == rule.programme)
        mine = session.scalars(own).all()
        taken: dict[int, int] = defaultdict(int)
        for years in _years(session, [row.number for row in mine]).values():
            for each in years:
                taken[each.year] += each.aside_fen
        # A merchant may have one loan after another; of policies those count that cover the same on the same days.
        beside = mine if isinstance(rule, SubsidyRule) else [row for row in same if row.programme == rule.programme]
        standing = Standing(
            granted_here=any(_thing(row) == thing for row in same if row.programme == rule.programme),
            doubled=not combines(rule, others),
            others_running=sum(row.state == "running" and _thing(row) != thing for row in beside),
            yearly_fen=taken,
            left_fen=self._left(session, rule),
        )
        merchant = self._its.merchants(session, its.account_id)
        return its.refusals(merchant, standing, self._its.today()), its, its.set_aside(taken)

    @staticmethod
    def _left(session: Session, rule: SubsidyRule | PremiumRule) -> int:
        spent = session.scalar(
            select(func.sum(GrantYearRow.aside_fen))
            .join(GrantRow, GrantRow.number == GrantYearRow.number)
            .where(GrantRow.programme == rule.programme)
        )
        return rule.budget_fen - int(spent or 0)

    def _book(self, session: Session, years: Sequence[GrantYearRow], due_fen: Mapping[int, int], until: date) -> int:
        """Book the difference of what is due to what was accrued, by year; return its sum."""
        total = 0
        for each in years:
            fen = due_fen.get(each.year, 0) - each.accrued_fen
            if not fen:
                continue
            each.accrued_fen += fen
            total += fen
            session.add(
                AccrualRow(
                    number=each.number, year=each.year, until=until, fen=fen, booked_at=seconds(self._its.clock())
                )
            )
        return total


def _years(session: Session, numbers: Sequence[int]) -> dict[int, list[GrantYearRow]]:
    found: dict[int, list[GrantYearRow]] = {number: [] for number in numbers}
    query = select(GrantYearRow).where(GrantYearRow.number.in_(numbers)).order_by(GrantYearRow.year)
    for row in session.scalars(query).all():
        found[row.number].append(row)
    return found


def _thing(row: GrantRow) -> Thing:
    return Thing(row.financing_id, row.policy_id)


def _grants(session: Session, rows: Sequence[GrantRow]) -> list[Grant]:
    years = _years(session, [row.number for row in rows])
    return [
        _grant(
            row,
            {each.year: each.aside_fen for each in years[row.number]},
            {each.year: each.accrued_fen for each in years[row.number]},
        )
        for row in rows
    ]


def _grant(row: GrantRow, aside: Mapping[int, int], accrued: Mapping[int, int]) -> Grant:
    return Grant(
        number=row.number,
        programme=row.programme,
        version=row.version,
        financing_id=row.financing_id,
        policy_id=row.policy_id,
        account_id=row.account_id,
        state=row.state,
        granted_on=row.granted_on,
        accrued_until=row.accrued_until,
        aside_fen=dict(aside),
        accrued_fen=dict(accrued),
    )
