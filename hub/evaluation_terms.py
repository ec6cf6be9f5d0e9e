"""Terms of an evaluation, and what it adds to the privacy that a campaign's other stages state (docs/protocol.md, 6).

Its merchants are in no other stage, so it has the campaign's whole (ε, δ) to itself: the two compose in parallel. All
stages of a campaign state the same mechanisms, so the histogram's noise is settled before the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from crypto.histogram import HistogramLayout, histogram_delta, histogram_grid
from crypto.table_grid import table_scale
from crypto.wire.campaign import (
    KindTerms,
    MechanismTerms,
    PrivacyTerms,
    TablesMechanism,
    Terms,
)
from crypto.wire.evaluation import EvaluationTerms, ParityTerms
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort
from hub.shared_terms import pairs_of, shared_terms
from models.accounting import calibrate_cells, epsilon_of, in_parallel, usable_delta
from models.mechanisms import DiscreteGaussianCells, GaussianRounds, Mechanism

_STAGE = "evaluation"
_ONE_BLOCK = 1 << 24
"""Held-out merchants travel in one block."""


def campaign_mechanisms(mechanisms: Iterable[MechanismTerms]) -> tuple[Mechanism, ...]:
    """A campaign's mechanisms as the accountant knows them, its evaluation in parallel to the other stages."""
    training: list[Mechanism] = []
    evaluation: list[Mechanism] = []
    for each in mechanisms:
        known = (
            DiscreteGaussianCells(each.sigma, each.count, each.scale)
            if isinstance(each, TablesMechanism)
            else GaussianRounds(each.sigma_over_sensitivity, each.rounds, each.sampling_rate)
        )
        (evaluation if each.stage == _STAGE else training).append(known)
    return in_parallel(training, evaluation)


def largest_delta(plan: CampaignPlan, delta_sum: float, n_nodes: int) -> float:
    """The larger of a training stage's distance of noise shares and the evaluation's: a merchant meets one of them."""
    if _STAGE not in plan.stages:
        return delta_sum
    return max(delta_sum, histogram_delta(n_nodes, _layout(plan).n_cells))


def with_evaluation(plan: CampaignPlan, privacy: PrivacyTerms, n_nodes: int) -> PrivacyTerms:
    """The privacy of a plan's training stages, and its evaluation's beside it if it has one.

    Args:
        plan: the campaign.
        privacy: of the training stages; its `delta_sum` is that of `largest_delta`.
        n_nodes: nodes that add noise to the histogram.

    Raises:
        BudgetError: the budget cannot be met.
    """
    if _STAGE not in plan.stages or privacy.noise == "off":
        return privacy
    layout = _layout(plan)
    scale_of = partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude)
    cells = calibrate_cells(
        layout.touched, privacy.epsilon, privacy.delta, delta_sum=privacy.delta_sum, scale_of=scale_of
    )
    usable = usable_delta(privacy.epsilon, privacy.delta, privacy.delta_sum)
    replaced = epsilon_of([cells], usable, adjacency="replace-one")
    stated = TablesMechanism(
        mechanism="discrete-gaussian-cells", stage=_STAGE, sigma=cells.sigma, count=cells.count, scale=cells.scale
    )
    return privacy.model_copy(
        update={
            "mechanisms": (*privacy.mechanisms, stated),
            "epsilon_replace_one": max(privacy.epsilon_replace_one, replaced),
        }
    )


def evaluation_attempt_terms(
    plan: CampaignPlan, cohort: Cohort, attempt: str, *, model_id: str, edges: Sequence[int], trained: Terms
) -> Terms:
    """Terms of an evaluation attempt on this cohort.

    Args:
        plan: the campaign.
        cohort: held-out merchants, at the nodes that are left.
        attempt: `<campaign>/evaluation/<number>`.
        model_id: of the model.
        edges: upper ends of the bands.
        trained: terms of the attempt that the model came from.

    Raises:
        NoiseError, RangeError: too few nodes for t_collude, or the sum might wrap.
    """
    privacy, sigma = _restated(plan, trained.privacy, len(cohort.nodes))
    widths = {each.kind: each.widths for each in trained.kinds}
    terms = Terms(
        **shared_terms(plan, cohort, attempt, block_rows=_ONE_BLOCK),
        stage=_STAGE,
        schema_document=trained.schema_document,
        schema_sha256=trained.schema_sha256,
        label_kind=trained.label_kind,
        kinds=tuple(
            KindTerms(kind=kind, widths=widths[kind], members=members) for kind, members in cohort.members().items()
        ),
        pairs=pairs_of(cohort),
        privacy=privacy,
        evaluation=EvaluationTerms(
            model_id=model_id,
            edges=tuple(edges),
            parity=tuple(ParityTerms(feature=name, groups=plan.schema.feature(name).width) for name in plan.parity),
            sigma=sigma,
        ),
        bins_attempt=trained.bins_attempt,
        encoders_used=dict(trained.encoders_used),
    )
    histogram_grid(terms)  # refuses, before anybody is asked, a sum that might wrap
    return terms


def _restated(plan: CampaignPlan, privacy: PrivacyTerms, n_nodes: int) -> tuple[PrivacyTerms, float]:
    """The privacy that the training stages stated, on the grid of the nodes that are left; σ of the histogram."""
    if privacy.noise == "off":
        return privacy, 0.0
    mechanisms = tuple(
        each.model_copy(update={"scale": table_scale(each.sigma, n_nodes=n_nodes, t_collude=privacy.t_collude)})
        if isinstance(each, TablesMechanism) and each.stage == _STAGE
        else each
        for each in privacy.mechanisms
    )
    sigma = next(each.sigma for each in mechanisms if isinstance(each, TablesMechanism) and each.stage == _STAGE)
    return privacy.model_copy(update={"mechanisms": mechanisms}), sigma


def _layout(plan: CampaignPlan) -> HistogramLayout:
    return HistogramLayout(plan.bands, tuple(plan.schema.feature(name).width for name in plan.parity))
