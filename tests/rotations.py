"""A federation in which a signing key changes while campaigns, consents and queries go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import hub.rotation_times
from nodes.enquiries import Enquiry
from tests.served_world import ServedWorld, wait_until

PARTIES = ("witness", "bank-1", "bank-2", "tax-1", "utility-1", "utility-2")
SLEEPER = "utility-2"
OTHERS = [party for party in PARTIES if party not in ("witness", SLEEPER)]
ENCODER = {"stages": ["encoder"], "noise": "off", "encoder": {"rounds": 4, "learning_rate": 2.0}}
"""A campaign of several rounds, in the midst of which a key may change."""


@contextmanager
def strict_clocks() -> Iterator[None]:
    """Clocks are one here: whoever signs with the former key a second after its end is found out."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("crypto.key_line.TOLERANCE", "nodes.roster.TOLERANCE"):
            patch.setattr(place, timedelta(seconds=1))
        patch.setattr(hub.rotation_times, "MIN_LEAD", timedelta(seconds=5))
        yield


@contextmanager
def rotating_world(folder: Path) -> Iterator[ServedWorld]:
    """Two banks, a tax bureau and two utilities, the last of which sleeps through the change."""
    made = ServedWorld(
        folder,
        merchants=120,
        nodes={"bank": 2, "tax": 1, "utility": 2},
        budgets=dict.fromkeys(PARTIES, 95.0),
        scores=20,
        hub_yaml="feed_heartbeat_s: 1.0\n",
    )
    try:
        yield made
    finally:
        made.close()


def wait_past(moment: datetime) -> None:
    """Until the new key holds and the former one is refused."""
    wait_until(
        lambda: datetime.now(moment.tzinfo) > moment + timedelta(seconds=3), what="the new key's time", seconds=60
    )


def trained(world: ServedWorld, **order: object) -> str:
    """The id of a campaign that succeeded."""
    state = world.ended(world.start(**{"noise": "off"} | order), seconds=240)
    assert state["status"] == "succeeded", state["failure"]
    return str(state["campaign_id"])


def score(world: ServedWorld) -> int:
    """The score of the first merchant whose sources are all awake."""
    row = next(
        row
        for row in range(len(world.ids))
        if world.lets_score(row) and all(world.sources[kind][row] not in (None, SLEEPER) for kind in world.sources)
    )
    bank = world.sources["bank"][row]
    assert bank is not None
    found = world.agents[bank].services.enquiries.score(Enquiry(world.ids[row]), purpose="credit-scoring").score
    assert found is not None
    return found


def follow(world: ServedWorld) -> None:
    """Wait until every node that is awake has all that was said."""
    awake = {name: agent for name, agent in world.agents.items() if agent.link.connected}
    wait_until(
        lambda: all(agent.runtime.feed_seq == world.hub.feed.end(name) for name, agent in awake.items()),
        what="the feeds at the nodes",
    )
