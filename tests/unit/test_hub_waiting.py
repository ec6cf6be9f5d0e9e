"""What a campaign says while it waits: once for each change, with names and the moment, in both languages."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hub.campaign_plan import Progress
from hub.commands.campaign import _detail, _show
from hub.waiting import Wait, Waiting

NOW = datetime(2026, 11, 28, 14, 0, 0, 500, tzinfo=UTC)


def told(*looks: tuple[str, ...]) -> list[Progress]:
    events: list[Progress] = []
    waiting = Waiting(events.append, lambda: NOW, stage="scorecard", attempt="small/start", seconds=300)
    for present in looks:
        waiting.note(["bank-1", "bank-2", "tax-1"], present)
    return events


def test_each_change_is_told_once_and_nothing_when_all_are_there() -> None:
    events = told(("bank-1",), ("bank-1",), ("bank-1", "tax-1"), ("bank-1", "bank-2", "tax-1"))
    assert [(event.step, event.done, event.total) for event in events] == [("wait", 1, 3), ("wait", 2, 3)]
    waits = [Wait.of(event) for event in events]
    until = datetime(2026, 11, 28, 14, 5, tzinfo=UTC)
    assert waits == [Wait(until=until, parties=("bank-2", "tax-1")), Wait(until=until, parties=("bank-2",))]


def test_a_step_that_waits_for_nobody_is_none() -> None:
    assert Wait.of(Progress("scorecard", "small/1", "accept", 1, 3, 0.1, "until")) is None


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "9 of 12 parties are here; waiting until 14:05:00 for bank-3, tax-1"),
        ("zh", "12 方中已有 9 方在线；等待至 14:05:00：bank-3, tax-1"),
    ],
)
def test_a_person_reads_it_in_his_language_and_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], language: str, sentence: str
) -> None:
    monkeypatch.setenv("DIGUA_LANG", language)
    until = datetime(2026, 11, 28, 14, 5).astimezone()
    step = {
        "attempt": "small/start",
        "what": "wait",
        "done": 9,
        "total": 12,
        "seconds": 0.0,
        "detail": "",
        "wait": {"until": until.isoformat(), "parties": ["bank-3", "tax-1"]},
    }
    assert _detail(step) == sentence
    names = ("campaign_id", "name", "schema", "epsilon", "delta", "noise", "created_at", "ended_at", "model_id")
    campaign = dict.fromkeys(names) | {"status": "running", "waits_for": None, "models": {}, "failure": None}
    monkeypatch.setenv("COLUMNS", "200")
    _show(campaign | {"refusals": [], "progress": [step]})
    assert capsys.readouterr().out.count(sentence) == 2  # as it is now, and among the steps
