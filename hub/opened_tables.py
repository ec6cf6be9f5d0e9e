"""The counts that a campaign opened, as the table that models are fitted on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.wire.campaign import Terms
from hub.campaign_plan import ReleasedTable
from models.schema import Schema
from models.tables import OpenedTable, feature_bins, from_vector


def opened_table(released: ReleasedTable) -> OpenedTable:
    """The released counts as a table, with the public membership numbers of the terms."""
    return table_of(released.terms, released.counts)


def table_of(terms: Terms, counts: NDArray[np.float64]) -> OpenedTable:
    """The opened counts of an attempt as a table."""
    schema = Schema.from_json(terms.schema_document)
    encoders = {each.kind: each.widths[-1] for each in terms.kinds if each.kind in terms.encoders_used}
    return from_vector(
        counts,
        feature_bins(schema, encoders),
        cohort_size=terms.cohort_size,
        kind_totals={each.kind: each.members for each in terms.kinds},
        pair_totals={(each.first, each.second): each.members for each in terms.pairs},
        sigma_class=0.0 if terms.tables is None else terms.tables.sigma_class,
        sigma_pair=0.0 if terms.tables is None else terms.tables.sigma_pair,
    )
