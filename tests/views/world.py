"""One whole campaign, recorded: encoder, scorecard and evaluation, in blocks, with an attempt that a refusal ends; and
one that begins with bins from quantiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from crypto.keys import BoxKey
from hub.campaign_plan import CampaignPlan
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignResult
from hub.simulation import WITNESS_ID, Budget
from models.artefact import ModelArtefact
from models.encoder_spec import spec_for
from nodes.errors import LedgerError
from tests.bins_world import open_schema
from tests.federation import Drive, World, make_world
from tests.views.recorder import Record, RecordingGrid, Seen

BUDGET = Budget(10.0, 1e-5)
NODES = {"bank": 2, "tax": 2, "utility": 3}
REFUSES = "utility-2"
"""Has no budget left, so it refuses."""


@dataclass
class Campaign:
    """A campaign that has ended, and what everybody received in it.

    Attributes:
        bins: what everybody received in another campaign, which began with a bins stage.
        keys: (party, attempt) → the X25519 key that the node held in this attempt, taken from its own store.
    """

    world: World
    plan: CampaignPlan
    record: Record
    keys: dict[tuple[str, str], BoxKey]
    result: CampaignResult
    artefact: ModelArtefact | None = None
    bins: Record = field(default_factory=Record)


def record_grid(world: World, record: Record, *, workers: int = 2) -> dict[tuple[str, str], BoxKey]:
    """Puts a recording grid into a world; returns where nodes' keys of attempts will be found."""
    federation = world.federation
    keys: dict[tuple[str, str], BoxKey] = {}

    def take_key(party: str, seen: Seen) -> None:
        attempt = seen.parcel.texts.get("attempt")
        if party == WITNESS_ID or attempt is None or (party, attempt) in keys:
            return
        try:
            keys[party, attempt] = federation.contexts[party].attempts.key(attempt)
        except LedgerError:  # it has ended, and the key is gone
            return

    parties = {number: party for party, number in federation.node_ids.items()}
    federation.grid.close()
    federation.grid = RecordingGrid(federation.apps(), parties, record, take_key, workers)
    return keys


def record_bins(state: Path) -> Record:
    """What everybody received in a campaign whose bins come from quantiles."""
    world = make_world(state, merchants=400, nodes=NODES, absent=0.2, schema=open_schema(), budget=BUDGET)
    record = Record()
    record_grid(world, record)
    stages = ("bins", "scorecard", "evaluation")
    plan = world.noisy_plan(8.0, stages=stages, bands=5, block_rows=200, campaign_id="c2")
    result = world.federation.train(plan, world.events.append)
    _, artefact = make_scorecard(result.table(), plan.clock())
    world.federation.evaluate(plan, result, artefact, world.events.append)
    world.federation.close()
    return record


def run_campaign(state: Path) -> Campaign:
    """A noisy campaign of all three stages; its first table attempt is refused by one node and voided."""
    world = make_world(state, merchants=400, nodes=NODES, absent=0.2, noise_off=False, budget=BUDGET)
    spent = Drive.start(world, world.noisy_plan(9.9)).manifest.terms.privacy.mechanisms
    world.federation.contexts[REFUSES].ledger.record_send(
        campaign_id="before", attempt="before/scorecard/1", h=bytes(32), payload=b"x", mechanisms=spent
    )
    record = Record()
    keys = record_grid(world, record)
    plan = world.noisy_plan(8.0, stages=("encoder", "scorecard", "evaluation"), parity=("b2",), bands=5, block_rows=200)
    spec = spec_for(world.federation.schema, "bank", rounds=2, learning_rate=2.0)
    result = world.federation.train(plan, world.events.append, spec=spec)
    _, artefact = make_scorecard(result.table(), plan.clock())
    world.federation.evaluate(plan, result, artefact, world.events.append)
    return Campaign(world, plan, record, keys, result, artefact, record_bins(state / "bins"))
