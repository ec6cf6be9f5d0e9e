"""Released encoders at a node that holds their kind's data: as one more binned feature, and as a model of its own (5).

An encoder is scored where the rows are: nothing travels, and no other party learns a score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.artefact import ModelArtefact
from models.encoder_scores import (
    ENCODER_FEATURE_WIDTH,
    default_probability,
    encode_feature,
    encoder_feature_edges,
    encoder_logits,
    log_odds,
)
from models.encoder_spec import EncoderSpec
from models.errors import ArtefactError
from models.scorecard import ANCHOR_PD, ANCHOR_SCORE, POINTS_TO_DOUBLE, SCORE_MAX, SCORE_MIN
from nodes.training_context import Codes

_REMEDY = "refuse the model and tell the hub's operator"


@dataclass(frozen=True)
class ReleasedEncoder:
    """An encoder's specification and parameters, read from its artefact; training's `EncoderFeature`."""

    kind: str
    spec: EncoderSpec
    parameters: NDArray[np.float64]

    @classmethod
    def of(cls, artefact: ModelArtefact) -> ReleasedEncoder:
        """Read an encoder artefact.

        Raises:
            ArtefactError: it is none, or specification, parameters, bins and schema do not fit together.
        """
        entry = artefact.encoder
        if entry is None:
            raise ArtefactError("this model is no encoder", field="model_type", remedy="use an encoder's id")
        try:
            spec = EncoderSpec.model_validate_json(entry.spec)
        except ValidationError as problem:
            raise ArtefactError(
                "the encoder's specification cannot be read", field="encoder.spec", remedy=_REMEDY
            ) from problem
        parameters = entry.parameters().reshape(-1)
        # Floats of an artefact have ten digits.
        edges = tuple(float(f"{edge:.10g}") for edge in encoder_feature_edges())
        fits = spec.widths == artefact.schema_of().widths(entry.kind) and len(parameters) == spec.n_parameters
        if not fits or entry.edges != edges:
            raise ArtefactError(
                "the encoder does not fit its schema or its public bins", field="encoder", remedy=_REMEDY
            )
        return cls(entry.kind, spec, parameters)

    @property
    def width(self) -> int:
        """Bins of the feature."""
        return ENCODER_FEATURE_WIDTH

    def codes(self, codes: Codes) -> Codes:
        """(n, F) codes of the kind's own features → (n,) codes of the encoder's binned output."""
        return encode_feature(log_odds(self.spec, encoder_logits(self.spec, self.parameters, codes)))

    def default_probability(self, codes: Codes) -> NDArray[np.float64]:
        """(n, F) codes → (n,) probabilities of default."""
        return default_probability(self.spec, encoder_logits(self.spec, self.parameters, codes))


def score_of_probability(pd: float) -> int:
    """A probability of default on the public scale: 600 at 5 %, odds double every 40 points, within 300 to 850."""
    bounded = min(max(pd, 1e-9), 1 - 1e-9)
    odds = math.log(bounded / (1 - bounded)) - math.log(ANCHOR_PD / (1 - ANCHOR_PD))
    return min(max(round(ANCHOR_SCORE - POINTS_TO_DOUBLE / math.log(2) * odds), SCORE_MIN), SCORE_MAX)
