"""What an order would cost and how exact its result would be, before anybody is asked (docs/protocol.md, 4).

The same functions that make a campaign's terms are used, with the nodes and consents of now: if it were ordered at this
moment, its terms would state these figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from crypto.table_grid import table_grid
from crypto.wire.campaign import PrivacyTerms, RosterEntry, TablesMechanism
from hub.bins_terms import bins_privacy
from hub.campaign_book import SALT_BYTES, Campaign
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_forecast import Audience, Forecast, Wishes, forecast
from hub.campaign_plan import CampaignPlan
from hub.clock import seconds
from hub.encoder_terms import encoder_budget, encoder_spec, scorecard_layout
from hub.errors import PeerUnreachable
from hub.evaluation_terms import campaign_mechanisms
from hub.manifests import tables_privacy
from hub.plan_warnings import limit_short
from hub.published_tables import newest_table
from hub.recruiting import check_order, make_plan, order_spec, recruit
from hub.services import Hub
from hub.spending import CampaignCost, NodeCost, Spending, by_node
from hub.training_consents import training_merchants
from hub.yearly_cost import composed, most_within
from models.campaign_file import CampaignFile
from models.mechanisms import Mechanism
from models.quantile_bins import count_trees
from models.schema import Schema

_NAME = "plan"


@dataclass(frozen=True)
class NodeBudget:
    """A node that would take part, and what its merchants have spent and would have spent.

    Attributes:
        spent: the sum of ε, as campaigns stated it.
        before, after, yearly: ε composed at the order's δ: of what was spent, with this campaign, and with a year's.
        allowed: how many such campaigns the limit allows from now; None where no limit is known, or noise is off.
    """

    party_id: str
    kind: str
    connected: bool
    spent: NodeCost
    before: float
    after: float
    yearly: float
    allowed: int | None


@dataclass(frozen=True)
class BudgetPlan:
    """What an order would cost.

    Attributes:
        epsilon, delta: what all published results may cost each merchant.
        epsilon_replace_one: the same where one merchant's data are replaced by any others.
        audience: merchants and nodes of now.
        forecast: how exact the result would be, and what several such campaigns cost together.
        limit: ε that the owners allow, where it was said.
        allowed: how many such campaigns it allows, at the node that has spent most; None without limit or noise.
        nodes: that would take part.
        missing: invited node → why it would not.
        hindrance: why it could not start at this moment; None if it could.
    """

    epsilon: float
    delta: float
    epsilon_replace_one: float
    audience: Audience
    forecast: Forecast
    limit: float | None
    allowed: int | None
    nodes: tuple[NodeBudget, ...]
    missing: Mapping[str, str]
    hindrance: CampaignError | PeerUnreachable | None


def budget_plan(hub: Hub, order: CampaignFile, schema: Schema, wishes: Wishes | None = None) -> BudgetPlan:
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
        unstored(order, schema, seconds(hub.clock())),
        recruits,
        lambda: training_merchants(hub.db, kinds, label, hub.clock()),
        hub_id=hub.config.hub_id,
        identity=hub.keys.identity,
        attempts_before={},
        clock=hub.clock,
    )
    training = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    privacy = privacy_of(plan, order, schema, training.size)
    wishes = wishes or Wishes()
    audience = Audience(
        trained=training.size,
        held_out=plan.cohort.size - training.size,
        present={kind: here / max(training.size, 1) for kind, here in training.members().items()},
        nodes=Counter(node.kind for node in recruits.nodes),
    )
    hub_id, hub_keys = hub.config.hub_id, hub.keys.identity.line
    published = newest_table(hub.db, schema, encoder="encoder" in order.stages, hub_id=hub_id, hub_keys=hub_keys)
    foretold = forecast(order, schema, privacy, audience, wishes=wishes, published=published)
    spending = Spending(hub.db, hub_id=hub_id, hub_keys=hub_keys)
    nodes = budgets(recruits.nodes, privacy, connected, spending.campaigns(), wishes)
    allowed = fewest_allowed(nodes)
    return BudgetPlan(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        epsilon_replace_one=privacy.epsilon_replace_one,
        audience=audience,
        forecast=with_limit(foretold, allowed, wishes),
        limit=wishes.limit,
        allowed=allowed,
        nodes=nodes,
        missing={} if hindrance is not None else recruits.missing,
        hindrance=hindrance,
    )


def fewest_allowed(nodes: Sequence[NodeBudget]) -> int | None:
    """How many campaigns the limit allows at the node that has spent most; None where none is known."""
    return min((node.allowed for node in nodes if node.allowed is not None), default=None)


def with_limit(foretold: Forecast, allowed: int | None, wishes: Wishes) -> Forecast:
    """The forecast, with a warning where the owners' limit does not allow the year's campaigns."""
    if wishes.limit is None or allowed is None or allowed >= wishes.campaigns:
        return foretold
    short = limit_short(wishes.limit, allowed, wishes.campaigns)
    return replace(foretold, warnings=(*foretold.warnings, short))


def budgets(
    nodes: Sequence[RosterEntry],
    privacy: PrivacyTerms,
    connected: Collection[str],
    costs: Sequence[CampaignCost],
    wishes: Wishes,
) -> tuple[NodeBudget, ...]:
    """What a campaign, and a year's, would cost each node's merchants after the costs so far."""
    sums = by_node(costs)
    own = campaign_mechanisms(privacy.mechanisms)

    @cache
    def figures(before: tuple[Mechanism, ...]) -> tuple[float, float, float, int | None]:
        about = _About(own, privacy.delta, privacy.delta_sum, before)
        return about.after(0), about.after(1), about.after(wishes.campaigns), about.allowed(wishes.limit)

    found = []
    for node in nodes:
        spent = [cost for cost in costs if cost.published and cost.noise == "on" and node.party_id in cost.parties]
        before, after, yearly, allowed = figures(
            tuple(each for cost in spent for each in campaign_mechanisms(cost.mechanisms))
        )
        found.append(
            NodeBudget(
                party_id=node.party_id,
                kind=node.kind,
                connected=node.party_id in connected,
                spent=sums.get(node.party_id, NodeCost(0, 0.0)),
                before=before,
                after=after,
                yearly=yearly,
                allowed=allowed,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class _About:
    """Like campaigns after what was spent before; with noise off they cost a ledger nothing."""

    own: tuple[Mechanism, ...]
    delta: float
    delta_sum: float
    before: tuple[Mechanism, ...]

    def after(self, times: int) -> float:
        delta_sum = self.delta_sum if self.own else 0.0
        return composed(self.own, times, delta=self.delta, delta_sum=delta_sum, before=self.before)

    def allowed(self, limit: float | None) -> int | None:
        if limit is None or not self.own:
            return None
        return most_within(limit, self.own, delta=self.delta, delta_sum=self.delta_sum, before=self.before)


def privacy_of(plan: CampaignPlan, order: CampaignFile, schema: Schema, trained: int) -> PrivacyTerms:
    """The privacy that the plan's terms would state.

    Args:
        plan: its nodes count, not its merchants.
        order, schema: what is ordered.
        trained: merchants, the largest count.

    Raises:
        BudgetError, NoiseError, RangeError: its (ε, δ) cannot be met with these nodes.
    """
    n_nodes = len(plan.cohort.nodes)
    if "encoder" in order.stages:
        privacy = encoder_budget(plan, encoder_spec(plan, order_spec(order, schema))).privacy
    elif "bins" in plan.stages:
        privacy = bins_privacy(plan, count_trees(schema), n_nodes)[1]
    else:
        privacy = tables_privacy(plan, scorecard_layout(plan, {}), n_nodes)[1]
    sigmas = [
        each.sigma for each in privacy.mechanisms if isinstance(each, TablesMechanism) and each.stage == "scorecard"
    ]
    if sigmas:  # as terms do: refuse a sum that might wrap
        classes, pairs = sigmas[0], sigmas[-1]
        table_grid(classes, pairs, n_nodes=n_nodes, t_collude=plan.t_collude, cohort_size=trained, noise=True)
    return privacy


def unstored(order: CampaignFile, schema: Schema, now: int) -> Campaign:
    """The order as a campaign that nobody stored; its hold-out rule is the same at every planning."""
    return Campaign(
        campaign_id=_NAME,
        order=order,
        schema=schema,
        status="queued",
        holdout_salt=bytes(SALT_BYTES),
        created_at=now,
        ended_at=None,
        failure=None,
        encoder_model=None,
        scorecard_model=None,
        run_by=None,
    )
