"""What became of a bank's financings, as labels of its next campaign: default or performing after a full window.

A financing has an outcome once it was watched for the whole window, and none before: were defaults counted as they
come and performing loans only at the end, young loans would all be bad ones. A merchant's outcome is a default if any
of its financings of the cohort defaulted within its window; it is performing if all of them were watched to the end
and none did.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hub.platform.financing_states import State
from hub.platform.financings import DEFAULT_DAYS, Financing
from hub.platform.instalments import months_later

ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
DEFAULT: Literal[1] = 1
PERFORMING: Literal[0] = 0


class OutcomeQuery(BaseModel):
    """Which financings, watched until when, and how the node's schema names the columns.

    Attributes:
        disbursed_from, disbursed_to: the cohort, both days included.
        observed_on: outcomes as they were at the end of this day.
        window_months: how long each financing is watched: the schema's `performance_months`.
        id_column, label_column, ended_column: the schema's `id.column`, `label.column` and `label.ended_at`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    disbursed_from: date
    disbursed_to: date
    observed_on: date
    window_months: Annotated[int, Field(ge=1, le=120)]
    id_column: ColumnName = "id"
    label_column: ColumnName = "default"
    ended_column: ColumnName = "default_ended"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.disbursed_to < self.disbursed_from:
            raise ValueError("disbursed_to: must not lie before disbursed_from")
        if len({self.id_column, self.label_column, self.ended_column}) != 3:
            raise ValueError("label_column: the three columns need different names")
        return self


@dataclass(frozen=True)
class Outcome:
    """A merchant's outcome.

    Attributes:
        label: 1 default, 0 performing; None where a window is not over.
        default_ended: the day on which the principal of every default had come back; None where there was none, or
            where some of it is still owed. The five years of an adverse fact run from it.
    """

    label: Literal[0, 1] | None
    default_ended: date | None = None


def outcome_of(financings: Iterable[Financing], query: OutcomeQuery) -> Outcome | None:
    """Return a merchant's outcome, or None where none of its financings is of the cohort."""
    labels: list[Literal[0, 1] | None] = []
    ends: list[date | None] = []
    for each in financings:
        day = each.disbursed_on
        if day is None or not query.disbursed_from <= day <= query.disbursed_to:
            continue
        until = months_later(day, query.window_months)
        if until > query.observed_on:
            labels.append(None)
        elif defaulted_within(each, until):
            labels.append(DEFAULT)
            ends.append(_ended(each, query.observed_on))
        else:
            labels.append(PERFORMING)
    if not labels:
        return None
    if DEFAULT in labels:
        known = [end for end in ends if end is not None]
        return Outcome(DEFAULT, max(known) if len(known) == len(ends) else None)
    return Outcome(None if None in labels else PERFORMING)


def defaulted_within(financing: Financing, until: date) -> bool:
    """Whether a financing was declared in default by a day, or was 90 days overdue on some day up to it."""
    since = financing.in_default_since()
    if since is not None and since <= until:
        return True
    closed_on = financing.ended_on if financing.state == State.CLOSED else None
    needed = 0
    for due in financing.plan:
        needed += due.total_fen
        last_day = due.due_on + timedelta(DEFAULT_DAYS)
        if last_day > until or (closed_on is not None and closed_on <= last_day):
            return False
        if financing.paid_fen(last_day) < needed:
            return True
    return False


def as_csv(outcomes: Mapping[str, Outcome], query: OutcomeQuery) -> str:
    """Return outcomes by identifier as the CSV file that a node reads beside its table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([query.id_column, query.label_column, query.ended_column])
    for identifier, each in sorted(outcomes.items()):
        ended = "" if each.default_ended is None else each.default_ended.isoformat()
        writer.writerow([identifier, "" if each.label is None else each.label, ended])
    return text.getvalue()


def as_parquet(outcomes: Mapping[str, Outcome], query: OutcomeQuery) -> bytes:
    """Return the same as a Parquet file."""
    ordered = sorted(outcomes.items())
    buffer = io.BytesIO()
    pl.DataFrame(
        {
            query.id_column: pl.Series([identifier for identifier, _ in ordered], dtype=pl.String),
            query.label_column: pl.Series([each.label for _, each in ordered], dtype=pl.Int8),
            query.ended_column: pl.Series([each.default_ended for _, each in ordered], dtype=pl.Date),
        }
    ).write_parquet(buffer)
    return buffer.getvalue()


def _ended(financing: Financing, observed_on: date) -> date | None:
    """When what was in default had been paid: the recovery of a declared one, the closing of one that was overdue."""
    ended = financing.recovered_on() if financing.state == State.DEFAULTED else financing.ended_on
    return ended if ended is not None and ended <= observed_on else None
