"""The evaluation stage at a node: V1 accept, V2 points, V3 count; its outcome is T4's (docs/protocol.md, 6).

V1  As T1 of the tables, on held-out merchants: the witness's release of the model, manifest, consents, ledger. Points
    under the model, outcomes and groups are computed and frozen.
V2  A source seals to each bank its masked points of the merchants that both hold. Masks are those of scoring, under
    this attempt's keys, one word for each cohort position. Kept with the uses that they are before they leave.
V3  A bank opens the boxes of exactly the sources that its slice names, adds up, and counts band × outcome (and group)
    of merchants whom every source answered. Every node, a source with zeros, adds its share of the noise and masks the
    vector (section 3): recorded with its charge, then sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.attempts import NodeAttempt
from crypto.canonical import digest
from crypto.dated import verify_dated
from crypto.errors import ManifestError
from crypto.histogram import evaluation_terms, histogram_grid, terms_histogram
from crypto.keys import BoxKey
from crypto.manifest import NO_COUNTERPART, NodeSlice
from crypto.parcel import Array, Parcel, as_array
from crypto.score_masks import RequestMasks
from crypto.slices import read_slice
from crypto.wire.campaign import Acceptance, ModelRelease
from nodes.acceptance import (
    check_consents,
    check_encoders,
    check_manifest,
    check_merchants,
    own_rows,
    read_cosignature,
    rules_of,
)
from nodes.acceptance_record import record_acceptance
from nodes.bins_check import check_settled
from nodes.errors import PolicyRefusal
from nodes.evaluation_check import check_evaluation
from nodes.evaluation_consents import use_hash
from nodes.evaluation_model import MODEL, RELEASE, own_points, parse_model, read_model, scores_of
from nodes.evaluation_points import PointsTrip, centred, not_due_points, open_sealed_points, seal_points
from nodes.frozen import pack_arrays, unpack_arrays
from nodes.masked_term import record_term
from nodes.model_book import BookedModel
from nodes.points_book import POINTS_BLOB, PointsBatch, PointsBook, PointsRequest
from nodes.policy import MIN_OTHER_SOURCES
from nodes.table_stage import accepted_before, keep_once, load_state, out_of_order, shared
from nodes.terms_check import CheckedTerms, check_terms, contradiction, read_acceptances, read_terms
from nodes.training_context import TrainingContext

_FROZEN, _COUNTERPART, _GROUP = "evaluated", "counterpart.", "group."


@dataclass(frozen=True)
class _Frozen:
    """What a node keeps of an attempt between its steps.

    Attributes:
        own: its slice.
        points: (n,) of its merchants, by V1.
        outcome, groups: at a bank.
    """

    checked: CheckedTerms
    state: NodeAttempt
    model: BookedModel
    own: NodeSlice
    points: NDArray[np.int64]
    outcome: NDArray[np.uint8] | None
    groups: list[NDArray[np.uint8]]


def accept(context: TrainingContext, parcel: Parcel) -> Parcel:
    """V1: checks everything that can be known before masking, freezes points and outcomes, answers with an acceptance.

    Raises:
        CryptoError, ModelsError, NodeError: whatever contradicts roster, schema, model, consents, ledger or own rules.
    """
    checked = read_terms(parcel.text("terms"), context.roster)
    terms = checked.terms
    cosignature = read_cosignature(parcel.text("cosignature"), context, terms)
    recorded = context.attempts.load(terms.attempt)
    if recorded is not None:
        return accepted_before(context, recorded, cosignature)
    if terms.stage != "evaluation":
        raise contradiction("stage", f"terms of stage {terms.stage} come with another message")
    _book(context)
    check_terms(checked, context.roster, rules_of(context), context.clock())
    check_evaluation(checked)
    check_settled(checked, context.roster, parcel, context.clock())
    model = read_model(context, checked, parcel)
    own = read_slice(parcel, context.kind, [each.kind for each in terms.kinds])
    check_manifest(context, checked, [own], cosignature.h, parcel)
    check_merchants(checked, own, 0, b"")
    check_consents(context, checked, own)
    check_encoders(context, checked, parcel)
    _check_sources(checked, context.kind, own)
    codes, outcome = own_rows(context, checked, own, parcel)
    context.ledger.check(
        terms.campaign_id, terms.privacy.mechanisms, stage=terms.stage, delta_sum=terms.privacy.delta_sum
    )
    context.campaigns.settle(terms)

    arrays: dict[str, Array] = {
        "positions": own.positions,
        "pseudonyms": own.pseudonyms,
        "points": own_points(model, context.kind, codes),
    }
    if outcome is not None:
        arrays["outcome"] = outcome
        names = [feature.name for feature in checked.schema.features(context.kind)]
        for number, each in enumerate(evaluation_terms(terms).parity):
            arrays[f"{_GROUP}{number}"] = codes[:, names.index(each.feature)]
    arrays |= {f"{_COUNTERPART}{kind}": index for kind, index in own.counterparts.items()}
    packed = pack_arrays(arrays)
    kept = {
        "terms": parcel.text("terms").encode(),
        MODEL: parcel.blob(MODEL),
        RELEASE: parcel.text(RELEASE).encode(),
        _FROZEN: packed,
    }
    return record_acceptance(context, terms, cosignature, digest(packed), kept, sort="sum")


def points(context: TrainingContext, parcel: Parcel) -> Parcel:
    """V2: this source's masked points, one sealed box for each bank; the same however often it is asked for.

    Raises:
        CryptoError, NodeError: acceptances are not all of this manifest, the model was withdrawn, revocations might not
            have arrived, or the attempt is not at this step.
    """
    frozen = _load(context, parcel.text("attempt"))
    accepted, key = _accepted(context, frozen, parcel)
    if context.kind == frozen.checked.terms.label_kind:
        raise out_of_order(frozen.state, "sending points to other banks")
    if frozen.state.phase != "accepted":
        raise out_of_order(frozen.state, "sending points")
    banks = _shared_rows(frozen, frozen.checked.terms.label_kind)
    request = PointsRequest(
        frozen.state.attempt,
        frozen.state.h,
        frozen.model,
        frozen.checked.schema,
        tuple(_batch(context, frozen, bank, rows) for bank, rows in banks.items()),
    )

    def seal(answered: Sequence[NDArray[np.bool_]]) -> bytes:
        boxes: dict[str, Array] = {}
        for (bank, rows), marks in zip(banks.items(), answered, strict=True):
            words = _masked(context, frozen, accepted, key, bank, rows)
            trip = PointsTrip(request.attempt, request.h, context.party_id, bank, frozen.own.positions[rows])
            boxes[f"to.{bank}"] = as_array(seal_points(trip, words, marks, context.identity, accepted[bank].key))
        return pack_arrays(boxes)

    return Parcel(arrays=unpack_arrays(_book(context).settle(request, seal)))


def count(context: TrainingContext, parcel: Parcel) -> Parcel:
    """V3: at a bank the histogram of its merchants, elsewhere zeros; plus noise, masked, recorded, then sent.

    Raises:
        ExchangeError: the boxes are not exactly what the slice implies; `field` is the sender.
        CryptoError, NodeError: the attempt is not at this step, or the ledger refuses.
    """
    attempt = parcel.text("attempt")
    state = load_state(context, attempt)
    if state.sent is not None:
        return shared(context, state)
    if state.phase != "accepted":
        raise out_of_order(state, "a count")
    frozen = _load(context, attempt)
    accepted, key = _accepted(context, frozen, parcel)
    terms = frozen.checked.terms
    layout, grid = terms_histogram(terms), histogram_grid(terms)
    if context.kind == terms.label_kind:
        cells = _histogram(context, frozen, parcel, key)
    else:
        if context.attempts.blob(attempt, POINTS_BLOB) is None:
            raise out_of_order(state, "a count before any points were sent")
        cells = np.zeros(layout.n_cells, dtype=np.int64)
    payload = record_term(
        context,
        state,
        terms,
        cells * grid.scale,
        grid.noise(layout.n_cells),
        accepted=accepted,
        key=key,
        bound=grid.bound,
    )
    sent = state.send(payload)
    context.attempts.save(sent)
    return shared(context, sent)


def _histogram(context: TrainingContext, frozen: _Frozen, parcel: Parcel, key: BoxKey) -> NDArray[np.int64]:
    """A bank's counts, of merchants whom every source answered and whose consent names it as recipient."""
    terms, own, state = frozen.checked.terms, frozen.own, frozen.state
    due = {sender: rows for kind in own.counterparts for sender, rows in _shared_rows(frozen, kind).items()}
    boxes = parcel.names("from.")
    for sender in sorted(set(due) ^ set(boxes)):
        raise not_due_points(sender)
    total = np.zeros(len(own.positions), dtype=np.uint32)
    answered = _book(context).scored(own.pseudonyms, frozen.checked.schema)
    for sender, rows in due.items():
        trip = PointsTrip(state.attempt, state.h, sender, context.party_id, own.positions[rows])
        sign_key = terms.roster[frozen.checked.index_of(sender)].sign_key
        words, marks = open_sealed_points(trip, parcel.blob(boxes[sender]), key, sign_key)
        total[rows] += words
        answered[rows] &= marks
    # One source that did not answer leaves a uniform residue, which says nothing: no score is looked at there.
    others = centred(np.where(answered, total, np.uint32(0)))
    unnamed = {kind: index == NO_COUNTERPART for kind, index in own.counterparts.items()}
    scores = scores_of(frozen.model, frozen.points, others, unnamed)
    bands = np.searchsorted(evaluation_terms(terms).edges, scores, side="left")
    outcome = np.zeros(0, dtype=np.uint8) if frozen.outcome is None else frozen.outcome[answered]
    groups = [each[answered] for each in frozen.groups]
    return terms_histogram(terms).count(bands[answered], outcome, groups)


