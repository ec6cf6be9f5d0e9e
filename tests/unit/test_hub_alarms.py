"""Alarms about the log: a refusal is kept with its sizes and its time until the witness signs again."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from hub.alarms import Alarms
from hub.app import create_app
from hub.errors import LogError, PeerError, PeerUnreachable
from models.i18n import catalogue
from tests.hub_world import START, HubWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    world.settle()
    yield world
    world.hub.close()


def append(world: HubWorld) -> None:
    with world.hub.db.session() as session:
        world.hub.log.append(session, "query", "bank-01")
    world.hub.log.sequence()


def offer(world: HubWorld, error: type[Exception]) -> None:
    with pytest.raises(error):
        world.hub.log._cosigner.offer()


def codes(world: HubWorld) -> list[str]:
    return [each.code for each in world.hub.alarms()]


def test_a_refusal_stays_until_the_witness_signs_again(world: HubWorld) -> None:
    assert codes(world) == []
    world.links.size = 99  # the hub's database was set back, as far as the witness knows
    append(world)
    offer(world, LogError)
    world.now += timedelta(seconds=40)
    append(world)
    offer(world, LogError)
    (alarm,) = world.hub.alarms()
    assert alarm.code == "checkpoint-refused"
    assert alarm.since == START
    assert (alarm.what.params["size"], alarm.what.params["cosigned"]) == (5, 4)
    assert "cosigned a log of 99" in str(alarm.what)
    # Another process of the hub, or this one after a restart, says the same.
    assert Alarms(world.hub.db, clock=world.hub.clock, limit_s=60).now() == (alarm,)
    world.now += timedelta(seconds=61)
    offer(world, LogError)
    assert codes(world) == ["checkpoint-refused", "checkpoint-overdue"]
    assert world.hub.alarms()[0].what.params["size"] == 6
    world.links.size = 4
    world.hub.log._cosigner.offer()
    assert codes(world) == []
    (refusal,) = world.hub.log_alarms.refusals()
    assert (refusal.since, refusal.ended) == (START, START + timedelta(seconds=101))
    assert (refusal.code, refusal.size, refusal.cosigned_size) == ("log-inconsistent", 6, 4)


def test_a_line_that_does_not_verify_is_a_refusal(world: HubWorld) -> None:
    world.links.member.identity = world.hub.keys.identity
    append(world)
    offer(world, Exception)
    assert codes(world) == ["checkpoint-refused"]
    assert world.hub.log_alarms.refusals()[0].code == "proof-invalid"


def test_a_witness_that_refuses_is_named_with_its_reason(world: HubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> bytes:
        raise PeerError("The witness says no.", party="witness-zj")

    monkeypatch.setattr(world.links, "request", refuse)
    append(world)
    offer(world, PeerError)
    assert "The witness says no." in str(world.hub.alarms()[0].what)


def test_a_witness_that_is_away_is_no_refusal_but_overdue_after_the_limit(world: HubWorld) -> None:
    world.links.reachable = False
    append(world)
    offer(world, PeerUnreachable)
    world.now += timedelta(seconds=60)
    append(world)
    assert codes(world) == []
    world.now += timedelta(seconds=1)
    (alarm,) = world.hub.alarms()
    assert (alarm.code, alarm.since, alarm.what.params["waiting"]) == ("checkpoint-overdue", START, 2)
    assert world.hub.log_alarms.refusals() == ()
    world.links.reachable = True
    world.hub.log._cosigner.offer()
    assert codes(world) == []


def test_entries_that_get_no_place_are_an_alarm(world: HubWorld) -> None:
    with world.hub.db.session() as session:
        world.hub.log.append(session, "query", "bank-01")
    assert codes(world) == []
    world.now += timedelta(seconds=61)
    assert [(each.code, each.since) for each in world.hub.alarms()] == [("log-stalled", START)]
    world.settle()
    assert codes(world) == []


def test_health_tells_alarms_in_the_callers_language(world: HubWorld) -> None:
    world.links.size = 99
    append(world)
    offer(world, LogError)
    client = TestClient(create_app(world.hub))
    (english,) = client.get("/v1/health").json()["alarms"]
    (chinese,) = client.get("/v1/health", headers={"Accept-Language": "zh"}).json()["alarms"]
    assert english["code"] == chinese["code"] == "checkpoint-refused"
    assert english["since"] == "2026-03-01T08:00:00Z"
    assert english["title"] == "The witness does not cosign the audit log"
    assert chinese["title"] == "见证方拒绝为审计日志副签"
    assert "已提交副签 5 条，现有副签覆盖 4 条" in chinese["what"]


def test_every_text_of_an_alarm_is_translated() -> None:
    tree = ast.parse(Path(__file__).parents[2].joinpath("hub", "alarms.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "said"]
    texts = [node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)]
    assert len(texts) == 9
    assert [text for text in texts if not catalogue("hub").has("zh", str(text))] == []
