"""What banks, tax bureaus and utilities have written down of the merchants: each sees its own part, with errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.lishui.merchants import INN, Merchants
from models.lishui.turnover import Turnover

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NO_CREDIT_LINE = 0.25
_ABSENT_AT_TAX = 0.04
_ABSENT_AT_UTILITY = 0.08
_TURNOVER_MONTHS = 12


@dataclass(frozen=True)
class Records:
    """What one kind has.

    Attributes:
        columns: name → (n,) values, null where unknown.
        present: (n,) who has a record there at all.
    """

    columns: dict[str, pl.Series]
    present: Mask


def bank_records(rng: np.random.Generator, who: Merchants, trading: Turnover) -> Records:
    """Accounts, credit and repayment. Every merchant has a bank."""
    count = len(who)
    account = np.floor(who.months_registered * np.sqrt(rng.random(count))) + 1
    drawn = -0.5 - 0.7 * who.health - 0.25 * who.discipline + 1.0 * rng.standard_normal(count)
    utilisation = 1.06 / (1 + np.exp(-drawn))  # a few are overdrawn
    without_line = rng.random(count) < _NO_CREDIT_LINE
    balance = trading.year / 12 * np.exp(-0.9 + 0.3 * who.health + 0.6 * rng.standard_normal(count))
    loans = rng.poisson(np.exp(0.1 + 0.2 * who.size - 0.1 * who.health))
    late = rng.poisson(np.exp(-1.3 - 0.75 * who.discipline - 0.4 * who.health + 0.4 * rng.standard_normal(count))) * (
        loans > 0
    )
    everyone = np.ones(count, dtype=np.bool_)
    columns = {
        "account_months": _whole(account, everyone),
        "credit_utilisation": _decimal(utilisation, 3, ~without_line),
        "average_balance": _whole(balance, everyone),
        "active_loans": _whole(np.minimum(loans, 12), everyone),
        "late_payments_24m": _whole(np.minimum(late, 24), everyone),
    }
    return Records(columns, everyone)


def tax_records(rng: np.random.Generator, who: Merchants, trading: Turnover) -> Records:
    """Declared turnover by quarter, growth, late filings, burden, invoices.

    Quarters before the registration are unknown, and so is growth within the first two years.
    """
    count = len(who)
    present = rng.random(count) >= _ABSENT_AT_TAX
    declared = np.clip(0.85 + 0.05 * who.discipline + 0.05 * rng.standard_normal(count), 0.4, 1.0)
    quarters = trading.months.reshape(count, 4, 3).sum(axis=2) * declared[:, None]
    late = rng.poisson(np.exp(-1.1 - 0.65 * who.discipline - 0.2 * who.health + 0.3 * rng.standard_normal(count)))
    burden = 0.018 * np.exp(0.2 * who.size + 0.1 * who.health + 0.45 * rng.standard_normal(count))
    ticket = np.where(who.trade == INN, 900.0, 2600.0)  # yuan an invoice
    invoices = rng.poisson(np.minimum(trading.year / 12 / ticket * np.exp(0.4 * rng.standard_normal(count)), 5000.0))
    columns = {"months_registered": _whole(who.months_registered, present)}
    for quarter in range(4):
        there = who.months_registered >= _TURNOVER_MONTHS - 3 * quarter
        columns[f"turnover_q{quarter + 1}"] = _whole(quarters[:, quarter], present & there)
    columns["turnover_growth"] = _decimal(trading.growth, 3, present & (who.months_registered >= 24))
    columns["months_filed_late"] = _whole(np.minimum(late, 12), present)
    columns["tax_burden"] = _decimal(burden, 4, present)
    columns["invoices_per_month"] = _whole(invoices, present)
    return Records(columns, present)


def utility_records(rng: np.random.Generator, who: Merchants, trading: Turnover) -> Records:
    """Electricity and arrears. An inn's use follows its guests, a shop's its refrigerators."""
    count = len(who)
    present = rng.random(count) >= _ABSENT_AT_UTILITY
    level = np.where(who.trade == INN, 2200.0, 1100.0) * np.exp(
        0.5 * who.size + 0.08 * who.health + 0.35 * rng.standard_normal(count)
    )
    busy = trading.months / (trading.year[:, None] / 12)
    following = np.where(who.trade == INN, 0.7, 0.12)[:, None]
    use = (1 - following) + following * busy
    peak = use.max(axis=1) * np.exp(0.06 * np.abs(rng.standard_normal(count)))
    change = 0.6 * trading.growth + 0.1 * rng.standard_normal(count)
    arrears = rng.poisson(np.exp(-1.4 - 0.55 * who.discipline - 0.45 * who.health + 0.3 * rng.standard_normal(count)))
    arrears = np.minimum(arrears, 12)
    months = np.where(arrears > 0, arrears + rng.poisson(np.exp(-0.4 - 0.5 * who.health)), 0)
    columns = {
        "kwh_mean_month": _whole(level, present),
        "kwh_peak_month": _whole(level * peak, present),
        "kwh_change": _decimal(change, 3, present & (who.months_registered >= 24)),
        "arrears_count_12m": _whole(arrears, present),
        "arrears_months": _whole(np.minimum(months, 12), present),
    }
    return Records(columns, present)


def _whole(values: NDArray[np.floating] | NDArray[np.integer], known: Mask) -> pl.Series:
    return _masked(pl.Series(np.rint(values).astype(np.int64)), known)


def _decimal(values: Floats, digits: int, known: Mask) -> pl.Series:
    return _masked(pl.Series(np.round(values, digits)), known)


def _masked(series: pl.Series, known: Mask) -> pl.Series:
    return series if known.all() else series.zip_with(pl.Series(known), pl.Series([None], dtype=series.dtype))
