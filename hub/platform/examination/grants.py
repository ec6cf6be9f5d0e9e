"""Grants of subsidies, added up again.

G1  What is accrued of a grant in a year is the sum of its bookings, and no more than what is set aside for it.
G2  A grant that was taken back holds nothing.
G3  What a programme's grants set aside, added up, is within its budget.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hub.db import Database
from hub.examination.shown import first_of
from hub.platform.examination.remedies import RESTORE
from hub.platform.subsidy_rules import RULES
from hub.platform.tables.subsidies import AccrualRow, GrantRow, GrantYearRow, ProgrammeRow
from models.findings import Finding, Findings
from models.said import Said, said


def examine_grants(party: str, db: Database) -> Iterator[Finding]:
    """G1 to G3."""
    found = Findings("grants", party)
    with db.reading() as session:
        wrong = [*_sums(session), *_taken_back(session)]
        over = list(_budgets(session))
        number = session.scalar(select(func.count()).select_from(GrantRow)) or 0
    yield from first_of(found, wrong, RESTORE)
    for each in over:
        yield found.warning(
            each,
            said("a newer version of the rule made the budget smaller, or the table was altered: look at the record"),
        )
    if not wrong:
        yield found.ok(said("{number} grants add up to the fen", number=number))


def _sums(session: Session) -> Iterator[Said]:
    booked = (
        select(AccrualRow.number, AccrualRow.year, func.sum(AccrualRow.fen).label("fen"))
        .group_by(AccrualRow.number, AccrualRow.year)
        .subquery()
    )
    fen = func.coalesce(booked.c.fen, 0)
    query = (
        select(GrantYearRow.number, GrantYearRow.year, GrantYearRow.accrued_fen, GrantYearRow.aside_fen, fen)
        .outerjoin(booked, (booked.c.number == GrantYearRow.number) & (booked.c.year == GrantYearRow.year))
        .where((GrantYearRow.accrued_fen != fen) | (GrantYearRow.accrued_fen > GrantYearRow.aside_fen))
        .order_by(GrantYearRow.number, GrantYearRow.year)
    )
    for number, year, accrued, aside, sum_fen in session.execute(query):
        if accrued != sum_fen:
            yield said(
                "grant {number}, {year}: {accrued} fen are accrued, and its bookings add up to {booked}",
                number=number,
                year=year,
                accrued=accrued,
                booked=int(sum_fen),
            )
        else:
            yield said(
                "grant {number}, {year}: {accrued} fen are accrued, and only {aside} were set aside",
                number=number,
                year=year,
                accrued=accrued,
                aside=aside,
            )
    lost = (
        select(AccrualRow.number, AccrualRow.year)
        .outerjoin(GrantYearRow, (GrantYearRow.number == AccrualRow.number) & (GrantYearRow.year == AccrualRow.year))
        .where(GrantYearRow.number.is_(None))
        .distinct()
    )
    for number, year in session.execute(lost):
        yield said("grant {number}, {year}: it has bookings, and nothing was set aside", number=number, year=year)


def _taken_back(session: Session) -> Iterator[Said]:
    query = (
        select(GrantRow.number)
        .join(GrantYearRow, GrantYearRow.number == GrantRow.number)
        .where(GrantRow.state == "taken-back", (GrantYearRow.aside_fen != 0) | (GrantYearRow.accrued_fen != 0))
        .distinct()
        .order_by(GrantRow.number)
    )
    for (number,) in session.execute(query):
        yield said("grant {number} was taken back, and still holds money", number=number)


def _budgets(session: Session) -> Iterator[Said]:
    query = (
        select(GrantRow.programme, func.sum(GrantYearRow.aside_fen))
        .join(GrantYearRow, GrantYearRow.number == GrantRow.number)
        .group_by(GrantRow.programme)
        .order_by(GrantRow.programme)
    )
    for programme, aside in session.execute(query).all():
        newest = select(ProgrammeRow.rule).where(ProgrammeRow.programme == programme)
        document = session.scalar(newest.order_by(ProgrammeRow.version.desc()).limit(1))
        budget = 0 if document is None else RULES.validate_json(document).budget_fen
        if int(aside) > budget:
            yield said(
                "programme {programme}: {aside} fen are set aside, and its budget is {budget}",
                programme=programme,
                aside=int(aside),
                budget=budget,
            )
