"""A source's answer to a scoring query (docs/protocol.md, 7.2).

S1  The request verifies under the roster's key of its requester, exact bytes first.
S2  The same hash gets the same bytes until the request expires, then a refusal: changed data under the masks of an old
    request would show their difference.
S3  Rules about the request as a whole (`nodes.policy`).
S4  Integer points of every merchant of the request, whether or not it will be answered; without a record the public
    absent points.
S5  In one transaction: rules about each item, uses counted, journal written, points masked towards the item's other
    sources, sealed to the requester in a size that depends on nothing but the number of items, signed, stored. Queries
    that come at the same time share a transaction (`models.group_commit`), and are decided in it one after another:
    each sees the answers, nonces and uses of those before it.
S6  Only then, and not before the time floor, the answer leaves (`nodes.link_session` keeps it).

A refusal of the whole request is signed as well, names each item, and is not stored: it used nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError
from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes, digest
from crypto.errors import CryptoError, SignatureError
from crypto.jws import peek_kid, sign_model, verify_model
from crypto.keys import BoxKey, Signer
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
from models.group_commit import GroupCommit
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore
from nodes.errors import NodeError, PeerError, PolicyRefusal
from nodes.journal import Decided, Decision, Journal
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
FORGET_EVERY = timedelta(seconds=1)
"""Answers past their end are deleted this often; none is given after its end."""
MOST_TOGETHER = 32
"""Queries in one transaction; a batch's request may hold 500 merchants."""
_ITEM_BYTES = ANSWER_BYTES_PER_ITEM - 16
"""Room of one item in the body, which has an object around all items and a comma between two."""
_ADD = insert(AnswerRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_BEFORE = select(AnswerRow.request_hash, AnswerRow.requester, AnswerRow.nonce, AnswerRow.answer).where(
    or_(
        AnswerRow.request_hash.in_(bindparam("hashes", expanding=True)),
        AnswerRow.requester.in_(bindparam("requesters", expanding=True))
        & AnswerRow.nonce.in_(bindparam("nonces", expanding=True)),
    )
)


@dataclass(frozen=True)
class _Query:
    """A verified request."""

    token: str
    hash: bytes
    request: ScoreRequest
    requester: Party


@dataclass(frozen=True)
class _Asked:
    """A query with what this node's own table says of its merchants; None where it has no table, or no such model."""

    query: _Query
    own: Sequence[OwnPoints] | None


class Scorer:
    """Answers queries from this node's own table. Safe to use from several threads."""

    def __init__(
        self,
        *,
        party_id: str,
        identity: Signer,
        box: BoxKey,
        store: Store,
        roster: RosterBook,
        consents: ConsentStore,
        models: ModelBook,
        points: PointsDesk,
        journal: Journal,
        feed_age: Callable[[datetime], timedelta],
        limits: Limits,
        clock: Clock = system_clock,
    ) -> None:
        """Args:
        party_id, identity, box, store, roster, consents, models, points, journal, clock: the node's.
        feed_age: how old the feed of consents is.
        limits: the owner's.
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
        self._clock = clock
        self._forgotten_at: datetime | None = None
        self._group: GroupCommit[_Asked, bytes | PolicyRefusal] = GroupCommit(self._answer_group, most=MOST_TOGETHER)

    def answer(self, forward: bytes) -> bytes:
        """Handle a `query` frame: JSON of `QueryForward` in, a JWS `score-answer` out.

        Raises:
            PolicyRefusal: the request does not verify, its requester is not in the roster, or it was answered and has
                expired.
        """
        query = self._read(forward)
        # In the caller's own thread: reading a table takes long where it has changed.
        answer = self._group.submit(_Asked(query, self._own_points(query.request)))
        if isinstance(answer, PolicyRefusal):
            raise answer
        return answer

    def _own_points(self, request: ScoreRequest) -> Sequence[OwnPoints] | None:
        """S4; whether the model may be used is decided afterwards."""
        try:
            model = self._models.opened(request.model_id)
            if model is None or model.artefact.scorecard is None:
                return None
            return self._points.points(model, [item.pseudonym for item in request.items])
        except (ModelsError, NodeError):
            return None

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

    def _model(self, model_id: str, session: Session) -> BookedModel | None:
        try:
            model = self._models.get(model_id, session=session)
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

    def _answer_group(self, group: Sequence[_Asked]) -> list[bytes | PolicyRefusal]:
        """S2, S3, S5, for queries that share a transaction; a refusal that is not signed is given, not raised."""
        with self._store.session() as session:
            now = self._clock()
            if self._forgotten_at is None or not now - FORGET_EVERY < self._forgotten_at <= now:
                self._forgotten_at = now
                _forget_expired(session, now)
            return _Sitting(self, session, group, now).answers()

    def _decide_request(
        self, query: _Query, model: BookedModel | None, now: datetime, *, nonce_reused: bool
    ) -> RefusalCode | None:
        """S3."""
        return decide_request(
            query.request,
            model=None if model is None else self._facts(model),
            nonce_reused=nonce_reused,
            feed_age=self._feed_age(now),
            limits=self._limits,
            now=now,
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


class _Sitting:
    """One transaction in which queries are answered, one after another.

    What the store has about all of them is read at once; what is decided is kept in mind for those that follow, and
    written at the end.
    """

    def __init__(self, scorer: Scorer, session: Session, group: Sequence[_Asked], now: datetime) -> None:
        self._scorer = scorer
        self._session = session
        self._group = group
        self._now = now
        requests = {each.query.hash: each.query.request for each in group}
        self._stored, self._nonces = _answered_before(session, requests)
        self._models = {
            model_id: scorer._model(model_id, session)
            for model_id in {request.model_id for request in requests.values()}
        }
        wanted = [item.consent_id for request in requests.values() for item in request.items]
        self._held = scorer._consents.get_all(wanted, now, session=session)
        self._book = UseBook(session, requests, now)
        self._roster = {party.party_id: party for party in scorer._roster.parties()}
        self._decided: list[Decided] = []
        self._rows: list[dict[str, object]] = []

    def answers(self) -> list[bytes | PolicyRefusal]:
        """Answer them all, and write what that used up."""
        found = [self._one(each) for each in self._group]
        self._book.write()
        if self._decided:
            self._scorer._journal.queries(self._session, self._decided, self._now)
        if self._rows:
            self._session.connection().execute(_ADD, self._rows)
        return found

    def _one(self, asked: _Asked) -> bytes | PolicyRefusal:
        query = asked.query
        if query.hash in self._stored:
            return self._again(query)
        reused = self._nonces.get((query.request.requester, query.request.nonce), query.hash) != query.hash
        model = self._models[query.request.model_id]
        code = self._scorer._decide_request(query, model, self._now, nonce_reused=reused)
        if code is not None or model is None:
            return self._refuse_all(query, code or "model-unknown")
        if asked.own is None:
            return self._refuse_all(query, "source-failed")
        return self._answer_items(query, model, asked.own)

    def _again(self, query: _Query) -> bytes | PolicyRefusal:
        """S2."""
        answer = self._stored[query.hash]
        if answer is None or self._now >= query.request.expires_at:
            return PolicyRefusal(
                "answer-expired",
                "this request was answered and has expired",
                field="request",
                remedy="sign a new request, which counts as a new use of the consent",
            )
        return answer

    def _refuse_all(self, query: _Query, code: RefusalCode) -> bytes:
        items = range(len(query.request.items))
        self._note(query, [Decision(item, code) for item in items])
        return self._scorer._signed(query, (), tuple(ItemRefusal(item=item, code=code) for item in items))

    def _answer_items(self, query: _Query, model: BookedModel, own: Sequence[OwnPoints]) -> bytes:
        """S5."""
        scorer, request, roster = self._scorer, query.request, self._roster
        facts, me = scorer._facts(model), roster[scorer._party_id]
        masks = RequestMasks(scorer._box, request_hash=query.hash, me=scorer._party_id, items=len(request.items))
        answered: list[AnswerItem] = []
        refusals: list[ItemRefusal] = []
        for index, item in enumerate(request.items):
            consent = self._held.get(item.consent_id)
            code = decide_item(
                request,
                item,
                me=me,
                held=consent,
                model=facts,
                uses=Uses() if consent is None else self._book.uses(query.hash, item, consent.record),
                roster=roster,
                limits=scorer._limits,
            )
            if code is not None or consent is None:
                refusals.append(ItemRefusal(item=index, code=code or "consent-unknown"))
                continue
            self._book.add(query.hash, item, consent.record)
            reasons = own[index].reasons if may_give_reasons(consent.record, request.requester) else ()
            masked = masks.mask_points(own[index].points, _peers(item.sources, roster, me.party_id), item=index)
            answered.append(fitting_item(index, masked, reasons))
        answer = scorer._signed(query, answered, tuple(refusals))
        decisions = [Decision(each.item, ANSWERED) for each in answered]
        decisions += [Decision(each.item, each.code) for each in refusals]
        self._note(query, sorted(decisions, key=lambda each: each.item))
        self._stored[query.hash] = answer
        self._nonces[request.requester, request.nonce] = query.hash
        self._rows.append(
            {
                "request_hash": query.hash,
                "requester": request.requester,
                "nonce": request.nonce,
                "expires_at": int(request.expires_at.timestamp()),
                "answer": answer,
            }
        )
        return answer

    def _note(self, query: _Query, decisions: Iterable[Decision]) -> None:
        facts = {"requester": query.request.requester, "model_id": query.request.model_id}
        self._decided.append(Decided(query.hash, facts, tuple(decisions)))


def _answered_before(
    session: Session, requests: Mapping[bytes, ScoreRequest]
) -> tuple[dict[bytes, bytes | None], dict[tuple[str, bytes], bytes]]:
    """Answers on record of these requests, by hash, and under which hash their nonces were used."""
    requesters = {request.requester for request in requests.values()}
    nonces = [request.nonce for request in requests.values()]
    given = {"hashes": list(requests), "requesters": list(requesters), "nonces": nonces}
    rows = session.connection().execute(_BEFORE, given).all()
    stored = {row.request_hash: row.answer for row in rows if row.request_hash in requests}
    return stored, {(row.requester, row.nonce): row.request_hash for row in rows}


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
