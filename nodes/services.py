"""What hangs on a node beside its base: consents, models, scoring, the witness's duties. One place puts them together.

Commands use the same services beside a running `digua-node run`: the store is shared, and only `run` holds the link.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from crypto.errors import CryptoError
from models.errors import ArtefactError
from nodes.batches import Batches
from nodes.charge_reconciliation import ChargeReconciliation
from nodes.consent_desk import ConsentDesk
from nodes.consents import ConsentStore
from nodes.data_life import DataLifeKeeper
from nodes.encoder_models import ReleasedEncoder
from nodes.enquiries import Enquiries
from nodes.errors import NodeError
from nodes.evaluation_consents import EvaluationConsents
from nodes.explanations import ExplanationDesk
from nodes.invitations import Invitations
from nodes.journal import Journal
from nodes.kept_answers import KeptAnswers
from nodes.keys import former_boxes
from nodes.merchant_keys import MerchantKeyVerifier
from nodes.model_book import ModelBook
from nodes.notices import Notices
from nodes.points import PointsDesk
from nodes.policy import Limits
from nodes.requester import RETRY_SECONDS, Requester
from nodes.runtime import NodeRuntime
from nodes.scoring import Scorer
from nodes.statistics_releases import StatisticsReader
from nodes.tickets import TicketDesk
from nodes.training_link import TrainingDesk
from nodes.witness.service import WitnessService

NO_SOURCE = frozenset({"client", "witness"})


@dataclass(frozen=True)
class Services:
    """A node's services. `scorer` is there where the node holds data, `witness` at the witness, `desk` at both."""

    runtime: NodeRuntime
    journal: Journal
    consents: ConsentStore
    models: ModelBook
    points: PointsDesk
    enquiries: Enquiries
    batches: Batches
    invitations: Invitations
    consent_desk: ConsentDesk
    tickets: TicketDesk
    explanations: ExplanationDesk
    data_life: DataLifeKeeper
    statistics: StatisticsReader
    scorer: Scorer | None
    witness: WitnessService | None
    desk: TrainingDesk | None
    reconciliation: ChargeReconciliation | None


def equip(runtime: NodeRuntime, *, retry_seconds: float = RETRY_SECONDS) -> Services:
    """Put the services on a node: handlers of its feed and link, and its book of consents.

    Args:
        runtime: the node.
        retry_seconds: how long a source that is away for a moment is asked again for one score.

    Raises:
        ConfigError: a witness without its VOPRF seed.
    """
    config, store, roster, clock = runtime.config, runtime.store, runtime.roster, runtime.clock
    journal = Journal(store, config.party_id, clock=clock)
    notices = Notices(store, roster, journal)
    consents = ConsentStore(
        store,
        roster,
        notices,
        party_id=config.party_id,
        kind=config.kind,
        keys=MerchantKeyVerifier(roster),
        journal=journal,
        clock=clock,
        require_fresh=runtime.require_fresh_feed,
    )
    models = ModelBook(store, roster, journal, lambda model_id: runtime.hub.request("GET", f"/v1/models/{model_id}"))
    points = PointsDesk(config.kind, runtime.training_data, lambda model_id: released_encoder(models, model_id))
    requester = Requester(
        party_id=config.party_id,
        identity=runtime.identity,
        box=runtime.box,
        roster=roster,
        hub=runtime.hub,
        journal=journal,
        clock=clock,
        retry_seconds=retry_seconds,
    )
    enquiries = Enquiries(
        party_id=config.party_id,
        pseudonyms=runtime.pseudonyms,
        consents=consents,
        models=models,
        requester=requester,
        points=points,
        kept=KeptAnswers(store, consents, clock=clock),
        journal=journal,
        clock=clock,
    )
    runtime.consents = consents
    scorer = witness = desk = reconciliation = None
    if config.kind not in NO_SOURCE:
        limits = Limits(
            feed_limit=timedelta(seconds=config.feed_limit_seconds), max_versions=config.max_consent_versions
        )
        scorer = Scorer(
            party_id=config.party_id,
            identity=runtime.identity,
            box=runtime.box,
            store=store,
            roster=roster,
            consents=consents,
            models=models,
            points=points,
            journal=journal,
            feed_age=runtime.feed_age,
            limits=limits,
            clock=clock,
        )
        runtime.handlers["query"] = scorer.answer
        training = replace(
            runtime.training_context(),
            encoder=lambda model_id: released_encoder(models, model_id),
            points=EvaluationConsents(
                party_id=config.party_id,
                store=store,
                roster=roster,
                consents=consents,
                models=models,
                journal=journal,
                limits=limits,
                clock=clock,
            ),
        )
        reconciliation = ChargeReconciliation(
            store,
            runtime.ledger,
            roster,
            runtime.hub,
            journal,
            party_id=config.party_id,
            identity=runtime.identity,
            clock=clock,
        )
        desk = TrainingDesk(training, ready=reconciliation.require)
    if config.kind == "witness":
        witness = WitnessService.open(runtime, journal)
        runtime.handlers.update(witness.handlers)
        desk = TrainingDesk(witness.context)
    if desk is not None:
        runtime.handlers["flower"] = desk.answer
    runtime.feed.register_runs(("consent", "consent-event"), consents.apply_all)
    runtime.feed.register("notice", notices.apply)
    for kind in ("model-release", "model-withdrawal", "model-rollback"):
        runtime.feed.register(kind, models.apply)
    invitations = Invitations(
        runtime.hub, store, journal, party_id=config.party_id, identity=runtime.identity, clock=clock
    )
    consent_desk = ConsentDesk(
        runtime.hub,
        runtime.pseudonyms,
        consents,
        invitations,
        journal,
        party_id=config.party_id,
        identity=runtime.identity,
        clock=clock,
    )
    tickets = TicketDesk(
        runtime.hub,
        runtime.pseudonyms,
        MerchantKeyVerifier(roster),
        journal,
        party_id=config.party_id,
        identity=runtime.identity,
        boxes=[runtime.box, *former_boxes(config.keys_dir)],
        clock=clock,
    )
    explanations = ExplanationDesk(
        config.kind,
        runtime.dataset,
        lambda model_id: released_encoder(models, model_id),
        enquiries.open_model,
        journal,
    )
    batches = Batches(store, enquiries, folder=config.data_dir, clock=clock)
    data_life = DataLifeKeeper(
        store, journal, runtime.hub, party_id=config.party_id, identity=runtime.identity, clock=clock
    )
    return Services(
        runtime,
        journal,
        consents,
        models,
        points,
        enquiries,
        batches,
        invitations,
        consent_desk,
        tickets,
        explanations,
        data_life,
        StatisticsReader(runtime.hub, roster),
        scorer,
        witness,
        desk,
        reconciliation,
    )


def released_encoder(models: ModelBook, model_id: str) -> ReleasedEncoder:
    """A released encoder, whatever its scope.

    Raises:
        ArtefactError: there is none of this id, or it was withdrawn.
    """
    try:
        model = models.get(model_id)
    except (CryptoError, NodeError) as problem:
        raise _no_encoder(model_id) from problem
    if model is None or model.withdrawn:
        raise _no_encoder(model_id)
    return ReleasedEncoder.of(model.artefact)


def _no_encoder(model_id: str) -> ArtefactError:
    return ArtefactError(
        f"the witness has released no encoder {model_id}", field="model_id", remedy="wait until it has, or name another"
    )
