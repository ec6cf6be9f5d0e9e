"""What each source of programme statistics holds of a world: the platform, a merchant's bank, the programme office.

The same facts give the sources' tables and the truth that a report is compared with, so neither can drift from the
other. Nothing here is noisy. Averages and changes are those of `hub.platform.world.truth`: a merchant has at most one
financing a year, at one bank.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hub.platform.financings import Financing
from hub.platform.instalments import MILLION
from hub.platform.subsidies import due, refusals, set_aside
from hub.platform.subsidy_reasons import Standing
from hub.platform.subsidy_rules import SubsidyRule
from hub.platform.world.generator import World
from models.lishui.places import AREAS, PROVINCES

Values = NDArray[np.float64]
PLATFORM, OFFICE = "platform-01", "office-01"
FEN = 100
_COLUMNS = {
    "platform": ("uscc", "county", "area", "support"),
    "bank": ("uscc", "amount", "amount_before", "rate", "rate_before", "overdue"),
    "office": ("uscc", "subsidy"),
}


@dataclass(frozen=True)
class SourceTable:
    """A source's table as it was written."""

    party_id: str
    kind: str
    path: Path


@dataclass(frozen=True)
class ProgrammeFacts:
    """Facts of n merchants; NaN where there is none.

    Attributes:
        identifiers, support, county, area: of each merchant.
        bank: its bank; empty where it never borrowed.
        amount, amount_before: yuan paid out in the reporting and the baseline year.
        rate, rate_before: of these, as shares.
        overdue: 1 where something is past due at the reporting year's end, 0 where something is outstanding.
        subsidy: yuan that grew within the reporting year.
    """

    identifiers: tuple[str, ...]
    support: tuple[str, ...]
    county: tuple[str, ...]
    area: tuple[str, ...]
    bank: tuple[str, ...]
    amount: Values
    amount_before: Values
    rate: Values
    rate_before: Values
    overdue: Values
    subsidy: Values

    def truth(self, where: Sequence[bool] | NDArray[np.bool_] | None = None) -> dict[str, float | None]:
        """The figures of a report (`models.statistics.report.MEASURES`) of these merchants; None where it has none."""
        here = np.ones(len(self.identifiers), dtype=np.bool_) if where is None else np.asarray(where, dtype=np.bool_)
        merchants = int(here.sum())
        amount, before = _mean(self.amount[here]), _mean(self.amount_before[here])
        rate, rate_before = _mean(self.rate[here]), _mean(self.rate_before[here])
        credit, subsidised = _given(self.amount[here]), _given(self.subsidy[here])
        return {
            "merchants": merchants,
            "with_credit": credit,
            "availability": credit / merchants if merchants else None,
            "mean_amount": amount,
            "mean_amount_baseline": before,
            "amount_change": _change(amount, before),
            "mean_rate": rate,
            "mean_rate_baseline": rate_before,
            "rate_change": _change(rate, rate_before),
            "overdue_rate": _mean(self.overdue[here]),
            "subsidised": subsidised,
            "subsidy_share": subsidised / merchants if merchants else None,
            "mean_subsidy": _mean(self.subsidy[here]),
            "subsidy_total": math.fsum(self.subsidy[here][np.isfinite(self.subsidy[here])]),
        }


def facts_of_world(world: World, rule: SubsidyRule, *, year: int, baseline: int) -> ProgrammeFacts:
    """Facts of every merchant of a world.

    Args:
        rule: of the interest subsidy. Every loan that met it when it was paid out is taken to have got it.
        year: that is reported.
        baseline: that it is compared with.
    """
    loans: dict[str, list[Financing]] = defaultdict(list)
    for each in world.financings:
        loans[each.account_id].append(each)
    n = len(world.merchants)
    found = {name: np.full(n, np.nan) for name in ("amount", "amount_before", "rate", "rate_before")}
    overdue, subsidy = np.full(n, np.nan), np.full(n, np.nan)
    end = date(year, 12, 31)
    for row, merchant in enumerate(world.merchants):
        for loan in loans[merchant.account_id]:
            paid_out = loan.disbursed_on
            if paid_out is None:
                continue
            for wanted, suffix in ((year, ""), (baseline, "_before")):
                if paid_out.year == wanted:
                    found[f"amount{suffix}"][row] = loan.amount_fen / FEN
                    found[f"rate{suffix}"][row] = loan.annual_rate / MILLION
            if paid_out <= end and _left(loan, end):
                overdue[row] = max(np.nan_to_num(overdue[row]), float(loan.overdue_days(end) > 0))
            if not rule.since <= paid_out < rule.until:
                continue
            reasons = set(refusals(rule, merchant, loan, Standing())) - {"subsidy-not-paid-out"}  # it was, then
            fen = 0 if reasons else due(rule, loan, end + timedelta(1), set_aside(rule, loan, {})).get(year, 0)
            if fen:
                subsidy[row] = np.nan_to_num(subsidy[row]) + fen / FEN
    return ProgrammeFacts(
        identifiers=tuple(each.identifier for each in world.merchants),
        support=tuple(each.kind for each in world.merchants),
        county=tuple(each.origin for each in world.merchants),
        area=tuple(AREAS[PROVINCES[each.place].area] for each in world.merchants),
        bank=tuple(loans[each.account_id][0].bank if loans[each.account_id] else "" for each in world.merchants),
        overdue=overdue,
        subsidy=subsidy,
        **found,
    )


def write_tables(facts: ProgrammeFacts, folder: Path) -> tuple[SourceTable, ...]:
    """Write each source's own table, as `configs/programme-statistics.yaml` reads it; a file each, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = zip(facts.identifiers, facts.county, facts.area, facts.support, strict=True)
    tables = [_write(folder, PLATFORM, "platform", [list(each) for each in places])]
    for bank in sorted(set(facts.bank) - {""}):
        rows = [_bank_row(facts, row) for row, its in enumerate(facts.bank) if its == bank]
        tables.append(_write(folder, bank, "bank", rows))
    granted = np.flatnonzero(np.isfinite(facts.subsidy))
    tables.append(
        _write(folder, OFFICE, "office", [[facts.identifiers[row], f"{facts.subsidy[row]:.2f}"] for row in granted])
    )
    return tuple(tables)


def _bank_row(facts: ProgrammeFacts, row: int) -> list[str]:
    late = facts.overdue[row]
    money = (_written(each[row], 2) for each in (facts.amount, facts.amount_before))
    rates = (_written(each[row], 6) for each in (facts.rate, facts.rate_before))
    return [facts.identifiers[row], *money, *rates, "" if np.isnan(late) else "overdue" if late else "current"]


def _written(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _write(folder: Path, party_id: str, kind: str, rows: Sequence[Sequence[str]]) -> SourceTable:
    path = folder / f"{party_id}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS[kind])
        writer.writerows(rows)
    return SourceTable(party_id, kind, path)


def _left(loan: Financing, end: date) -> bool:
    return loan.amount_fen > sum(each.principal_fen for each in loan.repayments if each.paid_on <= end)


def _given(values: Values) -> int:
    return int(np.isfinite(values).sum())


def _mean(values: Values) -> float | None:
    given = values[np.isfinite(values)]
    return math.fsum(given) / len(given) if len(given) else None


def _change(now: float | None, before: float | None) -> float | None:
    return None if now is None or not before else now / before - 1
