"""What a node checks before it accepts an attempt, and the matrix that it freezes then (docs/protocol.md, T1).

Shared by all stages: the manifest under the cosigned root, merchants distinct and none held out, counterparts as the
consents say.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from crypto.blocks import terms_blocks
from crypto.canonical import digest
from crypto.dated import verify_dated
from crypto.errors import ManifestError
from crypto.keys import BoxKey
from crypto.manifest import NodeSlice, ascending, expected_inbox, holdout_mask, verify_slice, verify_terms
from crypto.parcel import Parcel
from crypto.slices import piece_sha256, slice_bytes
from crypto.wire.campaign import Cosignature, ModelRelease, Stage, Terms
from crypto.wire.consent import Purpose
from models.artefact import ModelArtefact
from models.codes import ABSENT, UNLABELLED
from models.quantile_bins import open_form, settled_codes
from nodes.encoder_models import ReleasedEncoder
from nodes.errors import LedgerError, PolicyRefusal
from nodes.terms_check import CheckedTerms, OwnRules
from nodes.training_context import Codes, EncoderFeature, TrainingContext


def rules_of(context: TrainingContext) -> OwnRules:
    """The owner's rules as the check of terms takes them."""
    return OwnRules(
        context.min_t_collude,
        context.insecure_noise_off,
        party_id=context.party_id,
        noise_counts=context.noise_counts,
    )


def read_cosignature(token: str, context: TrainingContext, terms: Terms) -> Cosignature:
    """T1: the witness's cosignature of this attempt.

    Raises:
        SignatureError: not signed by the key of the witness that holds now.
        ManifestError: it is of another attempt.
    """
    roster, now = context.roster, context.clock()
    cosignature = verify_dated(
        token, roster.witness_keys, Cosignature, typ="cosignature", kid=roster.witness_id, date=lambda _signed: now
    )
    if cosignature.attempt != terms.attempt:
        raise ManifestError(
            f"the witness cosigned attempt {cosignature.attempt}, the terms are of {terms.attempt}",
            field="attempt",
            remedy="refuse the attempt",
        )
    return cosignature


def attempt_key(context: TrainingContext, attempt: str) -> BoxKey:
    """The X25519 key of this attempt, made once and stored before it is used."""
    try:
        return context.attempts.key(attempt)
    except LedgerError:
        key = BoxKey.generate()
        context.attempts.save_key(attempt, key)
        return key


def check_manifest(
    context: TrainingContext, checked: CheckedTerms, pieces: Iterable[NodeSlice], h: bytes, parcel: Parcel
) -> None:
    """Terms and own slice lie under the root that the witness cosigned, at the place the roster says."""
    n_slices = len(checked.terms.roster)
    index = checked.index_of(context.party_id)
    if checked.terms.roster[index].kind != context.kind:
        raise ManifestError("the roster has another kind for this node", field="kind", remedy="refuse the attempt")
    verify_terms(h, terms_bytes=checked.payload, n_slices=n_slices, proof=_proof(parcel, "terms_proof"))
    verify_slice(
        h,
        index=index,
        n_slices=n_slices,
        salt=parcel.blob("salt"),
        slice_bytes=slice_bytes(context.party_id, context.kind, [piece_sha256(piece) for piece in pieces]),
        proof=_proof(parcel, "slice_proof"),
    )


def check_merchants(checked: CheckedTerms, piece: NodeSlice, block: int, last: bytes) -> bytes:
    """Positions ascending within the block, merchants distinct, none of them held out; in an evaluation, all.

    Args:
        checked: the terms.
        piece: the slice's, of this block.
        block: its number.
        last: what this returned for the block before, empty for the first.

    Returns:
        The last pseudonym so far: they ascend with positions, so that each stands once in all blocks.

    Raises:
        ManifestError: the piece is otherwise.
    """
    n, terms = len(piece.positions), checked.terms
    start, stop = terms_blocks(terms).span(block)
    inside = not n or start <= int(piece.positions[0]) <= int(piece.positions[-1]) < stop
    rising = bool(np.all(piece.positions[1:] > piece.positions[:-1]))
    shaped = piece.pseudonyms.shape == (n, 32)
    if not (inside and rising and shaped and ascending(piece.pseudonyms).all()) or (
        n and piece.pseudonyms[0].tobytes() <= last
    ):
        raise ManifestError(
            "the slice repeats a merchant, or its positions are not ascending within the cohort",
            field="slice",
            remedy="refuse the attempt; the hub must form the cohort again",
        )
    held = holdout_mask(piece.pseudonyms, terms.holdout.salt, terms.holdout.fraction)
    if terms.stage == "evaluation" and not held.all():
        raise ManifestError(
            "the slice holds merchants that the model was trained on",
            field="holdout",
            remedy="refuse the attempt; an evaluation is of held-out merchants alone",
        )
    if terms.stage != "evaluation" and held.any():
        raise ManifestError(
            "the slice holds merchants that the terms hold out",
            field="holdout",
            remedy="refuse the attempt; held-out merchants enter no training stage",
        )
    return piece.pseudonyms[-1].tobytes() if n else last


