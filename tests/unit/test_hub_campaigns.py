"""Orders of campaigns: one request is one campaign, however often it has to be sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from hub.campaign_errors import CampaignStateError
from hub.tables.log import LogPendingRow
from models.campaign_file import CampaignFile
from tests.federation import small_schema
from tests.hub_world import HubWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    yield made
    made.hub.close()


def campaign(epsilon: float = 1.0) -> CampaignFile:
    return CampaignFile(name="small", schema_path=Path("small"), stages=("scorecard",), epsilon=epsilon)


def test_an_order_sent_again_under_its_key_is_the_campaign_that_it_made(world: HubWorld) -> None:
    """The hub died after it stored the order: its idempotency store knows of no answer, and lets the key pass."""
    orders = world.hub.campaigns
    first = orders.order(campaign(), small_schema(), key="one")
    salt = orders.book.get(first).holdout_salt
    with world.hub.db.reading() as session:
        logged = session.scalar(select(func.count()).select_from(LogPendingRow))
    assert orders.order(campaign(), small_schema(), key="one") == first
    assert orders.book.get(first).holdout_salt == salt
    assert orders.book.unfinished() == (first,)
    with world.hub.db.reading() as session:
        assert session.scalar(select(func.count()).select_from(LogPendingRow)) == logged


def test_another_order_under_a_known_key_is_refused_and_another_key_makes_another_campaign(world: HubWorld) -> None:
    orders = world.hub.campaigns
    first = orders.order(campaign(), small_schema(), key="one")
    with pytest.raises(CampaignStateError, match="ordered otherwise"):
        orders.order(campaign(epsilon=2.0), small_schema(), key="one")
    assert orders.order(campaign(), small_schema(), key="two") != first
    assert orders.order(campaign(), small_schema()) != orders.order(campaign(), small_schema())
