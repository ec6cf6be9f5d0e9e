"""The hub's database set back to an earlier version's schema, with its data, and brought forward as operators do."""

from __future__ import annotations

import subprocess

from alembic import command

from hub.migrations.runner import VERSIONS, check_schema
from tests.faults.market import Market, quiet
from tests.faults.world import script

EARLIER = ("0003", "0002", "0001")


def upgrade(market: Market, revision: str) -> None:
    """The hub stops, its database has an earlier schema, and the steps of docs/operations.md are taken."""
    world = market.world
    config = ["--config", str(world.base / "hub" / "hub.yaml")]
    world.until(lambda: quiet(world), what="a log that is whole and cosigned")
    entries = market.log()
    world.take_away("worker")
    world.take_away("hub")
    with world.hub.db.engine.begin() as connection:
        command.downgrade(VERSIONS._config(connection), revision)

    for early in (["serve"], ["worker"], ["doctor", "--json"]):
        refused = run([*early, *config])
        assert refused.returncode != 0
        assert f"schema {revision}" in refused.stderr + refused.stdout
        assert "digua-hub migrate" in refused.stderr + refused.stdout
    migrated = run(["migrate", *config])
    assert migrated.returncode == 0, migrated.stderr
    check_schema(world.hub.db)
    examined = run(["doctor", *config, "--json"])
    assert examined.returncode == 0, examined.stdout
    assert VERSIONS.differences(world.hub.db) == []
    assert market.log() == entries

    world.bring_back("hub")
    world.bring_back("worker")
    world.until(world.connected, what="all links with the new version")


def score(market: Market) -> None:
    """A merchant's consent of before is scored, and each of its sources counts it once."""
    world = market.world
    row, merchant = market.merchant()
    record = world.made.records[row]
    body = {"id": merchant.merchant_id, "consent_id": record, "model_id": market.model_id}
    answer = world.ask_gateway("/score", body)
    market.requests += 1
    assert (answer["score"], answer["model_id"]) == (market.score(row), market.model_id)
    assert market.uses("tax-1", record) == 1


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """One command of the hub, to its end."""
    return subprocess.run(
        [script("digua-hub"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
