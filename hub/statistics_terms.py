"""Terms of programme statistics: chosen cells of the table, one σ for all (docs/programme-statistics.md)."""

from __future__ import annotations

from functools import partial

from crypto.layout import KindBlocks, TableLayout
from crypto.table_grid import table_delta, table_scale, terms_grid
from crypto.wire.campaign import (
    PrivacyTerms,
    TablesMechanism,
    TablesTerms,
    Terms,
)
from crypto.wire.statistics import StatisticsTerms
from hub.campaign_errors import CampaignError
from hub.campaign_plan import CampaignPlan
from hub.cohort import Cohort
from hub.shared_terms import kinds_of, pairs_of, privacy_terms, schema_terms, shared_terms
from models.accounting import calibrate_cells, epsilon_of, usable_delta


def statistics_terms(plan: CampaignPlan, cohort: Cohort, attempt: str) -> Terms:
    """S1: terms of an attempt at statistics on this cohort.

    Args:
        plan: the campaign, with the cells that it releases.
        cohort: all who agreed, of the nodes that are left.
        attempt: `<campaign>/statistics/<number>`.

    Raises:
        CampaignError: the plan chooses no cells.
        SchemaError: a chosen feature is not in the schema.
        BudgetError: the budget cannot be met.
        NoiseError, RangeError: too few nodes for t_collude, or the sum might wrap.
    """
    order = plan.statistics
    if order is None:
        raise CampaignError("the plan chooses no cells", field="statistics", remedy="say what is to be counted")
    classes, pairs = order.numbers(plan.schema)
    kinds = kinds_of(plan, cohort)
    label_kind = plan.schema.label.kind
    layout = TableLayout(tuple(KindBlocks(each.kind, each.widths) for each in kinds), label_kind, classes, pairs)
    sigma, privacy = _privacy(plan, layout, len(cohort.nodes))
    terms = Terms(
        **shared_terms(plan, cohort, attempt),
        stage="statistics",
        **schema_terms(plan),
        label_kind=label_kind,
        kinds=kinds,
        pairs=pairs_of(cohort),
        privacy=privacy,
        tables=TablesTerms(sigma_class=sigma, sigma_pair=sigma),
        statistics=StatisticsTerms(year=order.year, classes=classes, pairs=pairs),
    )
    terms_grid(terms)  # refuses, before anybody is asked, a sum that might wrap
    return terms


def _privacy(plan: CampaignPlan, layout: TableLayout, n_nodes: int) -> tuple[float, PrivacyTerms]:
    """σ of all cells and what it costs; raises as `statistics_terms`, save RangeError."""
    delta_sum = table_delta(n_nodes, layout.n_cells) if plan.noise == "on" else 0.0
    stated = privacy_terms(plan, (), delta_sum, plan.epsilon)
    if plan.noise == "off":
        return 0.0, stated
    scale_of = partial(table_scale, n_nodes=n_nodes, t_collude=plan.t_collude)
    cells = calibrate_cells(layout.n_touched, plan.epsilon, plan.delta, delta_sum=delta_sum, scale_of=scale_of)
    mechanism = TablesMechanism(
        mechanism="discrete-gaussian-cells",
        stage="statistics",
        sigma=cells.sigma,
        count=cells.count,
        scale=cells.scale,
    )
    replace_one = epsilon_of((cells,), usable_delta(plan.epsilon, plan.delta, delta_sum), adjacency="replace-one")
    return cells.sigma, stated.model_copy(update={"mechanisms": (mechanism,), "epsilon_replace_one": replace_one})
