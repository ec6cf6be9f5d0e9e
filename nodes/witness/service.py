"""The witness's duties put together: what it answers over its link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crypto.pseudonym import PseudonymKey
from crypto.wire.link import FrameType
from crypto.wire.party import Party
from nodes.campaign_rules import CampaignRules
from nodes.errors import ConfigError
from nodes.journal import Journal
from nodes.link_session import Handler
from nodes.runtime import NodeRuntime
from nodes.witness.approvals import Approvals
from nodes.witness.checkpoints import CheckpointCosigner, CosignedCheckpoints
from nodes.witness.known_sends import KnownSendsDesk
from nodes.witness.log_tail import LogTailDesk
from nodes.witness.mirror import HubLog, Mirror, open_mirror
from nodes.witness.model_approvals import ModelApprovals
from nodes.witness.release import ReleaseDesk
from nodes.witness.rollback import RollbackDesk
from nodes.witness.roster import RosterSigner
from nodes.witness.voprf import VoprfEvaluator
from nodes.witness_attempts import WitnessAttemptStore
from nodes.witness_stage import WitnessContext


@dataclass(frozen=True)
class WitnessService:
    """Handlers of the witness's link, and its part in campaigns."""

    approvals: Approvals
    context: WitnessContext
    checkpoints: CosignedCheckpoints
    mirror: Mirror
    handlers: Mapping[FrameType, Handler]

    @classmethod
    def open(cls, runtime: NodeRuntime, journal: Journal) -> WitnessService:
        """The duties of a node of kind `witness`.

        Raises:
            ConfigError: the node is of another kind, or has no VOPRF seed.
        """
        config, seed = runtime.config, runtime.keys.voprf_seed
        if config.kind != "witness" or seed is None:
            raise ConfigError(
                f"{config.party_id} is no witness", field="kind", remedy="set up a witness with digua-node init"
            )
        key = PseudonymKey.from_seed(seed)
        me = Party(
            party_id=config.party_id,
            kind=config.kind,
            region=config.region,
            title=config.title,
            sign_key=runtime.identity.public,
            box_key=runtime.box.public,
        )
        approvals = Approvals(runtime.store, clock=runtime.clock)
        context = witness_context(runtime)
        signer = RosterSigner(
            runtime.store, approvals, runtime.roster, me=me, voprf_key=key.public, identity=runtime.identity
        )
        cosigner = CheckpointCosigner(
            runtime.store,
            hub_keys=lambda: runtime.roster.hub_keys,
            witness_id=config.party_id,
            identity=runtime.identity,
            clock=runtime.clock,
        )
        mirror = Mirror(
            open_mirror(config.data_dir),
            cosigned=cosigner.known,
            log=HubLog(runtime.hub),
            report=lambda problem: journal.note("mirror-alarm", {"code": problem.code, "detail": problem.message}),
            clock=runtime.clock,
        )
        runtime.closing.append(mirror.store.close)
        voprf = VoprfEvaluator(
            runtime.store, runtime.roster, journal, key=key, quota=config.voprf_quota, clock=runtime.clock
        )
        by_hand = config.model_release.approval == "owner"
        decisions = ModelApprovals(runtime.store, journal, clock=runtime.clock) if by_hand else None
        desk = ReleaseDesk(
            runtime.store,
            context,
            journal,
            approvals=decisions,
            assessment_required=config.model_release.assessment == "required",
        )
        handlers: dict[FrameType, Handler] = {
            "cosign-roster": signer.sign,
            "cosign-checkpoint": cosigner.cosign,
            "voprf": voprf.evaluate,
            "log-tail": LogTailDesk(runtime.store, mirror.store).answer,
            "charges": KnownSendsDesk(
                runtime.store,
                runtime.roster,
                witness_id=config.party_id,
                identity=runtime.identity,
                clock=runtime.clock,
            ).answer,
            "release-model": desk.release,
            "withdraw-model": desk.withdraw,
            "rollback-model": RollbackDesk(runtime.store, context, journal).roll_back,
        }
        return cls(approvals, context, CosignedCheckpoints(runtime.store), mirror, handlers)


def witness_context(runtime: NodeRuntime) -> WitnessContext:
    """What the stages of a campaign need of the witness; its ledger is the programme's."""
    return WitnessContext(
        party_id=runtime.config.party_id,
        identity=runtime.identity,
        ledger=runtime.ledger,
        attempts=WitnessAttemptStore(runtime.store),
        campaigns=CampaignRules(runtime.store),
        roster=runtime.roster,
        clock=runtime.clock,
        min_t_collude=runtime.config.min_t_collude,
        insecure_noise_off=runtime.config.insecure_noise_off,
    )
