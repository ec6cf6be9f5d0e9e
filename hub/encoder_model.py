"""From a trained encoder to its artefact. Free as to privacy: the parameters come from opened sums alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from crypto.round_grid import encoder_terms
from hub.campaign_plan import TrainedEncoder
from hub.scorecard_model import privacy_entry
from models.artefact import EncoderEntry, MetricsEntry, ModelArtefact
from models.codes import ABSENT
from models.encoder_scores import encode_feature, encoder_feature_edges, encoder_logits, log_odds
from models.encoder_spec import EncoderSpec
from models.errors import ArtefactError


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


def encoder_of(artefact: ModelArtefact) -> tuple[EncoderSpec, NDArray[np.float64]]:
    """Specification and parameters of an encoder's artefact.

    Raises:
        ArtefactError: it is no encoder, or its specification cannot be read.
    """
    if artefact.encoder is None:
        raise ArtefactError("this model is no encoder", field="model_type", remedy="use an encoder's id")
    try:
        spec = EncoderSpec.model_validate_json(artefact.encoder.spec)
    except ValidationError as problem:
        raise ArtefactError(
            "the encoder's specification cannot be read", field="encoder.spec", remedy="train the encoder again"
        ) from problem
    return spec, artefact.encoder.parameters()


def encoder_logits_of(artefact: ModelArtefact, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) logits of default for codes (n, F) of merchants that are not absent."""
    spec, parameters = encoder_of(artefact)
    return encoder_logits(spec, parameters, codes)


def with_encoder_column(artefact: ModelArtefact, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes (n, F) of the encoder's kind with its binned output as one more column; absent merchants stay absent."""
    spec, parameters = encoder_of(artefact)
    absent = codes[:, 0] == ABSENT
    here = np.where(absent[:, None], np.uint8(0), codes)
    column = encode_feature(log_odds(spec, encoder_logits(spec, parameters, here)))
    return np.column_stack([codes, np.where(absent, np.uint8(ABSENT), column)])
