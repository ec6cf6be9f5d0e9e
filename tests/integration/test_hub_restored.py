"""An old backup of the hub is noticed, and nothing forks: the witness gives the log back, parties bring the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from hub import cli
from hub.backup import write_backup
from hub.config import load_config
from hub.demo.merchants import event_of
from hub.doctor import examine
from hub.errors import LogError
from hub.migrations.runner import newest
from hub.restoring import restore
from hub.state_errors import RestoredError
from hub.tables.log import LogPendingRow
from tests.databases import empty_database
from tests.served_world import ServedWorld, wait_until


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    made = ServedWorld(
        tmp_path_factory.mktemp("served"), merchants=250, nodes={"bank": 2, "tax": 1, "utility": 1}, scores=3
    )
    try:
        yield made
    finally:
        made.close()


def revocation(world: ServedWorld, row: int) -> str:
    return event_of(world.merchants[row], world.records[row], "revoked")


def cosigned(world: ServedWorld) -> int:
    """The size of the log once all of it is cosigned."""
    witness = world.witness.services.witness
    assert witness is not None

    def all_of_it() -> bool:
        known = witness.checkpoints.newest(limit=1)
        with world.hub.db.reading() as session:
            waiting = session.scalar(select(func.count()).select_from(LogPendingRow))
        return waiting == 0 and bool(known) and known[0].size == world.hub.log.reader.size()

    wait_until(all_of_it, what="the cosigned log")
    return world.hub.log.reader.size()


def set_back(world: ServedWorld, backup: Path) -> None:
    """The hub stops, its database is lost, the backup is restored, and it serves again."""
    world.process.stop()
    path = world.base / "hub" / "hub.yaml"
    for file in path.parent.glob("hub.sqlite*"):
        if file.is_file():
            file.unlink()
    text = path.read_text()
    line = next(each for each in text.splitlines() if each.startswith("database:"))
    path.write_text(text.replace(line, f"database: {empty_database()}"))
    restore(load_config(path), backup)
    world.process = type(world.process)(path)
    world.process.start()


def test_the_log_comes_back_whole_and_the_rest_is_brought_again(world: ServedWorld, tmp_path: Path) -> None:
    backup = tmp_path / "hub.backup"
    witness = world.witness.services.witness
    assert witness is not None
    world.hub.consents.submit_events([revocation(world, 0)])  # before: in the backup, perhaps without a place yet
    before = write_backup(world.hub, backup, revision=newest(), with_keys=False)
    lost = revocation(world, 1)
    world.hub.consents.submit_events([lost])
    world.hub.revocation.revoke("platform", "its key was copied")
    wait_until(lambda: "platform" not in {p.party_id for p in world.hub.roster.members()}, what="the revocation")
    wait_until(lambda: not world.hub.roster._gone(), what="the roster without it")
    size = cosigned(world)
    witness.mirror.catch_up()
    entries = list(world.hub.log.reader.entries(0, 10_000))
    wait_until(world._feeds_followed, what="all feeds")

    set_back(world, backup)
    guard = world.hub.log.guard
    wait_until(lambda: guard.standing() is not None and guard.standing().phase != "held", what="the witness's word")
    standing = guard.standing()
    assert standing is not None
    assert (standing.phase, standing.log_size, standing.witness_size) == ("resubmitting", before.log_size, size)
    assert standing.lost == {"consent-event": 1}
    assert list(world.hub.log.reader.entries(0, 10_000))[:size] == entries
    assert examine(world.hub) == []
    assert world.hub.parties.get("platform") is None
    assert world.hub.roster.approved("platform") is None
    refused = world.order(epsilon=3.0)
    assert (refused.status_code, refused.json()["code"]) == (503, "hub-restored")
    wait_until(lambda: set(world.agents) <= world.hub.links.connected(), what="all links on moved feeds")

    assert world.hub.consents.submit_events([lost]).stored == 1
    config = ["--config", str(world.base / "hub" / "hub.yaml"), "--json"]
    done = CliRunner().invoke(cli.app, ["restored", "--finish", "--reason", "receipts compared", *config])
    assert json.loads(done.stdout)["phase"] == "ended", done.output
    wait_until(lambda: guard.phase() is None, what="the end")
    state = world.ended(world.start(epsilon=8.0))  # 200 merchants: with more noise the fit may find nothing
    assert state["status"] == "succeeded", state["failure"]
    assert cosigned(world) > size
    assert examine(world.hub) == []


def test_where_the_witness_has_no_copy_the_hub_stays_held(world: ServedWorld, tmp_path: Path) -> None:
    backup = tmp_path / "hub.backup"
    cosigned(world)
    write_backup(world.hub, backup, revision=newest(), with_keys=False)
    world.hub.consents.submit_events([revocation(world, 2)])
    size = cosigned(world)
    set_back(world, backup)
    wait_until(lambda: "witness" in world.hub.links.connected(), what="the witness")
    with pytest.raises(LogError, match=f"cosigned {size} entries; its copy of the log ends at"):
        world.hub.restored_log.look()
    with pytest.raises(RestoredError):
        world.hub.consents.submit_events([revocation(world, 3)])
    assert world.hub.log.sequence() == 0
    health = world.http.get("/v1/log/entries?start=0&limit=1")
    assert health.status_code == 200
