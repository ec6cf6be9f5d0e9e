"""The node's Flower `ClientApp`: message types to the protocol's steps, parcels to records, refusals to signed records.

The only module of the node that imports Flower. A refusal travels as a signed record with a fixed code; an
exception would carry its text, and perhaps data, to the hub.

Message types. Nodes: `train.slice`, `train.accept` (T1), `train.exchange` (T2), `train.share` (T3), `train.outcome`
(T4).
Witness: `query.slices` and `query.cosign` (T0), `query.seeds` (T1′), `query.release` (T3′), `query.abort` (T4).
Bins: `train.enter` (Q1), `train.tally` (Q2); the witness's are those above, and `query.settle` (Q4).
Evaluation: `train.admit` (V1), `train.points` (V2), `train.count` (V3); the witness's are those above.
Encoder rounds (E2, E3), at either: `train.round`, `train.finish`, `query.round`, `query.finish`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from crypto.errors import AttemptError, CryptoError, ExchangeError, ManifestError
from crypto.jws import sign_model
from crypto.parcel import ARRAY_FORMAT, Parcel
from crypto.wire.base import SUITE
from crypto.wire.campaign import Refusal
from models.errors import ModelsError
from nodes import bins_stage, encoder_stage, evaluation_stage, table_stage, witness_bins, witness_rounds, witness_stage
from nodes.errors import BudgetExceeded, LinkError, NodeError, PeerError, PolicyRefusal, YearlyBudgetExceeded
from nodes.terms_check import T_COLLUDE_TOO_SMALL
from nodes.training_context import TrainingContext
from nodes.witness_stage import WitnessContext

_LOG = structlog.get_logger("nodes.training")
_TEXTS, _ARRAYS = "texts", "arrays"
_DETAIL_CHARS = 500
_TOLD = frozenset({T_COLLUDE_TOO_SMALL, "holdout-changed", "privacy-changed"})
"""Refusals of terms whose sentences hold numbers of the terms and of the owner's rules alone."""

C = TypeVar("C", TrainingContext, WitnessContext)
NodeStep = Callable[[TrainingContext, Parcel], Parcel]
WitnessStep = Callable[[WitnessContext, Parcel], Parcel]

NODE_STEPS: dict[str, NodeStep] = {
    "slice": table_stage.take_piece,
    "accept": table_stage.accept,
    "exchange": table_stage.exchange,
    "share": table_stage.share,
    "outcome": table_stage.outcome,
    "enter": bins_stage.accept,
    "tally": bins_stage.tally,
    "admit": evaluation_stage.accept,
    "points": evaluation_stage.points,
    "count": evaluation_stage.count,
    "round": encoder_stage.train_round,
    "finish": encoder_stage.finish,
}
WITNESS_STEPS: dict[str, WitnessStep] = {
    "slices": witness_stage.take_pieces,
    "cosign": witness_stage.cosign,
    "seeds": witness_stage.seed,
    "release": witness_stage.release,
    "abort": witness_stage.abort,
    "settle": witness_bins.settle,
    "round": witness_rounds.release_round,
    "finish": witness_rounds.finish,
}


def build_client_app(context_of: Callable[[Context], TrainingContext | WitnessContext]) -> ClientApp:
    """The app that answers the hub's training messages.

    Args:
        context_of: what this node is, from Flower's context (one node per process, or many in a simulation).
    """
    app = ClientApp()
    for name, node_step in NODE_STEPS.items():
        app.train(name)(_handler(context_of, TrainingContext, node_step))
    for name, witness_step in WITNESS_STEPS.items():
        app.query(name)(_handler(context_of, WitnessContext, witness_step))
    return app


def serve_messages(context: TrainingContext | WitnessContext) -> Callable[[Message], Message]:
    """The handler of messages, one at a time, whatever carries them."""
    app = build_client_app(lambda _: context)
    flower = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
    busy = threading.Lock()

    def handle(message: Message) -> Message:
        with busy:
            return app(message, flower)

    return handle


