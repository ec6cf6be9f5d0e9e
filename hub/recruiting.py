"""Who takes part in a campaign, and on which merchants: from the order, the cosigned roster, links and consents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from crypto.key_line import KeyLine
from crypto.keys import Signer
from crypto.wire.campaign import RosterEntry, Stage
from crypto.wire.consent import Purpose
from crypto.wire.party import Party, Roster
from hub.campaign_book import Campaign
from hub.campaign_errors import CampaignOrderError, QuorumError
from hub.campaign_plan import BLOCK_ROWS, CampaignPlan
from hub.clock import Clock
from hub.cohort import Cohort
from hub.errors import PeerUnreachable
from hub.training_consents import TrainingMerchants
from models.campaign_file import CampaignFile, EvaluationOptions
from models.encoder_spec import EncoderSpec, spec_for
from models.schema import Schema
from models.stages import EngineName


@dataclass(frozen=True)
class Recruits:
    """The nodes and the witness that a campaign can begin with, and who is missing and why."""

    nodes: tuple[RosterEntry, ...]
    witness: RosterEntry
    missing: Mapping[str, str]


def check_order(
    order: CampaignFile, schema: Schema, enrolled: Collection[Party], engines: Collection[EngineName]
) -> None:
    """Refuse an order that could never run.

    Raises:
        CampaignOrderError: it contradicts its schema, names an engine that the hub does not offer or parties that are
            not enrolled, or has an encoder of another kind than the label's.
        SchemaError: an option of the encoder is out of range.
    """
    for field, sentence in order.check_against(schema):
        raise CampaignOrderError(f"{sentence}.", field=field, remedy="Correct the campaign file.")
    if order.engine not in engines:
        raise CampaignOrderError(
            f"This hub offers no engine {order.engine}, only {', '.join(engines)}.",
            field="engine",
            remedy="Name one that it offers, or have the operator add it to hub.yaml.",
        )
    kinds = {party.party_id: party.kind for party in enrolled}
    for party_id in order.nodes or ():
        if kinds.get(party_id) not in schema.kinds:
            known = f"is of kind {kinds[party_id]}" if party_id in kinds else "is not enrolled"
            raise CampaignOrderError(
                f"{party_id} {known}; the schema has {', '.join(schema.kinds)}.",
                field="nodes",
                remedy="Name enrolled nodes of the schema's kinds, or leave nodes out.",
                party=party_id,
            )
    if "encoder" in order.stages:
        order_spec(order, schema)


def order_spec(order: CampaignFile, schema: Schema) -> EncoderSpec:
    """Return the encoder that an order asks for.

    Raises:
        CampaignOrderError: its kind holds no label.
        SchemaError: an option is out of range.
    """
    label = schema.label.kind
    options = {} if order.encoder is None else order.encoder.model_dump(exclude={"kind", "sampling"})
    if order.encoder is not None and order.encoder.sampling is not None:
        options["sampling_rate"] = order.encoder.sampling.poisson
    if order.encoder is not None and order.encoder.kind not in (None, label):
        raise CampaignOrderError(
            f"Kind {order.encoder.kind} has no label in schema {schema.name}.",
            field="encoder.kind",
            remedy=f"Train the encoder of kind {label}.",
        )
    return spec_for(schema, label, **options)


def needed_kinds(order: CampaignFile, schema: Schema) -> tuple[str, ...]:
    """Return the kinds whose nodes the order's stages need."""
    across = "scorecard" in order.stages or "statistics" in order.stages
    return schema.kinds_in_order() if across else (schema.label.kind,)


def table_stage(order: CampaignFile) -> Stage:
    """Return the stage whose opened table is what the order is for."""
    return "statistics" if "statistics" in order.stages else "scorecard"


def purpose_of(order: CampaignFile) -> Purpose:
    """Return what merchants must have agreed to."""
    return "programme-statistics" if "statistics" in order.stages else "model-training"


def invited(order: CampaignFile, schema: Schema, enrolled: Collection[Party]) -> tuple[Party, ...]:
    """Return the enrolled nodes that an order's stages can use, in order of their ids; the order may name them."""
    kinds = needed_kinds(order, schema)
    return tuple(
        party
        for party in sorted(enrolled, key=lambda each: each.party_id)
        if party.kind in kinds and (order.nodes is None or party.party_id in order.nodes)
    )


