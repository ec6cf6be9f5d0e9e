"""Outcomes for a bank's node: only of full windows, by hand and against a walk of days; a node reads their file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.platform.financing_states import State
from hub.platform.financings import Financing, Repayment, defaulted, repaid
from hub.platform.instalments import plan_of
from hub.platform.outcomes import Outcome, OutcomeQuery, as_csv, as_parquet, defaulted_within, outcome_of
from models.schema_file import load_schema
from nodes.dataset_config import DatasetConfig
from nodes.sources.configured import source_of
from nodes.sources.table import NodeTable

DAY = date(2025, 1, 15)
QUERY = OutcomeQuery(
    disbursed_from=date(2025, 1, 1), disbursed_to=date(2025, 3, 31), observed_on=date(2026, 3, 31), window_months=12
)


def loan(day: date = DAY, months: int = 12, amount: int = 1_200_000) -> Financing:
    return Financing(
        financing_id="f" * 32,
        account_id="shop0001",
        bank="bank-01",
        product_id="shop",
        product_version=1,
        amount_fen=amount,
        annual_rate=40_000,
        term_months=months,
        state=State.DISBURSED,
        applied_on=day,
        contracted_on=day,
        disbursed_on=day,
        plan=plan_of(amount, 40_000, months, "equal-instalments", day),
    )


def paid(found: Financing, *, late_days: int = 0, instalments: int = 99) -> Financing:
    for number, due in enumerate(found.plan[:instalments]):
        day = due.due_on + timedelta(late_days)
        found = repaid(found, Repayment(day, due.principal_fen, due.interest_fen, f"p{number}"))
    return found


@pytest.mark.parametrize(
    ("financings", "outcome"),
    [
        ([paid(loan())], Outcome(0)),
        ([paid(loan(), late_days=89)], Outcome(0)),
        ([loan(date(2025, 4, 1))], None),
        ([], None),
        ([paid(loan(date(2025, 3, 31)))], Outcome(0)),
        ([loan()], Outcome(1)),
        ([paid(loan()), loan()], Outcome(1)),
        ([defaulted(loan(), on=DAY + timedelta(40), cause="insolvency")], Outcome(1)),
        # Late by ninety days, then paid off: a default that has ended.
        ([paid(loan(months=2), late_days=91)], Outcome(1, date(2025, 3, 15) + timedelta(91))),
        # The same, but the end comes after the day of observation.
        ([paid(loan(months=9), late_days=200)], Outcome(1)),
        # In default after the window was over: performing, as the model's label means it.
        ([defaulted(paid(loan(months=24), instalments=12), on=date(2026, 3, 1), cause="insolvency")], Outcome(0)),
    ],
    ids=["paid", "late", "not-of-the-cohort", "none", "last-day", "never-paid", "one-of-two", "declared", "ended",
         "not-ended-yet", "after-the-window"],
)  # fmt: skip
def test_outcomes_by_hand(financings: list[Financing], outcome: Outcome | None) -> None:
    assert outcome_of(financings, QUERY) == outcome


def test_no_window_no_outcome_though_it_has_defaulted() -> None:
    early = QUERY.model_copy(update={"observed_on": date(2026, 1, 14)})
    bad = defaulted(loan(), on=DAY + timedelta(30), cause="insolvency")
    assert outcome_of([bad], early) == Outcome(None)
    assert outcome_of([bad], early.model_copy(update={"observed_on": date(2026, 1, 15)})) == Outcome(1)
    # One that is not watched to its end leaves the merchant without an outcome, unless another defaulted.
    assert outcome_of([paid(loan()), paid(loan(date(2025, 2, 1)))], early.model_copy(
        update={"observed_on": date(2026, 1, 20)}
    )) == Outcome(None)  # fmt: skip


@given(data=st.data())
@settings(max_examples=80)
def test_days_overdue_walked_one_by_one_say_the_same(data: st.DataObject) -> None:
    found = loan(months=data.draw(st.integers(1, 6)))
    day = DAY
    for number in range(data.draw(st.integers(0, 7))):
        day += timedelta(data.draw(st.integers(0, 120)))
        amount = data.draw(st.sampled_from([1, 200_000, 400_000, found.outstanding_fen]))
        if found.state != State.DISBURSED:
            break
        found = repaid(found, Repayment(day, min(amount, found.outstanding_fen), 900, f"p{number}"))
    until = DAY + timedelta(data.draw(st.integers(30, 500)))
    walked = any(
        replace(found, repayments=tuple(each for each in found.repayments if each.paid_on <= on)).overdue_days(on) >= 90
        for on in (DAY + timedelta(n) for n in range((until - DAY).days + 1))
        if found.ended_on is None or on < found.ended_on
    )
    assert defaulted_within(found, until) is walked


@pytest.mark.parametrize(
    "change",
    [{"disbursed_to": "2024-12-31"}, {"label_column": "id"}, {"window_months": 0}, {"id_column": "a,b"}],
    ids=["order", "same", "window", "name"],
)
def test_a_query_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutcomeQuery.model_validate({**QUERY.model_dump(mode="json"), **change})


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_node_reads_the_file_and_its_labels_match(tmp_path: Path, form: str) -> None:
    outcomes = {
        "91331102MA2E0AAA01": Outcome(0),
        "91331102MA2E0AAA02": Outcome(1),
        "91331102MA2E0AAA03": Outcome(None),
        "91331102MA2E0AAA04": Outcome(1, date(2019, 5, 1)),
    }
    query = QUERY.model_copy(update={"id_column": "uscc", "label_column": "bad", "ended_column": "bad_ended"})
    (tmp_path / "outcomes.csv").write_text(as_csv(outcomes, query), encoding="utf-8")
    (tmp_path / "outcomes.parquet").write_bytes(as_parquet(outcomes, query))
    (tmp_path / "table.csv").write_text(
        "uscc,age\n" + "".join(f"{identifier},{30 + n}\n" for n, identifier in enumerate([*outcomes, "other"]))
    )
    (tmp_path / "schema.yaml").write_text(
        "name: demo\nid: {column: uscc, type: opaque}\nas_of: 2024-12-31\n"
        "label: {column: bad, kind: bank, performance_months: 12, adverse: true, ended_at: bad_ended,\n"
        "        title: {zh: 违约, en: Default}}\n"
        "kinds:\n  bank:\n    title: {zh: 银行, en: Bank}\n"
        "    features: {age: {title: {zh: 年龄, en: Age}, class: C2, bins: [40]}}\n",
        encoding="utf-8",
    )
    configured = DatasetConfig.model_validate(
        {"schema": "schema.yaml", "csv": "table.csv", "outcomes": {form: f"outcomes.{form}"}},
        context={"base": tmp_path},
    )
    schema = load_schema(configured.schema_file)
    table = NodeTable.load(source_of(configured), schema, "bank", today=date(2026, 4, 1))
    assert table.outcome is not None
    found = dict(zip(table.ids, table.outcome.tolist(), strict=True))
    # 0 defaulted, 1 performing, 2 none; the fourth's default ended more than five years ago.
    assert [found[identifier] for identifier in outcomes] == [1, 0, 2, 2]
    assert found["OTHER"] == 2
