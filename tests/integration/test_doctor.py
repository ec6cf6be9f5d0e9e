"""After real campaigns every party's doctor finds nothing; a published table, terms or a charge altered is found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import delete, select, update

from hub.examination.all import examine_hub
from hub.examination.models import examine_campaigns, examine_models
from hub.tables.campaigns import CampaignAttemptRow, OpenedTableRow
from models.findings import Finding
from nodes.examination.all import examine_node
from nodes.examination.ledger import examine_ledger
from nodes.tables.ledger import SentRow
from tests.assessments import assess
from tests.served_world import ServedWorld


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    parties = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")
    made = ServedWorld(tmp_path_factory.mktemp("served"), budgets=dict.fromkeys(parties, 95.0))
    try:
        campaign_id = made.start(epsilon=8.0)
        state = made.ended(campaign_id)
        assert state["status"] == "succeeded", state["failure"]
        assess(made.hub, campaign_id)
        release = made.http.post(f"/v1/models/{state['model_id']}/release", headers={"Idempotency-Key": campaign_id})
        assert release.status_code == 200, release.text
        yield made
    finally:
        made.close()


def wrong(findings: Iterator[Finding]) -> list[str]:
    return [f"{each.check} {each.state}: {each.what}" for each in findings if each.state in ("fault", "skipped")]


def test_nothing_is_wrong_after_a_campaign(world: ServedWorld) -> None:
    found = list(examine_hub(world.hub))
    assert wrong(iter(found)) == []
    said = {each.check: str(each.what) for each in found}
    assert said["models"].startswith("1 models fitted again")
    assert said["campaigns"].startswith("1 attempts")
    for party, agent in world.agents.items():
        node = list(examine_node(agent.config))
        assert [each for each in wrong(iter(node)) if not each.startswith("mirror skipped")] == [], party
        assert any(each.check == "ledger" and "in 1 campaigns" in str(each.what) for each in node), party


def test_a_published_table_that_was_altered(world: ServedWorld) -> None:
    with world.hub.db.session() as session:
        row = session.scalars(select(OpenedTableRow)).one()
        kept, counts = row.counts, np.frombuffer(row.counts, dtype="<f8").copy()
        counts[0] += 0.5
        row.counts = counts.tobytes()
    found = wrong(examine_models(world.hub))
    assert ["not the one that it states" in each for each in found] == [True], found
    with world.hub.db.session() as session:
        session.execute(update(OpenedTableRow).values(counts=kept[:-8]))
    found = wrong(examine_models(world.hub))
    assert ["its published table cannot be read" in each for each in found] == [True], found
    with world.hub.db.session() as session:
        session.execute(update(OpenedTableRow).values(counts=kept))
    assert wrong(examine_models(world.hub)) == []


def test_terms_and_decisions_that_were_altered(world: ServedWorld) -> None:
    with world.hub.db.session() as session:
        row = session.scalars(select(CampaignAttemptRow)).one()
        decision, row.decision = row.decision, (row.decision or "")[:-6] + "AAAAAA"
    assert ["decision is not signed" in each for each in wrong(examine_campaigns(world.hub))] == [True]
    with world.hub.db.session() as session:
        session.execute(update(CampaignAttemptRow).values(decision=decision, h=bytes(32)))
    assert ["another attempt or manifest" in each for each in wrong(examine_campaigns(world.hub))] == [True]
    with world.hub.db.session() as session:
        session.execute(update(CampaignAttemptRow).values(terms=CampaignAttemptRow.terms + "A"))
    assert ["terms are not signed" in each for each in wrong(examine_campaigns(world.hub))] == [True]


def test_a_charge_that_was_removed_from_a_node(world: ServedWorld) -> None:
    runtime = world.agents["bank-1"].runtime
    with runtime.store.session() as session:
        session.execute(delete(SentRow))
    (found,) = wrong(examine_ledger(runtime.store, runtime.config))
    assert "has no charge of it" in found
