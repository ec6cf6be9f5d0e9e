"""A model before and after its evaluation: bands from what is published, figures from the opened histogram (6)."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.histogram import evaluation_terms, histogram_grid, terms_histogram
from crypto.wire.campaign import TablesMechanism
from hub.campaign_errors import CampaignError
from hub.campaign_plan import ReleasedTable
from hub.opened_tables import opened_table
from models.accounting import epsilon_of, usable_delta
from models.artefact import ModelArtefact
from models.evaluation_result import EvaluationResult
from models.evaluation_table import Evaluated, evaluation_result
from models.mechanisms import DiscreteGaussianCells
from models.schema import Schema
from models.score_bands import band_pds, encoder_edges, encoder_pd, even_edges, score_shares
from models.tables import FloatArray


@dataclass(frozen=True)
class ScoreBands:
    """Upper ends of the bands of a model's scores, and each band's predicted PD."""

    edges: tuple[int, ...]
    pds: tuple[float, ...]


def score_bands(
    artefact: ModelArtefact, table: ReleasedTable | None, bands: int, *, edges: tuple[int, ...] | None = None
) -> ScoreBands:
    """The bands to evaluate a model in.

    Args:
        artefact: the model.
        table: that a scorecard was fitted on.
        bands: how many.
        edges: those of terms that were issued already.
    """
    if artefact.encoder is not None:
        chosen = edges or encoder_edges(bands)
        return ScoreBands(chosen, band_pds(chosen, encoder_pd))
    if table is None:
        raise CampaignError("the scorecard's table is gone", field="model_id", remedy="start a new campaign")
    card = artefact.card()
    shares = score_shares(card, opened_table(table))
    chosen = edges or even_edges(shares, bands)

    def pd_of(scores: FloatArray) -> FloatArray:
        return card.calibration.pd(scores)

    return ScoreBands(chosen, band_pds(chosen, pd_of, shares))


def make_evaluation(opened: ReleasedTable, pds: tuple[float, ...]) -> EvaluationResult:
    """The result of an evaluation stage.

    Args:
        opened: its histogram.
        pds: predicted PD of every band.
    """
    terms = opened.terms
    about = evaluation_terms(terms)
    schema = Schema.from_json(terms.schema_document)
    whole, parts = terms_histogram(terms).split(opened.counts)
    privacy, on = terms.privacy, terms.privacy.noise == "on"
    cells = [
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        for each in privacy.mechanisms
        if isinstance(each, TablesMechanism) and each.stage == "evaluation"
    ]
    usable = usable_delta(privacy.epsilon, privacy.delta, privacy.delta_sum)
    return evaluation_result(
        Evaluated(
            model_id=about.model_id,
            campaign=terms.campaign_id,
            attempt=terms.attempt,
            noise=privacy.noise,
            edges=about.edges,
            pds=pds,
            groups={each.feature: schema.bin_labels(each.feature, "en") for each in about.parity},
            sigma=histogram_grid(terms).sigma,
            epsilon=epsilon_of(cells, usable) if on else None,
            delta=privacy.delta if on else None,
            nodes=sum(entry.kind == terms.label_kind for entry in terms.roster),
        ),
        whole,
        parts,
    )
