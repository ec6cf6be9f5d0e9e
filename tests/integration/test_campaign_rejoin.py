"""A campaign that is taken up again waits for those that were in it, longer than for others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from crypto.jws import verify_model
from crypto.wire.campaign import Terms
from hub.campaign_run import _REJOIN_S
from tests.gates import Gate
from tests.served_world import Agent, ServedWorld

pytestmark = pytest.mark.slow
LATE_S = 5.0


def test_a_node_of_the_last_attempt_that_is_late_after_a_restart_is_still_in_the_table(
    database: str, tmp_path: Path
) -> None:
    world = ServedWorld(tmp_path)
    late = world.agents["bank-3"]
    try:
        with Gate(world.agents["bank-1"], "train.exchange") as gate:
            campaign_id = world.start(noise="off", quorum={"bank": 1})
            assert gate.reached.wait(120)
            late.link.stop()
            world.process.restart()
        back = threading.Timer(_REJOIN_S + LATE_S, lambda: _connect(world, "bank-3"))
        back.start()
        state = world.ended(campaign_id)
        back.join()
        assert state["status"] == "succeeded", state["failure"]
        assert state["refusals"] == []
        last = world.hub.campaigns.book.last_terms(campaign_id)
        assert last is not None
        assert "bank-3" in {entry.party_id for entry in _terms(world, last).roster}
    finally:
        world.close()


def _connect(world: ServedWorld, party: str) -> None:
    world.agents[party].close()
    world.agents[party] = Agent.open(world.agents[party].config)
    world.agents[party].connect()


def _terms(world: ServedWorld, token: str) -> Terms:
    return verify_model(token, world.hub.keys.identity.public, Terms, typ="terms", kid=world.hub.campaigns.book.hub_id)
