"""The hub's Flower `ServerApp`: a campaign's logic, written once, whatever grid carries it.

`run_server_app` calls it in this process, with the grid it is given; simulations and the serving hub alike go through
it. No HTTP, no database: the caller gives a plan, who is to be told, and what an earlier process of the hub left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Context, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import ServerApp
from flwr.serverapp.grid import Grid

from crypto.wire.campaign import PrivacyTerms, Terms
from hub.bins_stage import run_bins_stage, settle_bins
from hub.campaign_errors import CampaignError
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
from hub.encoder_terms import EncoderBudget, encoder_budget, encoder_spec
from hub.evaluation_stage import EvaluationTask, run_evaluation_stage
from hub.grids.channel import Channel
from hub.scorecard_stage import run_scorecard_stage
from hub.statistics_stage import run_statistics_stage
from hub.table_opening import settle_attempt
from models.artefact import ModelArtefact
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.encoder_spec import EncoderSpec

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
    evaluated: ReleasedTable | None = None
    bins: ReleasedTable | None = None

    def table(self) -> ReleasedTable:
        """The opened table; CampaignError for a campaign without a scorecard or a statistics stage."""
        if self.released is None:
            raise CampaignError(
                "this campaign has no scorecard stage, nor one of statistics",
                field="stages",
                remedy="add scorecard to its stages",
            )
        return self.released


@dataclass(frozen=True)
class LeftOver:
    """Where an earlier process of the hub left the campaign.

    Attributes:
        undecided: terms and manifest hash of attempts at a table, or a histogram, that were under way: they are voided
            first, or opened if the witness has released them.
        opened: of these, the attempts whose sum is kept already: their nodes are only told the decision.
        bins: what its bins stage opened, if that was done.
        checkpoint: where the encoder run stands.
        encoder, encoder_terms: the finished encoder's artefact and its terms; its stage is not run again.
    """

    undecided: tuple[tuple[Terms, bytes], ...] = ()
    opened: frozenset[str] = frozenset()
    bins: ReleasedTable | None = None
    checkpoint: EncoderCheckpoint | None = None
    encoder: bytes | None = None
    encoder_terms: Terms | None = None


NOTHING_LEFT = LeftOver()


@dataclass(frozen=True)
class CampaignJob:
    """All that the `ServerApp` is told about one campaign, but for the grid.

    Attributes:
        progress: told every step of every attempt.
        node_ids: party id → the grid's node id, for the nodes and the witness.
        store: what must survive the hub; nothing is kept without one.
        timeout: seconds that a trip may take before its missing nodes count as lost.
        spec: of the encoder, the schema's default where not given.
        left: where to go on.
        keep_encoder: given the trained encoder before the next stage begins.
        release_encoder: an encoder's artefact → the witness's JWS `model-release`, which the next stage needs.
        evaluate: run the evaluation stage of this model, and no other stage.
        wait_for: gives lost parties time to come back; see `hub.grids.channel.Channel`.
    """

    plan: CampaignPlan
    progress: ProgressCallback
    node_ids: Mapping[str, int]
    store: CampaignStore = field(default_factory=NoStore)
    timeout: float = TRIP_TIMEOUT_S
    spec: EncoderSpec | None = None
    left: LeftOver = NOTHING_LEFT
    keep_encoder: Callable[[EncoderResult], None] = lambda _: None
    release_encoder: Callable[[bytes], str] | None = None
    evaluate: EvaluationTask | None = None
    wait_for: Callable[[Collection[str]], None] = lambda _: None


def build_server_app(job: CampaignJob, finish: Callable[[CampaignResult], None]) -> ServerApp:
    """The app that runs a campaign on whatever grid it is called with.

    Args:
        job: the campaign.
        finish: given the result; the app itself returns nothing, as Flower has it, and raises as `run_campaign`.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        finish(run_campaign(grid, job))

    return app


def run_server_app(grid: Grid, job: CampaignJob) -> CampaignResult:
    """Calls the campaign's app in this process; raises as `run_campaign`."""
    results: list[CampaignResult] = []
    context = Context(
        run_id=grid.run.run_id, node_id=SUPERLINK_NODE_ID, node_config={}, state=RecordDict(), run_config={}
    )
    build_server_app(job, results.append)(grid, context)
    return results[0]


def run_campaign(grid: Grid, job: CampaignJob) -> CampaignResult:
    """Runs a campaign's stages in order, from where they were left.

    Raises:
        CampaignError: too few nodes, or the witness refuses or is lost.
        BudgetError, NoiseError: the plan's privacy cannot be had.
    """
    plan, left = job.plan, job.left
    channel = Channel(grid, job.node_ids, job.timeout, job.wait_for)
    bins = left.bins
    for terms, h in left.undecided:  # T4: charges are taken back before a new attempt is made
        reopen = terms.attempt not in left.opened
        table = settle_attempt(channel, plan.seat, terms, h, job.store, reopen=reopen)
        if table is not None and terms.stage == "bins":
            bins = table
        elif table is not None:
            return CampaignResult(None, None, table) if job.evaluate else CampaignResult(None, table)
    if "statistics" in plan.stages:
        return CampaignResult(None, run_statistics_stage(channel, plan, job.progress, job.store))
    if "bins" in plan.stages:
        bins = bins or run_bins_stage(channel, plan, job.progress, job.store)
        settled = settle_bins(channel, plan, bins)
        plan = replace(plan, schema=settled.schema, bins=settled)
    if job.evaluate is not None:
        opened = run_evaluation_stage(channel, plan, job.evaluate, job.progress, job.store)
        return CampaignResult(None, None, opened)
    if "encoder" not in plan.stages:
        promised = None if bins is None else bins.terms.privacy
        table = open_table(channel, plan, job.progress, job.store, promised=promised)
        return CampaignResult(None, table, bins=bins)
    spec = encoder_spec(plan, job.spec)
    budget = encoder_budget(plan, spec)
    encoder: EncoderResult | None = None
    artefact, stated = left.encoder, left.encoder_terms
    if artefact is None:
        encoder = train_encoder(channel, plan, spec, budget, job.progress, job.store, resume=left.checkpoint)
        artefact, stated = encoder.artefact.to_bytes(), encoder.trained.terms
        job.keep_encoder(encoder)
    if "scorecard" not in plan.stages:
        return CampaignResult(encoder, None)
    if job.release_encoder is None or stated is None:
        raise CampaignError(
            "nobody can ask the witness to release the encoder, or its terms are gone",
            field="encoder",
            remedy="run encoder and scorecard stage from one hub, or start a new campaign",
        )
    plan = replace(
        plan,
        encoders={plan.schema.label.kind: artefact},
        encoder_releases=(job.release_encoder(artefact),),
    )
    return CampaignResult(encoder, open_table(channel, plan, job.progress, job.store, promised=stated.privacy))


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
    # The time of the terms: made again after a kill the artefact is the same to the byte, and is registered once.
    return EncoderResult(trained, make_encoder(trained, trained.terms.issued_at))


def open_table(
    channel: Channel,
    plan: CampaignPlan,
    progress: ProgressCallback,
    store: CampaignStore,
    *,
    promised: PrivacyTerms | None = None,
) -> ReleasedTable:
    """Runs the scorecard stage, with the encoders of the plan as further features; raises as `run_scorecard_stage`."""
    widths = dict.fromkeys(plan.encoders, ENCODER_FEATURE_WIDTH)
    return run_scorecard_stage(channel, plan, progress, store, encoder_widths=widths, promised=promised)
