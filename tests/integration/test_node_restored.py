"""A node whose store was set back spends no privacy twice: the witness knows what it sent, and it is charged for it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentRecord
from crypto.wire.scoring import ScoreItem, ScoreRequest
from nodes.backup import restore, write_backup
from nodes.own_files import STORE_FILE
from nodes.uses import UseBook
from tests.served_world import Agent, ServedWorld

EPSILON = 2.0


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    """Noise is on; a budget allows one campaign, but not two of them; the witness's allows many."""
    made = ServedWorld(
        tmp_path_factory.mktemp("served"),
        nodes={"bank": 2, "tax": 2, "utility": 2},
        budgets={"witness": 95.0, "bank-1": 2.5, "bank-2": 95.0, "tax-1": 95.0, "tax-2": 95.0, "utility-1": 95.0}
        | {"utility-2": 95.0},
        noise_off=False,
        scores=3,
    )
    try:
        yield made
    finally:
        made.close()


def reopened(world: ServedWorld, party: str) -> Agent:
    """The agent on whatever lies in its data folder now."""
    agent = world.agents[party]
    again = Agent.open(agent.config)
    world.agents[party] = again
    again.connect()
    world.wait_connected()
    return again


def emptied(world: ServedWorld, party: str) -> Path:
    """The agent is stopped and its store moved away, as after a lost disk; returns the folder."""
    agent = world.agents[party]
    agent.close()
    folder = agent.config.data_dir
    for file in folder.glob(f"{STORE_FILE}*"):
        file.unlink()
    return folder


def test_what_was_sent_after_the_backup_is_charged_before_anything_else_is_sent(
    world: ServedWorld, tmp_path: Path
) -> None:
    config = world.agents["bank-1"].config
    write_backup(config, tmp_path / "bank-1.backup", with_keys=False)
    plain = tmp_path / "plain.db"
    with sqlite3.connect(config.data_dir / STORE_FILE) as source, sqlite3.connect(plain) as target:
        source.backup(target)
    first = world.ended(world.start(epsilon=EPSILON))
    assert first["status"] == "succeeded", first
    spent = world.agents["bank-1"].runtime.ledger.spent()
    assert spent.epsilon > 0

    def charged_again() -> None:
        agent = reopened(world, "bank-1")
        assert agent.runtime.ledger.spent().epsilon == 0
        second = world.ended(world.start(epsilon=EPSILON, quorum={"bank": 2}))
        assert second["status"] == "failed"
        assert {each["party"]: each["code"] for each in second["refusals"]} == {"bank-1": "budget-exceeded"}
        assert agent.runtime.ledger.spent() == spent
        assert "ledger-reconciled" in {line.type for line in agent.services.journal.lines()}

    emptied(world, "bank-1")
    restore(config, tmp_path / "bank-1.backup")
    charged_again()

    folder = emptied(world, "bank-1")  # a copy that nobody marked
    shutil.copy(plain, folder / STORE_FILE)
    charged_again()


def test_consents_from_before_count_as_used_up(world: ServedWorld, tmp_path: Path) -> None:
    agent = world.agents["tax-1"]
    held = agent.services.consents.all(datetime.now(UTC), limit=1000)
    record = next(each.record for each in held if len(each.record.purposes) == 2)
    with agent.runtime.store.session() as session:
        before = book_of(session, record).uses(bytes(32), item_of(record), record)
    assert (before.in_period, before.other_requests) == (0, False)
    write_backup(agent.config, tmp_path / "tax-1.backup", with_keys=False)
    emptied(world, "tax-1")
    restore(agent.config, tmp_path / "tax-1.backup")
    again = reopened(world, "tax-1")
    with again.runtime.store.session() as session:
        after = book_of(session, record).uses(bytes(32), item_of(record), record)
        newer = record.model_copy(update={"event_time": datetime.now(UTC) + timedelta(seconds=5)})
        assert book_of(session, record).uses(bytes(32), item_of(record), newer) == before
        later = datetime.now(UTC) + timedelta(days=32)
        assert book_of(session, record, now=later).uses(bytes(32), item_of(record), record).in_period == 0
    assert (after.in_period, after.other_requests) == (record.frequency.count, True)


def item_of(record: ConsentRecord) -> ScoreItem:
    return ScoreItem(pseudonym=record.pii_principal_id, consent_id=record.record_id, sources=record.sources)


def book_of(session: Session, record: ConsentRecord, *, now: datetime | None = None) -> UseBook:
    moment = now or datetime.now(UTC)
    request = ScoreRequest(
        suite=SUITE,
        requester=record.recipients[0],
        model_id="sha256:" + "0" * 64,
        purpose="credit-scoring",
        items=(item_of(record),),
        nonce=bytes(16),
        issued_at=moment,
        expires_at=moment + timedelta(minutes=5),
    )
    return UseBook(session, {bytes(32): request}, moment)
