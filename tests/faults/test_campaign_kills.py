"""A campaign goes on, or ends with party and remedy named, whichever process is killed at whichever step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crypto.manifest import holdout_mask
from models.artefact import ModelArtefact
from models.central import train_with_opacus
from models.encoder_spec import EncoderSpec
from tests.faults import cells
from tests.faults.campaigns import check_all, check_bytes, check_charges, check_log, released, run_campaign
from tests.faults.cells import Cell
from tests.faults.world import FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
CHAINS: dict[str, tuple[Cell, ...]] = {
    "worker": cells.WORKER,
    "supervisor": cells.SUPERVISOR,
    "witness": cells.WITNESSES,
    "voids": cells.VOIDS,
    "hub": cells.HUB,
    "nodes-T1": cells.NODES_T1,
    "nodes-T2": cells.NODES_T2,
    "nodes-T3": cells.NODES_T3,
    "nodes-T4": cells.NODES_T4,
    "hub-later": cells.HUB_LATER,
}
ENCODER = {"rounds": 8, "learning_rate": 2.0, "retries": 6}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_campaign_outlives_kills(world: FaultWorld, chain: str, tmp_path: Path) -> None:
    done = run_campaign(world, CHAINS[chain], release=chain in ("witness", "hub-later"))
    check_all(world, done, CHAINS[chain], tmp_path)


def test_a_campaign_that_cannot_go_on_names_the_party_and_what_to_do(world: FaultWorld, tmp_path: Path) -> None:
    done = run_campaign(world, cells.ONLY_ONE)
    assert done.missed == []
    assert done.state["status"] == "failed"
    assert "utility-1" in done.state["failure"]["detail"]
    assert done.state["failure"]["remedy"]


def test_an_encoder_outlives_kills_in_its_rounds(world: FaultWorld) -> None:
    nodes = ["bank-1", "bank-2", "tax-1", "utility-1"]
    done = run_campaign(world, cells.ENCODER, stages=["encoder", "scorecard"], encoder=ENCODER, nodes=nodes)
    assert done.missed == []
    assert done.state["status"] == "succeeded", done.state["failure"]
    assert released(world, done.campaign_id).terms.attempt == f"{done.campaign_id}/scorecard/1"
    check_charges(world, done)
    check_bytes(world, done)
    check_log(world, done)
    # It is the model that one party holding all rows would have trained without any interruption.
    model_id = done.state["models"]["encoder"]
    encoder = ModelArtefact.from_bytes(world.hub.models.artefact(model_id, unreleased=True)).encoder
    assert encoder is not None
    campaign = world.hub.campaigns.book.get(done.campaign_id)
    kept = ~holdout_mask(world.made.pseudonyms, campaign.holdout_salt, campaign.order.holdout) & world.consenting()
    rows, outcome = world.made.codes["bank"][kept], world.made.outcome[kept]
    central = train_with_opacus(EncoderSpec.model_validate_json(encoder.spec), rows, outcome, n_public=len(rows))
    assert np.abs(encoder.parameters() - central).max() < 1e-4
    assert np.abs(central).max() > 0.05


@pytest.mark.parametrize("chain", ["hub", "nodes"])
def test_an_evaluation_outlives_kills(world: FaultWorld, chain: str, tmp_path: Path) -> None:
    killed = cells.EVALUATION if chain == "hub" else cells.EVALUATION_NODES
    done = run_campaign(world, killed, stages=["scorecard", "evaluation"], evaluation={"bands": 5}, holdout=0.5)
    check_all(world, done, killed, tmp_path)
    number = 1 + sum(cell.ends_attempt for cell in killed)
    histogram = released(world, done.campaign_id, "evaluation")
    assert histogram.terms.attempt == f"{done.campaign_id}/evaluation/{number}"
    gone = {cell.process for cell in killed if cell.follows == "without"}
    assert {entry.party_id for entry in histogram.terms.roster}.isdisjoint(gone)
    result = world.hub.evaluations.newest(str(done.state["model_id"]))
    assert result is not None
    assert sum(band.count_good + band.count_bad for band in result.bands) > 0
