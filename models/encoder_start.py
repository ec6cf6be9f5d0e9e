"""The first parameters of an encoder's rounds: from nothing, or from an earlier campaign's released model.

Released models are public within the programme, so that starting from one costs no privacy. An encoder starts where
the earlier one, of the same shape, ended. A linear encoder can also start from a scorecard of the same bins: weights
are the scorecard's log-odds per bin, shifted by log C to where clipped training settles (`models.encoder_scores`).
"""

from __future__ import annotations

import math

import numpy as np

from models.artefact import ModelArtefact
from models.encoder_spec import EncoderSpec
from models.encoder_step import Vector, initial_parameters
from models.errors import DataError
from models.pooling import check_same_bins
from models.schema import Schema

_REMEDY = "start from a released model of the same bins and shape, or from nothing"


def first_parameters(spec: EncoderSpec, schema: Schema, start: bytes | None) -> Vector:
    """(P,) parameters of the first round, float32 values.

    Args:
        spec: of the encoder; it names the model that it starts from.
        schema: the campaign's.
        start: that model's artefact.

    Raises:
        DataError: it is not the model that the specification names, or does not fit it.
        ArtefactError: it is malformed.
    """
    if spec.start is None:
        if start is not None:
            raise DataError("the encoder starts from nothing", field="encoder.start", remedy=_REMEDY)
        return initial_parameters(spec)
    if start is None:
        raise DataError(f"model {spec.start} is not there to start from", field="encoder.start", remedy=_REMEDY)
    artefact = ModelArtefact.from_bytes(start)
    if artefact.model_id != spec.start:
        raise DataError("that is not the model to start from", field="encoder.start", remedy=_REMEDY)
    try:
        check_same_bins(schema, artefact.schema_of())
    except DataError as problem:
        raise DataError(problem.message, field="encoder.start", remedy=_REMEDY) from problem
    found = _of_scorecard(spec, artefact) if artefact.encoder is None else _of_encoder(spec, artefact)
    return found.astype(np.float32).astype(np.float64)


def _of_encoder(spec: EncoderSpec, artefact: ModelArtefact) -> Vector:
    if artefact.encoder is None:
        raise DataError("the model to start from is no encoder", field="encoder.start", remedy=_REMEDY)
    before = EncoderSpec.model_validate_json(artefact.encoder.spec)
    parameters = artefact.encoder.parameters().reshape(-1)
    if (before.widths, before.hidden, before.activation) != (spec.widths, spec.hidden, spec.activation):
        raise DataError("the encoder to start from has another shape", field="encoder.start", remedy=_REMEDY)
    if parameters.shape != (spec.n_parameters,):
        raise DataError("the encoder to start from lacks parameters", field="encoder.start", remedy=_REMEDY)
    return parameters


def _of_scorecard(spec: EncoderSpec, artefact: ModelArtefact) -> Vector:
    card = artefact.card()
    if spec.hidden or tuple(entry.feature.width for entry in card.features) != spec.widths:
        raise DataError(
            "only a linear encoder over the same features starts from a scorecard",
            field="encoder.start",
            remedy=_REMEDY,
        )
    # logit(PD) = intercept + slope · (base + Σ points); a row's entries are 1/√F, and its F bins share the constant.
    constant = card.calibration.intercept + card.calibration.slope * card.base + math.log(spec.clip)
    points = np.concatenate([np.array(entry.points, dtype=np.float64) for entry in card.features])
    return np.asarray(math.sqrt(spec.n_features) * (card.calibration.slope * points + constant / spec.n_features))