def _masked(
    context: TrainingContext,
    frozen: _Frozen,
    accepted: Mapping[str, Acceptance],
    key: BoxKey,
    bank: str,
    rows: NDArray[np.intp],
) -> NDArray[np.uint32]:
    """Points of a bank's merchants, masked towards each merchant's other sources but the bank, by cohort position."""
    masks = RequestMasks(key, request_hash=use_hash(frozen.state.attempt, frozen.state.h, bank), me=context.party_id)
    words = frozen.points[rows].astype(np.uint32)
    positions = frozen.own.positions[rows]
    for kind, counterparts in frozen.own.counterparts.items():
        if kind == frozen.checked.terms.label_kind:
            continue
        here = counterparts[rows]
        for index in np.unique(here[here != NO_COUNTERPART]):
            peer, at = frozen.checked.roster[int(index)][0], np.flatnonzero(here == index)
            words[at] += masks.masks(peer, accepted[peer].key, items=positions[at])
    return words


def _batch(context: TrainingContext, frozen: _Frozen, bank: str, rows: NDArray[np.intp]) -> PointsBatch:
    ids = np.array([*(party for party, _ in frozen.checked.roster), None], dtype=object)
    sources: dict[str, list[str | None]] = {
        kind: list(ids[counterparts[rows]]) for kind, counterparts in frozen.own.counterparts.items()
    }
    sources[context.kind] = [context.party_id] * len(rows)
    return PointsBatch(bank, frozen.own.pseudonyms[rows], sources)


