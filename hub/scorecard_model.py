"""From an opened table to a model: fit, points, artefact. Free as to privacy, and deterministic: the witness can
fit the model again and compare."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from crypto.wire.campaign import TablesMechanism, Terms
from hub.campaign_plan import ReleasedTable
from models.accounting import DiscreteGaussianCells, GaussianRounds, gdp_mu
from models.artefact import MetricsEntry, ModelArtefact, PrivacyEntry, ScorecardEntry, fit_entry, mechanism_entries
from models.fit import FitOptions
from models.schema import Schema
from models.scorecard import Scorecard, train
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


def make_scorecard(
    released: ReleasedTable, created: datetime, *, metrics: Sequence[MetricsEntry] = ()
) -> tuple[Scorecard, ModelArtefact]:
    """Fits the scorecard and writes its artefact.

    Args:
        released: the scorecard stage's result.
        created: the artefact's time; part of its bytes.
        metrics: figures known by now, with who computed them.

    Raises:
        FitError: the table cannot be fitted.
    """
    terms, table, options = released.terms, opened_table(released), FitOptions()
    card = train(table, options)
    artefact = ModelArtefact(
        model_type="scorecard",
        campaign=terms.campaign_id,
        created=created,
        campaign_schema=terms.schema_document,
        schema_sha256=terms.schema_sha256,
        cohort_size=terms.cohort_size,
        privacy=privacy_entry(terms),
        scorecard=ScorecardEntry.of(card),
        table_digest=table.digest(),
        fit_options=fit_entry(options),
        encoders_used=dict(terms.encoders_used),
        metrics=tuple(metrics),
    )
    artefact.check()
    return card, artefact


def privacy_entry(terms: Terms) -> PrivacyEntry:
    """The terms' privacy as the artefact states it; without noise there is nothing to state."""
    privacy = terms.privacy
    mechanisms: list[DiscreteGaussianCells | GaussianRounds] = [
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        if isinstance(each, TablesMechanism)
        else GaussianRounds(each.sigma_over_sensitivity, each.rounds, each.sampling_rate)
        for each in privacy.mechanisms
        if each.stage != "evaluation"
    ]
    on = privacy.noise == "on"
    return PrivacyEntry(
        noise=privacy.noise,
        epsilon=privacy.epsilon if on else None,
        delta=privacy.delta if on else None,
        delta_sum=privacy.delta_sum,
        epsilon_replace_one=privacy.epsilon_replace_one if on else None,
        t_collude=privacy.t_collude,
        mu=gdp_mu(mechanisms) if on else None,
        sigma_class=terms.tables.sigma_class if on and terms.tables is not None else None,
        sigma_pair=terms.tables.sigma_pair if on and terms.tables is not None else None,
        stages=tuple(dict.fromkeys(each.stage for each in privacy.mechanisms if each.stage != "evaluation"))
        or (terms.stage,),
        mechanisms=mechanism_entries(mechanisms),
    )
