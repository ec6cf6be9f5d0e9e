"""A source's answer to a scoring query (docs/protocol.md, 7.2).

S1  The request verifies under the roster's key of its requester, exact bytes first.
S2  The same hash gets the same bytes until the request expires, then a refusal: changed data under the masks of an old
    request would show their difference.
S3  Rules about the request as a whole (`nodes.policy`).
S4  Integer points of every merchant of the request, whether or not it will be answered; without a record the public
    absent points.
S5  In one transaction: rules about each item, uses counted, journal written, points masked towards the item's other
    sources, sealed to the requester in a size that depends on nothing but the number of items, signed, stored.
S6  Only then, and not before the time floor, the answer leaves.

A refusal of the whole request is signed as well, names each item, and is not stored: it used nothing up.
"""

from __future__ import annotations

import threading
import time as wall
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes, digest
from crypto.errors import CryptoError, SignatureError
from crypto.jws import peek_kid, sign_model, verify_model
from crypto.keys import BoxKey, IdentityKey
from crypto.score_masks import RequestMasks
from crypto.sealed import context_bytes, seal
from crypto.wire.base import SUITE
from crypto.wire.party import Party
from crypto.wire.scoring import (
    ANSWER_BYTES_PER_ITEM,
    AnswerBody,
    AnswerItem,
    ItemRefusal,
    QueryForward,
    RefusalCode,
    ScoreRequest,
    SourceAnswer,
)
from models.errors import ArtefactError, ModelsError
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore
from nodes.errors import NodeError, PeerError, PolicyRefusal
from nodes.journal import Decision, Journal
from nodes.model_book import BookedModel, ModelBook
from nodes.points import OwnPoints, PointsDesk
from nodes.policy import Limits, ModelFacts, Uses, decide_item, decide_request, may_give_reasons
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.scoring import AnswerRow
from nodes.uses import UseBook

REQUEST_TYPE = "score-request"
ANSWER_TYPE = "score-answer"
ANSWERED = "answered"
_ITEM_BYTES = ANSWER_BYTES_PER_ITEM - 16
"""Room of one item in the body, which has an object around all items and a comma between two."""


@dataclass(frozen=True)
class _Query:
    """A verified request."""

    token: str
    hash: bytes
    request: ScoreRequest
    requester: Party