def _shared_rows(frozen: _Frozen, kind: str) -> dict[str, NDArray[np.intp]]:
    """Node of a kind → places in the own slice of the merchants that both hold; in order of the roster."""
    counterparts = frozen.own.counterparts[kind]
    return {
        frozen.checked.roster[int(index)][0]: np.flatnonzero(counterparts == index)
        for index in np.unique(counterparts[counterparts != NO_COUNTERPART])
    }


def _check_sources(checked: CheckedTerms, kind: str, own: NodeSlice) -> None:
    """Each merchant has at least two sources besides its bank, by whose points alone no single one's can be told."""
    label = checked.terms.label_kind
    if len(checked.terms.kinds) == 1:
        return
    others = [index != NO_COUNTERPART for other, index in own.counterparts.items() if other != label]
    number = np.sum(others, axis=0) + (kind != label)
    if np.any(number < MIN_OTHER_SOURCES):
        raise contradiction("slice", "a merchant has fewer than two sources besides its bank")


def _accepted(context: TrainingContext, frozen: _Frozen, parcel: Parcel) -> tuple[dict[str, Acceptance], BoxKey]:
    """All acceptances, the same ones in every step, and this node's key among them."""
    state, tokens = frozen.state, parcel.text("acceptances").split()
    accepted = read_acceptances(tokens, frozen.checked, state.h)
    key = context.attempts.key(state.attempt)
    if accepted[context.party_id].key != key.public:
        raise ManifestError(
            "the acceptances hold another key of this node", field=context.party_id, remedy="start a new attempt"
        )
    keep_once(context, state.attempt, "acceptances", " ".join(tokens).encode())
    return accepted, key


def _load(context: TrainingContext, attempt: str) -> _Frozen:
    """State and frozen inputs of an attempt, as V1 stored them."""
    state = load_state(context, attempt)
    names = ("terms", _FROZEN, MODEL, RELEASE)
    terms, packed, model, release = (context.attempts.blob(attempt, name) for name in names)
    if state.sort != "sum" or terms is None or packed is None or model is None or release is None:
        raise out_of_order(state, "this step")
    checked = read_terms(terms.decode(), context.roster)
    arrays = unpack_arrays(packed)
    counterparts = {
        name.removeprefix(_COUNTERPART): index for name, index in arrays.items() if name.startswith(_COUNTERPART)
    }
    roster = context.roster
    signed = verify_dated(
        release.decode(), roster.witness_keys, ModelRelease, typ="model-release", kid=roster.witness_id
    )
    return _Frozen(
        checked,
        state,
        parse_model(checked, model, signed),
        NodeSlice(context.kind, arrays["positions"], arrays["pseudonyms"], counterparts),
        arrays["points"],
        arrays.get("outcome"),
        [arrays[f"{_GROUP}{number}"] for number in range(len(evaluation_terms(checked.terms).parity))]
        if "outcome" in arrays
        else [],
    )


def _book(context: TrainingContext) -> PointsBook:
    if context.points is None:
        raise PolicyRefusal(
            "evaluation-unavailable",
            "this node takes part in no evaluation",
            field="stage",
            remedy="run the node with its services, or start a campaign without an evaluation",
        )
    return context.points
