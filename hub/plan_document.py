"""A plan as JSON: what `POST /v1/campaigns/plan` answers and `digua-hub campaign plan --json` prints."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hub.budget_plan import BudgetPlan, NodeBudget
from hub.campaign_forecast import ExpectedLoss, Forecast
from hub.expected_counts import CountsOf, ExpectedCounts
from hub.plan_warnings import PlanWarning, WarningCode
from models.campaign_file import CampaignFile
from models.i18n import catalogue
from models.said import Said
from models.schema import Schema


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CountsPart(_Part):
    """Published counts of a sort: σ as the accountant counts on it, as opened, and of one node's share; merchants."""

    of: CountsOf
    cells: int
    sigma: float
    sigma_opened: float
    sigma_share: float
    expected_mean: float
    expected_smallest: float
    signal_to_noise: float | None
    below_two_sigma: float


class RoundsPart(_Part):
    """An encoder's charged rounds: σ in units of the largest contribution of one merchant."""

    rounds: int
    sigma: float
    sigma_share: float


class LossPart(_Part):
    """Expected loss of AUC; what a wanted loss needs, each with the other as it is, None where it is out of reach."""

    auc: float
    error: float
    target: float
    epsilon_needed: float | None
    merchants_needed: int | None
    pair_share: float
    by_pair_share: dict[str, float]
    encoder_price: float | None


class YearPart(_Part):
    """So many campaigns: ε at the δ of one, None where it is beyond 200; the plain sum holds at the sum of their δ."""

    campaigns: int
    epsilon: float | None
    plain_sum: float


class NodePart(_Part):
    """A node: ε so far, after this campaign, after a year's, and how many the limit allows."""

    party_id: str
    kind: str
    connected: bool
    spent_sum: float
    before: float | None
    after: float | None
    yearly: float | None
    allowed: int | None


class WarningPart(_Part):
    """What speaks against the order, and what would mend it, in the caller's language."""

    code: WarningCode
    what: str
    remedy: str


class PlanDocument(_Part):
    """A plan, whole.

    Attributes:
        present: kind → share of the merchants that has a record there.
        limit: ε that the owners allow, as the caller said.
        allowed: the fewest campaigns that it allows at any node.
        nodes: those that a hub knows.
    """

    campaign: str
    schema_name: str
    stages: list[str]
    noise: str
    epsilon: float
    delta: float
    epsilon_replace_one: float
    trained: int
    held_out: int
    present: dict[str, float]
    nodes_by_kind: dict[str, int]
    basis: Literal["assumed", "published"]
    from_campaign: str | None
    default_rate: float
    counts: list[CountsPart]
    rounds: RoundsPart | None
    loss: LossPart | None
    yearly: list[YearPart]
    limit: float | None
    allowed: int | None
    nodes: list[NodePart]
    missing: dict[str, str]
    hindrance: str | None
    warnings: list[WarningPart]


def plan_document(plan: BudgetPlan, order: CampaignFile, schema: Schema, language: str) -> PlanDocument:
    """Return a plan as JSON has it, its warnings in a language."""
    told = plan.forecast
    return PlanDocument(
        campaign=order.name,
        schema_name=schema.name,
        stages=list(order.stages),
        noise=order.noise,
        epsilon=plan.epsilon,
        delta=plan.delta,
        epsilon_replace_one=plan.epsilon_replace_one,
        trained=plan.audience.trained,
        held_out=plan.audience.held_out,
        present=dict(plan.audience.present),
        nodes_by_kind=dict(plan.audience.nodes),
        basis=told.basis,
        from_campaign=told.from_campaign,
        default_rate=told.default_rate,
        counts=[_counts(each) for each in told.counts],
        rounds=_rounds(told),
        loss=None if told.loss is None else _loss(told.loss),
        yearly=[
            YearPart(campaigns=each.campaigns, epsilon=_finite(each.epsilon), plain_sum=each.plain_sum)
            for each in told.yearly
        ],
        limit=plan.limit,
        allowed=plan.allowed,
        nodes=[_node(each) for each in plan.nodes],
        missing=dict(plan.missing),
        hindrance=None if plan.hindrance is None else plan.hindrance.message,
        warnings=[_warning(each, language) for each in told.warnings],
    )


def spoken(text: Said, language: str) -> str:
    """Return a text in a language, with what fills its places."""
    params = {
        name: spoken(value, language) if isinstance(value, Said) else value for name, value in text.params.items()
    }
    return catalogue("hub").translate(language, text.text, **params)


def _warning(warning: PlanWarning, language: str) -> WarningPart:
    return WarningPart(code=warning.code, what=spoken(warning.what, language), remedy=spoken(warning.remedy, language))


def _counts(counts: ExpectedCounts) -> CountsPart:
    return CountsPart(
        of=counts.of,
        cells=counts.cells,
        sigma=counts.noise.promised,
        sigma_opened=counts.noise.opened,
        sigma_share=counts.noise.share,
        expected_mean=counts.mean,
        expected_smallest=counts.smallest,
        signal_to_noise=counts.signal,
        below_two_sigma=counts.drowned,
    )


def _rounds(told: Forecast) -> RoundsPart | None:
    if told.rounds is None:
        return None
    noise = told.rounds.noise
    return RoundsPart(rounds=told.rounds.rounds, sigma=noise.promised, sigma_share=noise.share)


def _loss(loss: ExpectedLoss) -> LossPart:
    return LossPart(
        auc=loss.auc,
        error=loss.error,
        target=loss.target,
        epsilon_needed=loss.epsilon_needed,
        merchants_needed=loss.merchants_needed,
        pair_share=loss.pair_share,
        by_pair_share={f"{share:g}": each for share, each in loss.by_pair_share.items()},
        encoder_price=loss.encoder_price,
    )


def _node(node: NodeBudget) -> NodePart:
    return NodePart(
        party_id=node.party_id,
        kind=node.kind,
        connected=node.connected,
        spent_sum=node.spent.epsilon,
        before=_finite(node.before),
        after=_finite(node.after),
        yearly=_finite(node.yearly),
        allowed=node.allowed,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
