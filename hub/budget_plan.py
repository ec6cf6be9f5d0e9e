"""What an order would cost and how exact its result would be, before anybody is asked (docs/protocol.md, 4).

The same functions that make a campaign's terms are used, with the nodes and consents of now: if it were ordered at this
moment, its terms would state these figures.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crypto.wire.campaign import PrivacyTerms, Stage, TablesMechanism
from hub.campaign_book import SALT_BYTES, Campaign
from hub.campaign_plan import CampaignPlan
from hub.clock import seconds
from hub.encoder_terms import encoder_budget, encoder_spec
from hub.errors import CampaignError, PeerUnreachable, QuorumError
from hub.manifests import table_terms
from hub.recruiting import check_order, make_plan, order_spec, recruit
from hub.services import Hub
from hub.spending import NodeCost
from hub.training_consents import training_merchants
from models.campaign_file import CampaignFile
from models.schema import Schema

_NAME = "plan"


@dataclass(frozen=True)
class Noise:
    """One mechanism: `count` cells with noise of standard deviation `sigma` each, or so many rounds.

    Attributes:
        sigma: of a cell in merchants; of a round in units of the largest contribution of one merchant.
    """

    stage: Stage
    of: Literal["cells", "rounds"]
    sigma: float
    count: int

    @property
    def stage_name(self) -> str:
        """Message id of the stage's name."""
        return f"{self.stage} stage"


@dataclass(frozen=True)
class NodeBudget:
    """A node that would take part, and what its merchants have spent and would have spent."""

    party_id: str
    kind: str
    connected: bool
    spent: NodeCost
    after: float


@dataclass(frozen=True)
class BudgetPlan:
    """What an order would cost.

    Attributes:
        epsilon, delta: what all published results may cost each merchant.
        epsilon_replace_one: the same where one merchant's data are replaced by any others.
        noise: by mechanism; nothing with noise off.
        trained, held_out: merchants who consent now, by what they would be used for.
        nodes: that would take part.
        missing: invited node → why it would not.
        hindrance: why it could not start at this moment; None if it could.
    """

    epsilon: float
    delta: float
    epsilon_replace_one: float
    noise: tuple[Noise, ...]
    trained: int
    held_out: int
    nodes: tuple[NodeBudget, ...]
    missing: Mapping[str, str]
    hindrance: CampaignError | PeerUnreachable | None


def budget_plan(hub: Hub, order: CampaignFile, schema: Schema, spent: Mapping[str, NodeCost]) -> BudgetPlan:
    """Plan an order with the nodes of now; where too few are connected, with all that are approved.

    Raises:
        CampaignOrderError, SchemaError: it could never run.
        QuorumError: too few approved nodes, or no merchant consents to it.
        BudgetError, NoiseError, RangeError: its (ε, δ) cannot be met with these nodes.
    """
    enrolled = hub.parties.all()
    check_order(order, schema, enrolled, hub.config.campaigns.engines)
    current = hub.roster.current()
    roster = None if current is None else current[1]
    connected = hub.links.connected()
    hindrance: CampaignError | PeerUnreachable | None = None
    try:
        recruits = recruit(order, schema, roster=roster, enrolled=enrolled, connected=connected)
    except (QuorumError, PeerUnreachable) as error:
        hindrance = error
        everyone = frozenset(party.party_id for party in enrolled)
        recruits = recruit(order, schema, roster=roster, enrolled=enrolled, connected=everyone)
    kinds, label = schema.kinds_in_order(), schema.label.kind
    plan = make_plan(
        _campaign(order, schema, seconds(hub.clock())),
        recruits,
        lambda: training_merchants(hub.db, kinds, label, hub.clock()),
        hub_id=hub.config.hub_id,
        identity=hub.keys.identity,
        attempts_before={},
        clock=hub.clock,
    )
    training = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    privacy = _privacy(plan, order, schema)
    nodes = tuple(
        NodeBudget(
            party_id=node.party_id,
            kind=node.kind,
            connected=node.party_id in connected,
            spent=(before := spent.get(node.party_id, NodeCost(0, 0.0))),
            after=before.epsilon + (order.epsilon if order.noise == "on" else 0.0),
        )
        for node in recruits.nodes
    )
    return BudgetPlan(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        epsilon_replace_one=privacy.epsilon_replace_one,
        noise=_noise(privacy),
        trained=training.size,
        held_out=plan.cohort.size - training.size,
        nodes=nodes,
        missing={} if hindrance is not None else recruits.missing,
        hindrance=hindrance,
    )


def _privacy(plan: CampaignPlan, order: CampaignFile, schema: Schema) -> PrivacyTerms:
    if "encoder" in order.stages:
        return encoder_budget(plan, encoder_spec(plan, order_spec(order, schema))).privacy
    training = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    return table_terms(plan, training, f"{_NAME}/scorecard/1").privacy


def _noise(privacy: PrivacyTerms) -> tuple[Noise, ...]:
    return tuple(
        Noise(each.stage, "cells", each.sigma, each.count)
        if isinstance(each, TablesMechanism)
        else Noise(each.stage, "rounds", each.sigma_over_sensitivity, each.rounds)
        for each in privacy.mechanisms
    )


def _campaign(order: CampaignFile, schema: Schema, now: int) -> Campaign:
    """The order as a campaign that nobody stored."""
    return Campaign(
        campaign_id=_NAME,
        order=order,
        schema=schema,
        status="queued",
        holdout_salt=secrets.token_bytes(SALT_BYTES),
        created_at=now,
        ended_at=None,
        failure=None,
        encoder_model=None,
        scorecard_model=None,
        run_by=None,
    )
