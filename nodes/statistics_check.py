"""Whether the terms of programme statistics can be accepted: checks that node and witness make alike (S1 to S4 of
docs/programme-statistics.md).

Which cells are released stands in the terms, under the root that the witness cosigned; a node masks nothing before it
has seen that the privacy stated is that of exactly these cells.
"""

from __future__ import annotations

from crypto.table_grid import table_delta
from crypto.wire.campaign import TablesMechanism
from models.mechanisms import DiscreteGaussianCells
from nodes.terms_check import CheckedTerms, check_epsilon, contradiction, dishonest

_TOLERANCE = 1e-9
STATISTICS = "statistics"


def check_statistics(checked: CheckedTerms) -> None:
    """S2: one σ for all chosen cells, and the privacy computed anew from it and the accountant.

    Raises:
        ManifestError: the terms describe no table of chosen cells, or name a model.
        NoiseError, RangeError: noise shares or sums are out of range.
        BudgetError: the mechanisms are not those of the chosen cells, or cost more than the terms claim.
    """
    terms, privacy, tables = checked.terms, checked.terms.privacy, checked.terms.tables
    if terms.statistics is None or tables is None:
        raise contradiction(STATISTICS, "the terms describe no table of chosen cells")
    if terms.encoders_used or terms.earlier or terms.evaluation_due or terms.bins_attempt is not None:
        raise contradiction(STATISTICS, "statistics use no model and no earlier stage, and give none")
    if terms.holdout.fraction:
        raise contradiction("holdout", "statistics are of all merchants who agreed; nobody is held out")
    if tables.sigma_class != tables.sigma_pair:
        raise contradiction("tables", "statistics have one sigma for all cells")
    grid = checked.grid
    if privacy.noise == "off":
        if privacy.mechanisms or tables.sigma_class:
            raise dishonest("terms without noise claim mechanisms")
        return
    if tables.sigma_class <= 0:
        raise dishonest("terms with noise have a table without it")
    due = (DiscreteGaussianCells(tables.sigma_class, checked.layout.n_touched, grid.class_scale),)
    claimed = tuple(
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        for each in privacy.mechanisms
        if isinstance(each, TablesMechanism) and each.stage == STATISTICS
    )
    if claimed != due or len(privacy.mechanisms) != 1:
        raise dishonest("the mechanisms of the terms are not those of their cells")
    due_delta = table_delta(len(terms.roster), checked.layout.n_cells)
    if privacy.delta_sum < due_delta * (1 - _TOLERANCE):
        raise dishonest(f"the terms set aside delta {privacy.delta_sum:g} for noise shares where {due_delta:g} is due")
    check_epsilon(checked)
