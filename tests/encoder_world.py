"""Encoder campaigns of the small federation: a plan, a specification, and a run that is asked step by step."""

from __future__ import annotations

from crypto.canonical import digest
from crypto.jws import sign_model
from crypto.parcel import Parcel
from crypto.wire.base import SUITE
from crypto.wire.campaign import RoundOrder
from hub.campaign_plan import CampaignPlan
from hub.encoder_terms import EncoderBudget, encoder_attempt_terms, encoder_budget
from hub.manifests import build_manifest
from models.encoder_spec import EncoderSpec, spec_for
from models.encoder_step import initial_parameters
from nodes import encoder_stage, table_stage, witness_stage
from tests.federation import World

ROUNDS = 4


def small_spec(world: World, **changes: object) -> EncoderSpec:
    options: dict[str, object] = {"rounds": ROUNDS, "learning_rate": 2.0, **changes}
    return spec_for(world.federation.schema, "bank", **options)


def encoder_plan(world: World, **changes: object) -> CampaignPlan:
    return world.plan(stages=("encoder",), **changes)


class Driven:
    """A run at nodes and witness, asked step by step."""

    def __init__(
        self, world: World, plan: CampaignPlan, spec: EncoderSpec, budget: EncoderBudget | None = None
    ) -> None:
        self.world, self.plan, self.spec = world, plan, spec
        cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction).only("bank")
        self.terms = encoder_attempt_terms(
            plan, cohort, f"{plan.campaign_id}/encoder/1", spec, budget or encoder_budget(plan, spec)
        )
        self.manifest = build_manifest(self.terms, cohort, plan)
        self.nodes = [entry.party_id for entry in self.terms.roster]
        self.acceptances = ""

    def begin(self) -> Driven:
        witness = self.world.federation.witness_context
        cosignature = witness_stage.cosign(witness, self.manifest.for_witness()).text("cosignature")
        self.acceptances = " ".join(
            table_stage.accept(self.context(party), self.manifest.for_node(index, cosignature)).text("acceptance")
            for index, party in enumerate(self.nodes)
        )
        return self

    def context(self, party: str):
        return self.world.federation.contexts[party]

    def order(self, round_: int = 0, number: int = 0, *, shift: float = 0.0, key=None, **changes: object) -> Parcel:
        parameters = initial_parameters(self.spec) + shift
        order = RoundOrder(
            suite=SUITE,
            attempt=self.terms.attempt,
            h=self.manifest.h,
            round=round_,
            number=number,
            parameters_sha256=digest(parameters.tobytes()),
        ).model_copy(update=changes)
        token = sign_model(order, key or self.plan.identity, typ="round", kid=self.plan.hub_id)
        texts = {"attempt": self.terms.attempt, "order": token, "acceptances": self.acceptances}
        return Parcel(texts, {"parameters": parameters})

    def term(self, party: str, parcel: Parcel):
        return encoder_stage.train_round(self.context(party), parcel).arrays["term"]