def serve_link(reply: Callable[[Message], Message]) -> Callable[[bytes], bytes]:
    """The handler of `flower` frames, for `nodes.link`: serialised messages in and out.

    Args:
        reply: from `serve_messages`.
    """

    def handle(body: bytes) -> bytes:
        try:
            message = message_from_proto(ProtoMessage.FromString(body))
        except Exception as malformed:  # Flower's readers raise whatever a malformed field leads them to
            raise LinkError(
                "a training message cannot be read", field="body", remedy="hub and node need the same Flower version"
            ) from malformed
        if not message.has_content():  # Flower's messages may have an error in its place; the hub asks no node by one
            raise LinkError(
                "a training message has no content", field="body", remedy="hub and node need the same Flower version"
            )
        return bytes(message_to_proto(reply(message)).SerializeToString())

    return handle


def answer(context: TrainingContext | WitnessContext, step: Callable[[], Parcel], attempt: str) -> Parcel:
    """Runs one step; what it refuses becomes a signed refusal with a fixed code and no data.

    Args:
        context: who answers.
        step: the step, bound to context and message.
        attempt: the attempt's id, for the refusal.
    """
    try:
        return step()
    except (CryptoError, ModelsError, NodeError) as refused:
        _LOG.info("attempt-refused", attempt=attempt, code=refusal_code(refused))
        return _refusal(context, attempt, refusal_code(refused), refusal_detail(refused))
    except Exception:
        _LOG.exception("attempt-failed", attempt=attempt)
        return _refusal(context, attempt, "internal-error", "")


def refusal_code(refused: CryptoError | ModelsError | NodeError) -> str:
    """The fixed code of a refusal."""
    if isinstance(refused, PolicyRefusal):
        return refused.reason
    if isinstance(refused, PeerError) and refused.peer_code is not None:
        return refused.peer_code
    return refused.code


def refusal_detail(refused: CryptoError | ModelsError | NodeError) -> str:
    """What the hub may read: numbers of the budget, ids of parties and attempts; nothing that could hold data."""
    if isinstance(refused, ExchangeError):
        return f"sender={refused.field}"
    numbers = isinstance(refused, PolicyRefusal) and refused.reason in _TOLD
    told = (BudgetExceeded, YearlyBudgetExceeded, ManifestError, AttemptError, PeerError)
    if numbers or isinstance(refused, told):
        return str(refused)[:_DETAIL_CHARS]
    return ""


def to_records(parcel: Parcel) -> RecordDict:
    """A parcel as Flower records: texts in a ConfigRecord, arrays in an ArrayRecord."""
    arrays = {name: Array(*fields[:2], ARRAY_FORMAT, fields[2]) for name, fields in parcel.fields().items()}
    return RecordDict({_TEXTS: ConfigRecord(dict(parcel.texts)), _ARRAYS: ArrayRecord(arrays, keep_input=False)})


def from_records(records: RecordDict) -> Parcel:
    """Flower records as a parcel; records of other names are ignored, as are values that are not texts."""
    texts, arrays = records.config_records.get(_TEXTS), records.array_records.get(_ARRAYS)
    fields = {name: (array.dtype, array.shape, array.data) for name, array in (arrays or {}).items()}
    return Parcel.of_fields(texts or {}, fields)


def _handler(
    context_of: Callable[[Context], TrainingContext | WitnessContext],
    role: type[C],
    step: Callable[[C, Parcel], Parcel],
) -> Callable[[Message, Context], Message]:
    def handle(message: Message, flower: Context) -> Message:
        context = context_of(flower)
        attempt = message.metadata.group_id

        def run() -> Parcel:
            if not isinstance(context, role):
                raise PolicyRefusal("wrong-role", "this step is not for this party", remedy="ask the right party")
            return step(context, from_records(message.content))

        return Message(to_records(answer(context, run, attempt)), reply_to=message)

    return handle


def _refusal(context: TrainingContext | WitnessContext, attempt: str, code: str, detail: str) -> Parcel:
    refusal = Refusal(suite=SUITE, attempt=attempt or "unknown", party_id=context.party_id, code=code, detail=detail)
    return Parcel({"refusal": sign_model(refusal, context.identity, typ="refusal", kid=context.party_id)})