def recruit(
    order: CampaignFile,
    schema: Schema,
    *,
    roster: Roster | None,
    enrolled: Collection[Party],
    connected: Collection[str],
) -> Recruits:
    """Choose the connected nodes that the witness approved, of the schema's kinds, from those invited.

    Raises:
        PeerUnreachable: the witness is not connected.
        QuorumError: a kind has too few nodes; it names who is missing and why.
    """
    kinds = needed_kinds(order, schema)
    approved = {} if roster is None else {party.party_id: party for party in roster.parties}
    witness = next((party for party in approved.values() if party.kind == "witness"), None)
    if witness is None:
        raise QuorumError(
            "The witness has cosigned no roster yet, so no node is approved.",
            field="witness",
            remedy="Start the witness's agent and have its owner approve the parties.",
        )
    if witness.party_id not in connected:
        raise PeerUnreachable(witness.party_id)
    wanted = invited(order, schema, enrolled)
    missing: dict[str, str] = {}
    nodes: list[RosterEntry] = []
    for party in wanted:
        entry = approved.get(party.party_id)
        if entry is None or entry.kind != party.kind:
            missing[party.party_id] = "not approved by the witness"
        elif party.party_id not in connected:
            missing[party.party_id] = "not connected"
        else:
            nodes.append(roster_entry(entry))
    for kind in kinds:
        here = sum(node.kind == kind for node in nodes)
        due = max(1, order.quorum.get(kind, 1))
        if here < due:
            absent = [
                f"{p.party_id} is {missing[p.party_id]}" for p in wanted if p.kind == kind and p.party_id in missing
            ]
            raise QuorumError(
                f"Kind {kind} has {here} nodes of the {due} that the campaign needs: "
                f"{', '.join(absent) or 'no others are enrolled'}.",
                field=f"quorum.{kind}",
                remedy="Start the missing nodes' agents, have them approved, or lower the quorum.",
            )
    return Recruits(tuple(nodes), roster_entry(witness), missing)


def make_plan(
    campaign: Campaign,
    recruits: Recruits,
    merchants: Callable[[], TrainingMerchants],
    *,
    hub_id: str,
    identity: Signer,
    attempts_before: Mapping[str, int],
    clock: Clock,
    witness_keys: Callable[[], KeyLine] | None = None,
) -> CampaignPlan:
    """Make the plan of a campaign from its order, its nodes and the merchants who consent now, whenever it is asked.

    Raises:
        QuorumError: no merchant's consent covers the schema at these nodes.
    """
    schema = campaign.schema
    kinds, label = schema.kinds_in_order(), schema.label.kind

    def form() -> Cohort:
        now = merchants()
        return Cohort.form(recruits.nodes, kinds, label, now.pseudonyms, now.sources)

    cohort = form()
    if cohort.size == 0:
        purpose = purpose_of(campaign.order).replace("-", " ")
        raise QuorumError(
            f"No merchant has an active consent to {purpose} that names a connected node of kind {label} and only "
            f"kinds of schema {schema.name}.",
            field="consents",
            remedy="Collect consents first; each names a source of the label's kind and, if there are any, of another.",
        )
    return plan_of(
        campaign,
        cohort,
        witness=recruits.witness,
        hub_id=hub_id,
        identity=identity,
        reform=form,
        attempts_before=attempts_before,
        clock=clock,
        witness_keys=witness_keys,
    )


def plan_of(
    campaign: Campaign,
    cohort: Cohort,
    *,
    witness: RosterEntry,
    hub_id: str,
    identity: Signer,
    clock: Clock,
    reform: Callable[[], Cohort] | None = None,
    attempts_before: Mapping[str, int] | None = None,
    witness_keys: Callable[[], KeyLine] | None = None,
) -> CampaignPlan:
    """Return the plan of a campaign's order on a cohort."""
    order = campaign.order
    evaluation = order.evaluation or EvaluationOptions()
    return CampaignPlan(
        campaign_id=campaign.campaign_id,
        schema=campaign.schema,
        stages=order.stages_on(campaign.schema),
        epsilon=order.epsilon,
        delta=order.delta,
        cohort=cohort,
        witness=witness,
        hub_id=hub_id,
        identity=identity,
        holdout_salt=campaign.holdout_salt,
        holdout_fraction=order.held_out,
        t_collude=order.t_collude,
        noise=order.noise,
        quorum=order.quorum,
        pair_share=order.pair_share,
        encoder_share=order.encoder_share,
        bins_share=order.bins_share,
        bands=evaluation.bands,
        parity=evaluation.parity,
        earlier=order.earlier,
        statistics=order.statistics,
        block_rows=order.block_rows or BLOCK_ROWS,
        reform=reform,
        attempts_before=attempts_before or {},
        clock=clock,
        witness_keys=witness_keys,
    )


def roster_entry(party: Party) -> RosterEntry:
    """Return a party as terms name it."""
    return RosterEntry(party_id=party.party_id, kind=party.kind, sign_key=party.sign_key, box_key=party.box_key)
