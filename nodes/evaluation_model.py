"""The model under evaluation at a node: released for it, and what it says about the node's own rows (V1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.canonical import digest
from crypto.dated import verify_dated
from crypto.errors import ManifestError
from crypto.histogram import evaluation_terms
from crypto.parcel import Parcel
from crypto.wire.campaign import ModelRelease
from models.artefact import ModelArtefact
from models.codes import ABSENT
from models.scorecard import SCORE_MIN
from nodes.encoder_models import ReleasedEncoder, score_of_probability
from nodes.errors import PolicyRefusal
from nodes.model_book import BookedModel
from nodes.terms_check import CheckedTerms, contradiction
from nodes.training_context import Codes, TrainingContext

MODEL, RELEASE = "model", "model_release"


def read_model(context: TrainingContext, checked: CheckedTerms, parcel: Parcel) -> BookedModel:
    """V1: the artefact under the hash in the terms, which the witness released in this campaign, in any scope.

    Raises:
        PolicyRefusal: `model-not-released`.
        SignatureError: the release is not signed by the pinned witness.
        ManifestError: these are other bytes, or the model is not one of these terms.
        ArtefactError: it is malformed, or its points break the bounds.
    """
    terms, roster = checked.terms, context.roster
    wanted = evaluation_terms(terms).model_id
    release = verify_dated(
        parcel.text(RELEASE), roster.witness_keys, ModelRelease, typ="model-release", kid=roster.witness_id
    )
    if (release.model_id, release.campaign_id) != (wanted, terms.campaign_id):
        raise PolicyRefusal(
            "model-not-released",
            f"the terms came without the witness's release of {wanted} in campaign {terms.campaign_id}",
            field="model_id",
            remedy="have the witness release the model for evaluation first",
        )
    return parse_model(checked, parcel.blob(MODEL), release)


def parse_model(checked: CheckedTerms, data: bytes, release: ModelRelease) -> BookedModel:
    """The model of these bytes; raises as `read_model`."""
    terms = checked.terms
    if f"sha256:{digest(data).hex()}" != release.model_id:
        raise ManifestError(
            "the model is not the one under the hash in the terms", field="model", remedy="refuse the attempt"
        )
    artefact = ModelArtefact.from_bytes(data)
    model = BookedModel(
        model_id=release.model_id,
        campaign_id=release.campaign_id,
        scope=release.scope,
        issued_at=int(release.issued_at.timestamp()),
        withdrawn=False,
        artefact=artefact,
    )
    if set(model.kinds) != {each.kind for each in terms.kinds} or dict(artefact.encoders_used) != terms.encoders_used:
        raise contradiction("model_id", "the model is of other kinds, or of other encoders, than the terms")
    if artefact.schema_sha256 != terms.schema_sha256:
        raise contradiction("model_id", "the model is of another schema than the terms")
    return model


def own_points(model: BookedModel, kind: str, codes: Codes) -> NDArray[np.int64]:
    """(n,) points of the node's rows; of an encoder, which its kind scores alone, the whole score.

    Args:
        model: under evaluation.
        kind: the node's.
        codes: (n, F), ABSENT where there is no record, with an encoder's column where the model uses one.
    """
    if model.artefact.encoder is None:
        return model.card.kind_points(kind, codes)
    scores = np.full(len(codes), SCORE_MIN, dtype=np.int64)
    here = codes[:, 0] != ABSENT
    if here.any():
        probabilities = ReleasedEncoder.of(model.artefact).default_probability(codes[here])
        scores[here] = [score_of_probability(float(each)) for each in probabilities]
    return scores


def scores_of(
    model: BookedModel,
    own: NDArray[np.int64],
    others: NDArray[np.int64],
    unnamed: dict[str, NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """(n,) scores at the bank.

    Args:
        model: under evaluation.
        own: from `own_points`.
        others: (n,) sums of the other sources' points.
        unnamed: kind → (n,) who has no source there, and so gets its public absent points.
    """
    if model.artefact.encoder is not None:
        return own
    absent = sum(np.where(none, model.card.absent[kind], 0) for kind, none in unnamed.items())
    return model.card.score_of(own + others + absent)
