"""The yearly budget of programme statistics: a rolling window over the ledger, by the owner's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.wire.campaign import MechanismTerms, TablesMechanism
from nodes.errors import YearlyBudgetExceeded
from nodes.ledger import Ledger
from nodes.store import Store
from nodes.yearly_budget import YearlyBudget

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def cells(stage: str, sigma: float = 17.0) -> tuple[MechanismTerms, ...]:
    return (
        TablesMechanism.model_validate(
            {"mechanism": "discrete-gaussian-cells", "stage": stage, "sigma": sigma, "count": 16}
        ),
    )


def ledger_of(path: Path, clock: Clock, yearly: float = 1.0) -> Ledger:
    return Ledger(Store.open(path / "node.db"), 20.0, 1e-5, yearly=YearlyBudget(yearly, "bank-1"), clock=clock)


def send(ledger: Ledger, campaign: str, stage: str = "statistics", sigma: float = 17.0) -> None:
    ledger.record_send(
        campaign_id=campaign,
        attempt=f"{campaign}/{stage}/1",
        h=bytes(32),
        payload=b"sum",
        mechanisms=cells(stage, sigma),
    )


def test_a_send_beyond_it_is_refused_and_nothing_is_recorded(tmp_path: Path) -> None:
    clock = Clock()
    ledger = ledger_of(tmp_path, clock)
    send(ledger, "c1")
    with pytest.raises(YearlyBudgetExceeded) as refused:
        send(ledger, "c2")
    assert refused.value.owner == "bank-1"
    assert refused.value.free_from == START + timedelta(days=365)
    assert 0.8 < refused.value.spent == refused.value.asked < 1.0
    assert [charge.campaign_id for charge in ledger.charges()] == ["c1"]


def test_it_frees_after_365_days_and_not_at_new_year(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = datetime(2026, 12, 30, tzinfo=UTC)
    ledger = ledger_of(tmp_path, clock)
    send(ledger, "c1")
    clock.now = datetime(2027, 1, 2, tzinfo=UTC)
    with pytest.raises(YearlyBudgetExceeded):
        ledger.check("c2", cells("statistics"), stage="statistics")
    clock.now = datetime(2026, 12, 30, tzinfo=UTC) + timedelta(days=365)
    ledger.check("c2", cells("statistics"), stage="statistics")


def test_the_time_named_is_when_enough_has_left_the_window(tmp_path: Path) -> None:
    clock = Clock()
    ledger = ledger_of(tmp_path, clock, yearly=1.75)
    for day in (0, 10, 20):
        clock.now = START + timedelta(days=day)
        send(ledger, f"c{day}")
    with pytest.raises(YearlyBudgetExceeded) as refused:
        ledger.check("large", cells("statistics", 11.0), stage="statistics")
    freed = refused.value.free_from
    assert freed == START + timedelta(days=365 + 10)
    clock.now = freed - timedelta(seconds=1)
    with pytest.raises(YearlyBudgetExceeded):
        ledger.check("large", cells("statistics", 11.0), stage="statistics")
    clock.now = freed
    ledger.check("large", cells("statistics", 11.0), stage="statistics")


def test_refunded_charges_and_training_do_not_count(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, Clock())
    send(ledger, "c1")
    ledger.refund("c1/statistics/1", bytes(32))
    send(ledger, "training", "scorecard", sigma=8.0)
    send(ledger, "c2")


def test_what_is_dearer_alone_is_never_possible(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, Clock(), yearly=0.3)
    with pytest.raises(YearlyBudgetExceeded, match="never") as refused:
        ledger.check("c1", cells("statistics"), stage="statistics")
    assert refused.value.free_from is None
