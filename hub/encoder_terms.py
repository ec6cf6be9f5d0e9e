"""Terms of encoder attempts, and what the stages of one campaign may cost each (docs/protocol.md, 4 and 5)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from crypto.canonical import canonical_bytes
from crypto.layout import KindBlocks, TableLayout
from crypto.round_grid import round_grid
from crypto.table_grid import table_delta, table_scale
from crypto.wire.campaign import (
    EncoderTerms,
    KindTerms,
    PrivacyTerms,
    RoundsMechanism,
    Terms,
)
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort
from hub.evaluation_terms import largest_delta, with_evaluation
from hub.manifests import cells_terms
from hub.shared_terms import privacy_terms, schema_terms, shared_terms
from models.accounting import calibrate_tables, epsilon_of, split_budget, usable_delta
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.encoder_spec import EncoderSpec, calibrate_rounds, discreteness_allowance, on_fine_grid, spec_for
from models.mechanisms import Mechanism


@dataclass(frozen=True)
class EncoderBudget:
    """What an encoder's rounds get of a campaign's budget.

    Attributes:
        sigma_grid: standard deviation of a round's total noise, grid units; 0 with noise off.
        privacy: the whole campaign's, all stages.
    """

    sigma_grid: float
    privacy: PrivacyTerms


def encoder_spec(plan: CampaignPlan, wanted: EncoderSpec | None) -> EncoderSpec:
    """The encoder that a plan trains, on a grid that its nodes accept.

    Args:
        plan: the campaign.
        wanted: the schema's default where None.

    Raises:
        BudgetError: the budget is malformed.
    """
    spec = wanted or spec_for(plan.schema, plan.schema.label.kind)
    return on_fine_grid(spec, plan.epsilon, plan.delta) if plan.noise == "on" else spec


def encoder_budget(plan: CampaignPlan, spec: EncoderSpec) -> EncoderBudget:
    """Splits the plan's (ε, δ) over its stages and finds the rounds' noise.

    Raises:
        BudgetError: the budget cannot be met.
    """
    if plan.noise == "off":
        return EncoderBudget(0.0, privacy_terms(plan, (), 0.0, plan.epsilon))
    label_nodes = len(plan.cohort.nodes_of(plan.schema.label.kind))
    if "scorecard" not in plan.stages:
        noise = calibrate_rounds(spec, plan.epsilon, plan.delta)
        delta_sum = largest_delta(plan, _rounds_delta(plan, spec, noise.sigma_grid, label_nodes), label_nodes)
        if delta_sum > 0:
            noise = calibrate_rounds(spec, plan.epsilon, plan.delta, delta_sum=delta_sum)
        rounds = _rounds(noise.sigma_over_sensitivity, spec)
        privacy = privacy_terms(plan, (rounds,), delta_sum, noise.epsilon_replace_one)
        return EncoderBudget(noise.sigma_grid, with_evaluation(plan, privacy, label_nodes))
    budget = _both_stages(plan, spec, 0.0)
    of_rounds = _rounds_delta(plan, spec, budget.sigma_grid, label_nodes)
    # A merchant who is trained on meets both stages' noise. More noise in the rounds only makes their distance smaller.
    return _both_stages(plan, spec, of_rounds) if of_rounds > 0 else budget


def _both_stages(plan: CampaignPlan, spec: EncoderSpec, rounds_delta: float) -> EncoderBudget:
    """The budget of encoder and scorecard, where the rounds' noise shares are so far from discrete Gaussians."""
    layout = scorecard_layout(plan, {plan.schema.label.kind: ENCODER_FEATURE_WIDTH})
    n_nodes = len(plan.cohort.nodes)
    delta_sum = largest_delta(plan, rounds_delta + table_delta(n_nodes, layout.n_cells), n_nodes)
    scale_of = partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude)
    mu = split_budget(
        plan.epsilon,
        plan.delta,
        ("encoder", "scorecard"),
        plan.encoder_share,
        n_features=layout.n_features,
        charged_attempts=spec.charged_attempts,
        pair_share=plan.pair_share,
        delta_sum=delta_sum,
        scale_of=scale_of,
    )
    tables = calibrate_tables(
        layout.n_features,
        plan.epsilon,
        plan.delta,
        pair_share=plan.pair_share,
        mu_budget=mu["scorecard"],
        delta_sum=delta_sum,
        scale_of=scale_of,
    )
    noise = calibrate_rounds(
        spec, plan.epsilon, plan.delta, mu_budget=mu["encoder"], beside=tables.mechanisms, delta_sum=delta_sum
    )
    rounds = _rounds(noise.sigma_over_sensitivity, spec)
    accounted: list[Mechanism] = [*noise.mechanisms, *tables.mechanisms]
    usable = usable_delta(plan.epsilon, plan.delta, delta_sum)
    allowance = discreteness_allowance(spec.n_parameters, spec.charged_attempts, noise.sigma_grid)
    replace_one = epsilon_of(accounted, usable, adjacency="replace-one") + 4 * allowance
    privacy = privacy_terms(plan, (rounds, *cells_terms(tables)), delta_sum, replace_one)
    return EncoderBudget(noise.sigma_grid, with_evaluation(plan, privacy, n_nodes))


