"""The campaign over a Flower grid: the logic of the hub's `ServerApp`, whatever grid carries it.

Plain functions: no HTTP, no database. The caller gives a grid, a plan, and who is to be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flwr.serverapp.grid import Grid

from hub.campaign_plan import (
    CampaignPlan,
    CampaignStore,
    EncoderCheckpoint,
    NoStore,
    ProgressCallback,
    ReleasedTable,
    TrainedEncoder,
)
from hub.encoder_model import make_encoder
from hub.encoder_stage import run_encoder_stage
from hub.encoder_terms import EncoderBudget, encoder_budget
from hub.errors import CampaignError
from hub.grids.channel import Channel
from hub.manifests import EncoderCharge
from hub.scorecard_stage import run_scorecard_stage
from models.artefact import ModelArtefact
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.encoder_spec import EncoderSpec, spec_for

TRIP_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class EncoderResult:
    """A trained encoder and its artefact."""

    trained: TrainedEncoder
    artefact: ModelArtefact


@dataclass(frozen=True)
class CampaignResult:
    """What a campaign's stages gave; None for a stage that it does not have."""

    encoder: EncoderResult | None
    released: ReleasedTable | None

    def table(self) -> ReleasedTable:
        """The opened table; CampaignError for a campaign without a scorecard stage."""
        if self.released is None:
            raise CampaignError(
                "this campaign has no scorecard stage", field="stages", remedy="add scorecard to its stages"
            )
        return self.released


def run_campaign(
    grid: Grid,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore | None = None,
    *,
    node_ids: Mapping[str, int],
    timeout: float = TRIP_TIMEOUT_S,
    spec: EncoderSpec | None = None,
) -> CampaignResult:
    """Runs a campaign's stages in order.

    Args:
        grid: any Flower grid.
        plan: the campaign.
        progress: told every step of every attempt.
        store: what must survive the hub; nothing is kept without one.
        node_ids: party id → the grid's node id, for the nodes and the witness.
        timeout: seconds that a trip may take before its missing nodes count as lost.
        spec: of the encoder, the schema's default where not given.

    Raises:
        CampaignError: too few nodes, or the witness refuses or is lost.
        BudgetError, NoiseError: the plan's privacy cannot be had.
    """
    channel, keeper = Channel(grid, node_ids, timeout), store or NoStore()
    encoder: EncoderResult | None = None
    if "encoder" in plan.stages:
        chosen = spec or spec_for(plan.schema, plan.schema.label.kind)
        budget = encoder_budget(plan, chosen)
        encoder = train_encoder(channel, plan, chosen, budget, progress, keeper)
        if "scorecard" in plan.stages:
            plan = replace(plan, encoders={plan.schema.label.kind: encoder.artefact.to_bytes()})
            return CampaignResult(encoder, open_table(channel, plan, progress, keeper, charge=budget.charge))
        return CampaignResult(encoder, None)
    return CampaignResult(None, open_table(channel, plan, progress, keeper))


def train_encoder(
    channel: Channel,
    plan: CampaignPlan,
    spec: EncoderSpec,
    budget: EncoderBudget,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    resume: EncoderCheckpoint | None = None,
) -> EncoderResult:
    """Runs the encoder stage and writes its artefact; raises as `run_encoder_stage`."""
    trained = run_encoder_stage(channel, plan, spec, budget, progress, store, resume=resume)
    return EncoderResult(trained, make_encoder(trained, plan.clock()))


def open_table(
    channel: Channel,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    charge: EncoderCharge | None = None,
) -> ReleasedTable:
    """Runs the scorecard stage, with the encoders of the plan as further features; raises as `run_scorecard_stage`."""
    widths = dict.fromkeys(plan.encoders, ENCODER_FEATURE_WIDTH)
    return run_scorecard_stage(channel, plan, progress, store, encoder_widths=widths, encoder=charge)