def check_consents(context: TrainingContext, checked: CheckedTerms, own: NodeSlice) -> None:
    """Every counterpart is the source that the merchant's consent names, or none."""
    expected_inbox(context.party_id, own, checked.roster)
    named = context.consents.sources(own.pseudonyms, checked.schema, purpose_of(checked.terms.stage))
    ids = np.array([*(party for party, _ in checked.roster), None], dtype=object)
    for kind, counterparts in own.counterparts.items():
        given = ids[counterparts]
        consented = np.array([*named.get(kind, [None] * len(given)), None], dtype=object)[:-1]
        if np.any((given != None) & (given != consented)):  # noqa: E711 (elementwise)
            raise PolicyRefusal(
                "source-not-consented",
                f"the slice names sources of kind {kind} that consents do not",
                field=kind,
                remedy="refuse the attempt; the hub must form the cohort from consents",
            )


def purpose_of(stage: Stage) -> Purpose:
    """What a merchant must have agreed to for an attempt of this stage."""
    return "programme-statistics" if stage == "statistics" else "model-training"


def check_encoders(context: TrainingContext, checked: CheckedTerms, parcel: Parcel) -> None:
    """T1: the witness made every encoder of the terms again and signed its release, in any scope.

    Without its word a hub could register any function of the nodes' bins as an encoder, and have it counted.

    Raises:
        PolicyRefusal: `encoder-not-released`.
        SignatureError: a release is not signed by the pinned witness.
    """
    terms, roster = checked.terms, context.roster
    released = {
        (release.model_id, release.campaign_id)
        for release in (
            verify_dated(token, roster.witness_keys, ModelRelease, typ="model-release", kid=roster.witness_id)
            for token in parcel.texts.get("encoder_releases", "").split()
        )
    }
    for model_id in terms.encoders_used.values():
        if (model_id, terms.campaign_id) not in released:
            raise PolicyRefusal(
                "encoder-not-released",
                f"the terms came without the witness's release of encoder {model_id} in campaign {terms.campaign_id}",
                field="encoders_used",
                remedy="have the witness release the encoder before the next stage begins",
            )


def own_rows(
    context: TrainingContext, checked: CheckedTerms, own: NodeSlice, parcel: Parcel
) -> tuple[Codes, Codes | None]:
    """The node's rows in order of positions; a merchant without a record is absent, and unlabelled.

    In a bins stage codes are cells of the grids (`models.quantile_bins.on_grid`); after it they are made from these.
    Where the terms use an encoder of the node's kind its binned output is the last column. It is taken from the
    message, under the hash that the terms name, or from the node's own models.
    """
    terms = checked.terms
    data, translate = context.dataset(terms.schema_sha256), False
    if data is None and terms.bins_attempt is not None:  # the owner's table follows the schema as it was before
        data, translate = context.dataset(open_form(checked.schema).hash()), True
    if data is None:
        raise PolicyRefusal(
            "schema-unknown",
            "this node has no table under the campaign's schema",
            field="schema_sha256",
            remedy="add the schema and its table to datasets in the node's configuration",
        )
    rows = data.rows(own.pseudonyms)
    here = rows >= 0
    columns = data.codes[rows]
    if translate:
        columns = settled_codes(checked.schema, context.kind, columns)
    if context.kind in terms.encoders_used:
        columns = np.column_stack([columns, _encoder_column(context, checked, columns, parcel)])
    codes = np.where(here[:, None], columns, np.uint8(ABSENT)).astype(np.uint8)
    if context.kind != terms.label_kind:
        return codes, None
    labels = np.full(len(data.codes), UNLABELLED, dtype=np.uint8) if data.outcome is None else data.outcome
    return codes, np.where(here, labels[rows], np.uint8(UNLABELLED)).astype(np.uint8)


def _encoder_column(context: TrainingContext, checked: CheckedTerms, codes: Codes, parcel: Parcel) -> Codes:
    model_id = checked.terms.encoders_used[context.kind]
    feature = _encoder(context, model_id, parcel)
    if feature.width != checked.layout.blocks(context.kind).widths[-1]:
        raise ManifestError("the encoder has other bins than the terms", field="widths", remedy="refuse the attempt")
    return feature.codes(codes)


def _encoder(context: TrainingContext, model_id: str, parcel: Parcel) -> EncoderFeature:
    if "encoder" not in parcel.arrays:
        if context.encoder is None:
            raise PolicyRefusal(
                "encoder-unknown",
                f"this node does not hold encoder {model_id}",
                field="encoders_used",
                remedy="send the encoder with the terms, or wait until the witness has released it",
            )
        return context.encoder(model_id)
    data = parcel.blob("encoder")
    if f"sha256:{digest(data).hex()}" != model_id:
        raise ManifestError(
            "the encoder is not the one under the hash in the terms", field="encoder", remedy="refuse the attempt"
        )
    encoder = ReleasedEncoder.of(ModelArtefact.from_bytes(data))
    if encoder.kind != context.kind:
        raise ManifestError("the encoder is of another kind", field="encoder", remedy="refuse the attempt")
    return encoder


def _proof(parcel: Parcel, name: str) -> list[bytes]:
    return [row.tobytes() for row in parcel.array(name, np.uint8, 2)]
