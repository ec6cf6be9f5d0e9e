"""Terms of a bins stage's attempts, and what it leaves to the stages after it (docs/protocol.md, 6a).

The same merchants are counted there as in the scorecard's table, so the two compose one after the other, on one
accountant. All stages of a campaign state the same mechanisms: they are settled here, before the first of them, with as
many bins as there can be.
"""

from __future__ import annotations

from functools import partial

from crypto.histogram import histogram_delta
from crypto.layout import KindBlocks, TableLayout
from crypto.table_grid import table_delta, table_scale
from crypto.wire.bins import BinsTerms, TreeTerms
from crypto.wire.campaign import PrivacyTerms, TablesMechanism, Terms
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort
from hub.evaluation_terms import largest_delta, with_evaluation
from hub.manifests import cells_terms
from hub.shared_terms import kinds_of, pairs_of, privacy_terms, schema_terms, shared_terms
from models.accounting import bins_mechanism, calibrate_tables, epsilon_of, split_budget, usable_delta
from models.quantile_bins import CountTree, count_trees


def bins_attempt_terms(plan: CampaignPlan, cohort: Cohort, attempt: str) -> Terms:
    """Terms of a bins attempt on this cohort.

    Args:
        plan: the campaign, its schema with bins still to come.
        cohort: its training part, of the nodes that are left.
        attempt: `<campaign>/bins/<number>`.

    Raises:
        BudgetError: the budget cannot be met.
        NoiseError, RangeError: too few nodes for t_collude, or the sum might wrap.
    """
    trees = count_trees(plan.schema)
    sigma, privacy = bins_privacy(plan, trees, len(cohort.nodes))
    return Terms(
        **shared_terms(plan, cohort, attempt),
        stage="bins",
        **schema_terms(plan),
        label_kind=plan.schema.label.kind,
        kinds=kinds_of(plan, cohort),
        pairs=pairs_of(cohort),
        privacy=privacy,
        bins=BinsTerms(
            trees=tuple(
                TreeTerms(kind=each.kind, feature=each.feature, nodes=each.nodes, levels=each.levels) for each in trees
            ),
            sigma=sigma,
        ),
    )


def bins_privacy(plan: CampaignPlan, trees: tuple[CountTree, ...], n_nodes: int) -> tuple[float, PrivacyTerms]:
    """σ of the trees and the whole campaign's privacy; raises as `bins_attempt_terms`, save RangeError."""
    if plan.noise == "off":
        return 0.0, privacy_terms(plan, (), 0.0, plan.epsilon)
    kinds = tuple(KindBlocks(kind, plan.schema.widths(kind)) for kind in plan.schema.kinds_in_order())
    layout = TableLayout(kinds, plan.schema.label.kind)
    n_counts, touched = sum(each.nodes for each in trees), sum(each.levels for each in trees)
    both = table_delta(n_nodes, layout.n_cells) + histogram_delta(n_nodes, n_counts)
    delta_sum = largest_delta(plan, both, n_nodes)
    scale_of = partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude)
    mu = split_budget(
        plan.epsilon,
        plan.delta,
        ("bins", "scorecard"),
        n_features=layout.n_features,
        pair_share=plan.pair_share,
        bins_share=plan.bins_share,
        bins_touched=touched,
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
    bins = bins_mechanism(touched, mu["bins"], scale_of=scale_of)
    usable = usable_delta(plan.epsilon, plan.delta, delta_sum)
    replace_one = epsilon_of([bins, *tables.mechanisms], usable, adjacency="replace-one")
    stated = TablesMechanism(
        mechanism="discrete-gaussian-cells", stage="bins", sigma=bins.sigma, count=bins.count, scale=bins.scale
    )
    privacy = privacy_terms(plan, (stated, *cells_terms(tables)), delta_sum, replace_one)
    return bins.sigma, with_evaluation(plan, privacy, n_nodes)