class Scorer:
    """Answers queries from this node's own table. Safe to use from several threads."""

    def __init__(
        self,
        *,
        party_id: str,
        identity: IdentityKey,
        box: BoxKey,
        store: Store,
        roster: RosterBook,
        consents: ConsentStore,
        models: ModelBook,
        points: PointsDesk,
        journal: Journal,
        feed_age: Callable[[datetime], timedelta],
        limits: Limits,
        floor_seconds: float = 0.0,
        clock: Clock = system_clock,
        monotonic: Callable[[], float] = wall.monotonic,
        sleep: Callable[[float], None] = wall.sleep,
    ) -> None:
        """Args:
        party_id, identity, box, store, roster, consents, models, points, journal, clock: the node's.
        feed_age: how old the feed of consents is.
        limits: the owner's.
        floor_seconds: no answer or refusal leaves sooner than this after its query came.
        monotonic, sleep: time for the floor.
        """
        self._party_id = party_id
        self._identity = identity
        self._box = box
        self._store = store
        self._roster = roster
        self._consents = consents
        self._models = models
        self._points = points
        self._journal = journal
        self._feed_age = feed_age
        self._limits = limits
        self._floor = floor_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()

    def answer(self, forward: bytes) -> bytes:
        """Handle a `query` frame: JSON of `QueryForward` in, a JWS `score-answer` out.

        Raises:
            PolicyRefusal: the request does not verify, its requester is not in the roster, or it was answered and has
                expired.
        """
        started = self._monotonic()
        try:
            return self._answer(forward)
        finally:
            # S6
            left = self._floor - (self._monotonic() - started)
            if left > 0:
                self._sleep(left)

    def _answer(self, forward: bytes) -> bytes:
        query = self._read(forward)
        stored = self._stored(query)
        if stored is not None:
            return stored
        now = self._clock()
        model = self._model(query.request.model_id)
        code = self._decide_request(query, model, now)
        if code is not None or model is None:
            return self._refuse_all(query, code or "model-unknown", now)
        try:
            own = self._points.points(model, [item.pseudonym for item in query.request.items])
        except (ModelsError, NodeError):
            return self._refuse_all(query, "source-failed", now)
        # One at a time: two copies of one request, or two requests under one nonce, must not both be masked.
        with self._lock:
            stored = self._stored(query)
            if stored is not None:
                return stored
            if self._nonce_reused(query):
                return self._refuse_all(query, "nonce-reused", now)
            return self._answer_items(query, model, own)

    def _read(self, forward: bytes) -> _Query:
        """S1."""
        try:
            token = QueryForward.model_validate_json(forward).request
            requester = self._roster.party(peek_kid(token, typ=REQUEST_TYPE))
            request = verify_model(token, requester.sign_key, ScoreRequest, typ=REQUEST_TYPE, kid=requester.party_id)
            if request.requester != requester.party_id:
                raise SignatureError("the request names another requester than its signer", field="requester")
        except PeerError as problem:
            raise self._unreadable(
                "requester-unknown", "the requester is not in the cosigned roster", digest(forward)
            ) from problem
        except (CryptoError, ValidationError) as problem:
            raise self._unreadable("signature-invalid", "the request does not verify", digest(forward)) from problem
        return _Query(token, digest(token.encode()), request, requester)

    def _unreadable(self, code: RefusalCode, message: str, frame_hash: bytes) -> PolicyRefusal:
        self._journal.note("query-refused", {"frame_sha256": frame_hash.hex(), "code": code})
        return PolicyRefusal(
            code, message, field="request", remedy="sign the request with the key that the roster has for you"
        )

    def _stored(self, query: _Query) -> bytes | None:
        """S2."""
        with self._store.reading() as session:
            row = session.get(AnswerRow, query.hash)
        if row is None:
            return None
        if row.answer is None or self._clock() >= query.request.expires_at:
            raise PolicyRefusal(
                "answer-expired",
                "this request was answered and has expired",
                field="request",
                remedy="sign a new request, which counts as a new use of the consent",
            )
        return row.answer

    def _model(self, model_id: str) -> BookedModel | None:
        try:
            model = self._models.get(model_id)
        except ArtefactError:
            return None
        return model if model is not None and model.artefact.scorecard is not None else None

    def _facts(self, model: BookedModel) -> ModelFacts:
        kind = self._roster.party(self._party_id).kind
        return ModelFacts(
            model_id=model.model_id,
            kinds=model.kinds,
            data_class=model.data_class(kind) if kind in model.kinds else "C3",
            released=model.released,
            rolled_back=model.rolled_back,
        )

    def _decide_request(self, query: _Query, model: BookedModel | None, now: datetime) -> RefusalCode | None:
        """S3."""
        return decide_request(
            query.request,
            model=None if model is None else self._facts(model),
            nonce_reused=self._nonce_reused(query),
            feed_age=self._feed_age(now),
            limits=self._limits,
            now=now,
        )

    def _nonce_reused(self, query: _Query) -> bool:
        used = select(AnswerRow.request_hash).where(
            AnswerRow.requester == query.request.requester, AnswerRow.nonce == query.request.nonce
        )
        with self._store.reading() as session:
            other = session.scalar(used)
        return other is not None and other != query.hash

    def _refuse_all(self, query: _Query, code: RefusalCode, now: datetime) -> bytes:
        items = range(len(query.request.items))
        with self._store.session() as session:
            self._write_journal(session, query, [Decision(item, code) for item in items], now)
        refusals = tuple(ItemRefusal(item=item, code=code) for item in items)
        return self._signed(query, (), refusals)

    def _answer_items(self, query: _Query, model: BookedModel, own: Sequence[OwnPoints]) -> bytes:
        """S5."""
        request, facts = query.request, self._facts(model)
        roster = {party.party_id: party for party in self._roster.parties()}
        me = self._roster.party(self._party_id)
        masks = RequestMasks(self._box, request_hash=query.hash, me=self._party_id)
        answered: list[AnswerItem] = []
        refusals: list[ItemRefusal] = []
        with self._store.session() as session:
            now = self._clock()
            held = self._consents.get_all([item.consent_id for item in request.items], now, session=session)
            book = UseBook(session, request, query.hash, now)
            for index, item in enumerate(request.items):
                consent = held.get(item.consent_id)
                code = decide_item(
                    request,
                    item,
                    me=me,
                    held=consent,
                    model=facts,
                    uses=Uses() if consent is None else book.uses(item, consent.record),
                    roster=roster,
                    limits=self._limits,
                )
                if code is not None or consent is None:
                    refusals.append(ItemRefusal(item=index, code=code or "consent-unknown"))
                    continue
                book.add(item, consent.record)
                reasons = own[index].reasons if may_give_reasons(consent.record, request.requester) else ()
                peers = _peers(item.sources, roster, self._party_id)
                masked = masks.mask_points(own[index].points, peers, item=index)
                answered.append(fitting_item(index, masked, reasons))
            answer = self._signed(query, answered, tuple(refusals))
            decisions = [Decision(each.item, ANSWERED) for each in answered]
            decisions += [Decision(each.item, each.code) for each in refusals]
            self._write_journal(session, query, sorted(decisions, key=lambda each: each.item), now)
            _forget_expired(session, now)
            session.add(
                AnswerRow(
                    request_hash=query.hash,
                    requester=request.requester,
                    nonce=request.nonce,
                    expires_at=int(request.expires_at.timestamp()),
                    answer=answer,
                )
            )
        return answer

    def _write_journal(self, session: Session, query: _Query, decisions: Sequence[Decision], now: datetime) -> None:
        self._journal.queries(
            session,
            request_hash=query.hash,
            facts={"requester": query.request.requester, "model_id": query.request.model_id},
            decisions=decisions,
            time=now,
        )

    def _signed(self, query: _Query, answered: Sequence[AnswerItem], refusals: tuple[ItemRefusal, ...]) -> bytes:
        body = pad_body(AnswerBody(items=tuple(answered)), len(query.request.items))
        context = answer_context(query.hash, self._party_id)
        answer = SourceAnswer(
            suite=SUITE,
            request_hash=query.hash,
            source=self._party_id,
            answered=tuple(each.item for each in answered),
            refusals=refusals,
            sealed=seal(body, query.requester.box_key, context=context),
        )
        return sign_model(answer, self._identity, typ=ANSWER_TYPE, kid=self._party_id).encode()


def answer_context(request_hash: bytes, source: str) -> bytes:
    """What a sealed answer is bound to."""
    return context_bytes(use=ANSWER_TYPE, request_hash=request_hash, source=source)


def pad_body(body: AnswerBody, items: int) -> bytes:
    """An answer's body in the size of its request, whatever it holds."""
    return canonical_bytes(body).ljust(ANSWER_BYTES_PER_ITEM * items)


def fitting_item(index: int, masked: int, reasons: tuple[str, ...]) -> AnswerItem:
    """An answered item; the last reasons are left out where names are so long that the item would not fit."""
    while True:
        item = AnswerItem(item=index, masked_points=masked, reasons=reasons)
        if len(canonical_bytes(item)) <= _ITEM_BYTES:
            return item
        reasons = reasons[:-1]


def _peers(sources: Mapping[str, str], roster: Mapping[str, Party], me: str) -> dict[str, bytes]:
    return {party: roster[party].box_key for party in sources.values() if party != me}


def _forget_expired(session: Session, now: datetime) -> None:
    expired = AnswerRow.expires_at <= int(now.timestamp())
    session.execute(update(AnswerRow).where(expired, AnswerRow.answer.is_not(None)).values(answer=None))
