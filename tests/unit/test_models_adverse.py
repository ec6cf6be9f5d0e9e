"""The five-year limit on adverse facts, to the day."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import polars as pl
import pytest

from models.adverse import day_of, first_usable, too_old
from models.errors import SchemaError
from models.schema import Schema


@pytest.mark.parametrize(
    ("ended", "last_day", "day_after"),
    [
        ("2021-03-01", "2026-03-01", "2026-03-02"),
        ("2021-12-31", "2026-12-31", "2027-01-01"),
        ("2020-02-29", "2025-02-28", "2025-03-01"),  # five years later there is no such day
        ("2023-02-28", "2028-02-28", "2028-02-29"),
        ("2023-03-01", "2028-03-01", "2028-03-02"),
        ("2024-02-28", "2029-02-28", "2029-03-01"),
    ],
)
def test_a_fact_is_used_for_five_years_from_its_end(ended: str, last_day: str, day_after: str) -> None:
    ends = pl.Series("ended", [ended])
    assert too_old(ends, date.fromisoformat(last_day))[0].tolist() == [False]
    assert too_old(ends, date.fromisoformat(day_after))[0].tolist() == [True]


def test_the_limit_moves_by_no_more_than_a_day_each_day() -> None:
    days = [date.fromordinal(number) for number in range(date(2024, 1, 1).toordinal(), date(2033, 1, 1).toordinal())]
    limits = [first_usable(day) for day in days]
    steps = [(later - earlier).days for earlier, later in itertools.pairwise(limits)]
    assert set(steps) <= {0, 1, 2}  # 0 and 2 around leap days alone
    assert steps.count(2) == sum((day.month, day.day) == (3, 1) and first_usable(day).year % 4 == 0 for day in days[1:])


def test_days_are_those_of_beijing() -> None:
    assert day_of(datetime(2026, 3, 1, 15, 59, 59, tzinfo=UTC)) == date(2026, 3, 1)
    assert day_of(datetime(2026, 3, 1, 16, 0, 0, tzinfo=UTC)) == date(2026, 3, 2)


def test_a_fact_without_an_end_is_used_and_a_cell_that_is_no_date_is_named() -> None:
    cells = ["2019-01-01", None, "", "2026-01-01", "2019-01-01 08:30:00", "01.02.2019", "2019-02-30", "2019"]
    old, problems = too_old(pl.Series("ended", cells), date(2026, 3, 1))
    assert old.tolist() == [True, False, False, False, True, True, True, True]
    assert [each.row for each in problems] == [5, 6, 7]
    assert all("2019" not in str(each.what).replace("2025-06-30", "") for each in problems)


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime])
def test_columns_of_dates_are_read_as_they_are(dtype: type[pl.DataType]) -> None:
    ends = pl.Series("ended", [date(2021, 3, 1), date(2021, 2, 28), None]).cast(dtype)
    old, problems = too_old(ends, date(2026, 3, 1))
    assert (old.tolist(), problems) == ([False, True, False], [])


def schema(**feature: object) -> dict[str, object]:
    title = {"zh": "一", "en": "One"}
    return {
        "name": "s",
        "id": {"column": "id", "type": "opaque"},
        "as_of": "2026-01-31",
        "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": title},
        "kinds": {
            "bank": {
                "features": {
                    "late": {"title": title, "class": "C2", "bins": [0], **feature},
                    "one": {"title": title, "class": "C2", "bins": [0]},
                    "a": {"title": title, "class": "C2", "bins": [0]},
                },
            }
        },
    }


def test_schemas_that_mark_nothing_keep_their_hash() -> None:
    plain = Schema.model_validate(schema())
    assert b"adverse" not in plain.canonical_json()
    assert plain.end_columns("bank") == {}
    marked = Schema.model_validate(schema(adverse=True, ended_at="late_ended"))
    assert marked.end_columns("bank") == {"late": "late_ended"}
    assert marked.columns("bank") == plain.columns("bank")
    assert marked.hash() != plain.hash()
    assert Schema.from_json(marked.canonical_json()) == marked


@pytest.mark.parametrize(
    "feature",
    [
        {"adverse": True},
        {"ended_at": "late_ended"},
        {"adverse": False, "ended_at": "late_ended"},
        {"adverse": True, "ended_at": "one"},
        {"adverse": True, "ended_at": "id"},
        {"adverse": True, "ended_at": "bad"},
        {"adverse": True, "ended_at": "a"},
        {"adverse": True, "ended_at": "late_ended", "derived": {"difference": ["a", "one"]}},
    ],
)
def test_marks_that_make_no_sense_are_refused(feature: dict[str, object]) -> None:
    with pytest.raises((ValueError, SchemaError)):
        Schema.model_validate(schema(**feature))