def encoder_attempt_terms(
    plan: CampaignPlan, cohort: Cohort, attempt: str, spec: EncoderSpec, budget: EncoderBudget
) -> Terms:
    """Terms of an encoder attempt on this cohort.

    Args:
        plan: the campaign.
        cohort: its training part, of the label kind's nodes that are left.
        attempt: `<campaign>/encoder/<number>`.
        spec: the encoder.
        budget: from `encoder_budget`.

    Raises:
        NoiseError, RangeError: too few nodes for t_collude, or a sum might wrap.
    """
    kind = plan.schema.label.kind
    encoder = EncoderTerms(
        kind=kind,
        spec=canonical_bytes(spec).decode(),
        parameters=spec.n_parameters,
        rounds=spec.rounds,
        charged_attempts=spec.charged_attempts,
        sigma_grid=budget.sigma_grid,
        grid=spec.grid,
        clip=spec.clip,
    )
    round_grid(
        encoder,
        n_nodes=len(cohort.nodes),
        t_collude=plan.t_collude,
        cohort_size=cohort.size,
        noise=plan.noise == "on",
    )
    return Terms(
        **shared_terms(plan, cohort, attempt),
        stage="encoder",
        **schema_terms(plan),
        label_kind=kind,
        kinds=(KindTerms(kind=kind, widths=plan.schema.widths(kind), members=cohort.size),),
        pairs=(),
        privacy=budget.privacy,
        encoder=encoder,
        evaluation_due="evaluation" in plan.stages and "scorecard" not in plan.stages,
    )


def scorecard_layout(plan: CampaignPlan, encoder_widths: dict[str, int]) -> TableLayout:
    """The layout of the plan's table, with the encoders' features at the end of their kinds."""
    kinds = tuple(
        KindBlocks(kind, (*plan.schema.widths(kind), *((encoder_widths[kind],) if kind in encoder_widths else ())))
        for kind in plan.schema.kinds_in_order()
    )
    return TableLayout(kinds, plan.schema.label.kind)


def _rounds_delta(plan: CampaignPlan, spec: EncoderSpec, sigma_grid: float, n_nodes: int) -> float:
    encoder = EncoderTerms(
        kind=plan.schema.label.kind,
        spec="",
        parameters=spec.n_parameters,
        rounds=spec.rounds,
        charged_attempts=spec.charged_attempts,
        sigma_grid=sigma_grid,
        grid=spec.grid,
        clip=spec.clip,
    )
    return round_grid(
        encoder, n_nodes=n_nodes, t_collude=plan.t_collude, cohort_size=max(1, plan.cohort.size), noise=True
    ).delta_sum


def _rounds(sigma_over_sensitivity: float, spec: EncoderSpec) -> RoundsMechanism:
    return RoundsMechanism(
        mechanism="gaussian-rounds",
        stage="encoder",
        sigma_over_sensitivity=sigma_over_sensitivity,
        rounds=spec.charged_attempts,
        sampling_rate=spec.sampling_rate,
    )
