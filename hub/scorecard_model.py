"""From an opened table to a model: fit, points, artefact. Free as to privacy, and deterministic: the witness can
fit the model again and compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from crypto.wire.campaign import TablesMechanism, Terms
from hub.campaign_plan import ReleasedTable
from hub.opened_tables import opened_table
from models.accounting import gdp_mu
from models.artefact import (
    EarlierEntry,
    MetricsEntry,
    ModelArtefact,
    PrivacyEntry,
    ScorecardEntry,
    fit_entry,
    mechanism_entries,
)
from models.fit_options import FitOptions
from models.mechanisms import DiscreteGaussianCells, GaussianRounds
from models.pooling import pooled
from models.scorecard import Scorecard
from models.scorecard_fit import train
from models.tables import OpenedTable


def make_scorecard(
    released: ReleasedTable,
    created: datetime,
    *,
    metrics: Sequence[MetricsEntry] = (),
    earlier: Mapping[str, OpenedTable] | None = None,
) -> tuple[Scorecard, ModelArtefact]:
    """Fits the scorecard and writes its artefact.

    Args:
        released: the scorecard stage's result.
        created: the artefact's time; part of its bytes.
        metrics: figures known by now, with who computed them.
        earlier: model id → its opened table, the newest first, to be counted in the fit.

    Raises:
        FitError: the table cannot be fitted.
        DataError: an earlier table has other features.
    """
    terms, table, options = released.terms, opened_table(released), FitOptions()
    before = earlier or {}
    total, agreements = pooled(table, tuple(before.values()))
    card = train(total, options)
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
        earlier=tuple(
            EarlierEntry(model_id=model_id, table_digest=each.digest(), weight=agreed.weight)
            for (model_id, each), agreed in zip(before.items(), agreements, strict=True)
        ),
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
