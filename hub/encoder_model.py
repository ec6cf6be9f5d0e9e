"""From a trained encoder to its artefact. Free as to privacy: the parameters come from opened sums alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from crypto.round_grid import encoder_terms
from hub.campaign_plan import TrainedEncoder
from hub.scorecard_model import privacy_entry
from models.artefact import EncoderEntry, MetricsEntry, ModelArtefact
from models.encoder_scores import encoder_feature_edges


def make_encoder(trained: TrainedEncoder, created: datetime, *, metrics: Sequence[MetricsEntry] = ()) -> ModelArtefact:
    """Writes the encoder's artefact.

    Args:
        trained: the encoder stage's result.
        created: the artefact's time; part of its bytes.
        metrics: figures known by now, with who computed them.
    """
    terms = trained.terms
    encoder = encoder_terms(terms)
    artefact = ModelArtefact(
        model_type="encoder",
        campaign=terms.campaign_id,
        created=created,
        campaign_schema=terms.schema_document,
        schema_sha256=terms.schema_sha256,
        cohort_size=terms.cohort_size,
        privacy=privacy_entry(terms),
        encoder=EncoderEntry.of(encoder.kind, encoder.spec, trained.parameters, encoder_feature_edges()),
        metrics=tuple(metrics),
    )
    artefact.check()
    return artefact
