"""The requester's side of a scoring query (docs/protocol.md, 7): signed, verified, opened and summed here alone.

A1  One signed request for each distinct set of sources that the consents of up to 500 merchants name for the model's
    kinds: every source receives a request whole, and must not hear of merchants in whom it has no part.
A2  Every answer verifies under its source's key of the cosigned roster, is about this request, and opens with this
    node's box key.
A3  A merchant's masked points are added up over **all** its sources, with the public absent points of kinds for which
    the consent names nobody. Any source missing means no score for that merchant, never fewer sources.
    A source that was away for a moment is asked again, with the same request: it counts as one use, and the sources
    that answered give the same bytes.
A4  The query's log entry is proved: its leaf, the inclusion proof, and a checkpoint that hub and witness both signed.
    Without that proof no score is handed out: a query that nobody could ever audit does not count as answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import TypeAlias

from pydantic import ValidationError
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential_jitter

from crypto.canonical import digest
from crypto.errors import CryptoError, ProofError, SignatureError
from crypto.jws import parse_canonical, peek_kid, sign_model, verify_model
from crypto.keys import BoxKey, Signer
from crypto.sealed import open_sealed
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentRecord, Purpose
from crypto.wire.scoring import (
    AnswerBody,
    QueryResult,
    ScoreAnswer,
    ScoreItem,
    ScoreRequest,
    SourceAnswer,
)
from nodes.clock import Clock, system_clock
from nodes.errors import NodeError, PeerError, PolicyRefusal
from nodes.hub_client import HUB, JOSE, HubClient
from nodes.journal import Fact, Journal
from nodes.model_book import BookedModel
from nodes.policy import MIN_OTHER_SOURCES
from nodes.query_proofs import check_query_proof
from nodes.roster import RosterBook
from nodes.score_totals import FAILED, Opened, totals
from nodes.scoring import ANSWER_TYPE, REQUEST_TYPE, answer_context

MAX_ITEMS = 500
LIFETIME = timedelta(minutes=5)
QUERY_SENT, QUERY_ENDED = "query-sent", "query-ended"
"""Notes of the journal: a request that goes out, for the first time or again, and what came of it. The owner's own
account of its queries: merchants, how many have a score, and how often each code of a refusal."""
CODE = "code:"
"""Before a refusal's code in the facts of `QUERY_ENDED`; the fact is how many merchants it met."""
RETRY_SECONDS = 3.0
MOMENTARY = frozenset({"source-unreachable", "feed-stale"})
"""Refusals whose cause may be gone in a moment."""

Received: TypeAlias = Callable[[ScoreRequest, Sequence[ScoreAnswer]], Callable[[Session], object]]
"""What is to be written before answers are handed out, with the note that they came."""


def _nothing(_request: ScoreRequest, _answers: Sequence[ScoreAnswer]) -> Callable[[Session], object]:
    return lambda _session: None


@dataclass(frozen=True)
class Query:
    """One merchant to ask about, under a consent that names this node as a recipient."""

    pseudonym: bytes
    consent: ConsentRecord


@dataclass(frozen=True)
class Prepared:
    """A signed request about some of the merchants asked for; `places` are theirs, in order of its items."""

    token: str
    places: tuple[int, ...]
    request: ScoreRequest

    @property
    def expires_at(self) -> datetime:
        """When it ends."""
        return self.request.expires_at


class Requester:
    """Asks for scores through the hub, which sees none."""

    def __init__(
        self,
        *,
        party_id: str,
        identity: Signer,
        box: BoxKey,
        roster: RosterBook,
        hub: HubClient,
        journal: Journal,
        clock: Clock = system_clock,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._party_id = party_id
        self._identity = identity
        self._box = box
        self._roster = roster
        self._hub = hub
        self._journal = journal
        self._clock = clock
        self._retry_seconds = retry_seconds

    def prepare(self, queries: Sequence[Query], *, purpose: Purpose, model: BookedModel) -> list[Prepared]:
        """A1: signed requests, to be kept before they are sent: whoever sends one again asks nothing anew.

        Raises:
            PolicyRefusal: no merchants or too many, or a consent leaves fewer than two sources besides this node.
        """
        made = []
        for places in self._groups(queries, model):
            request = self._request([queries[place] for place in places], purpose, model)
            token = sign_model(request, self._identity, typ=REQUEST_TYPE, kid=self._party_id)
            made.append(Prepared(token, tuple(places), request))
        return made

    def send(self, token: str, model: BookedModel, *, received: Received = _nothing) -> list[ScoreAnswer]:
        """A2–A4 for a request that `prepare` made, in order of its items; the same request may be sent again.

        Args:
            received: notes, in the transaction that notes the end, which scores were received.

        Raises:
            PeerError: the hub refused it as a whole (`answer-expired`: it is too old), or is out of reach.
            ProofError: the hub did not prove that the queries are logged.
        """
        request = verify_model(token, self._identity.public, ScoreRequest, typ=REQUEST_TYPE, kid=self._party_id)
        return self._send(token, request, model, received)

    def send_prepared(
        self, prepared: Prepared, model: BookedModel, *, received: Received = _nothing
    ) -> list[ScoreAnswer]:
        """As `send`, for a request that this process signed and nobody else could touch since."""
        return self._send(prepared.token, prepared.request, model, received)

    def _send(self, token: str, request: ScoreRequest, model: BookedModel, received: Received) -> list[ScoreAnswer]:
        request_hash = digest(token.encode())
        items = len(request.items)
        facts: dict[str, Fact] = {
            "request_hash": request_hash.hex(),
            "items": items,
            "model_id": model.model_id,
            "purpose": request.purpose,
        }
        self._journal.note(QUERY_SENT, facts)
        retrying = Retrying(
            retry=retry_if_result(_worth_another_try),
            stop=stop_after_delay(min(self._retry_seconds, self._seconds_left(request))),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
            retry_error_callback=lambda state: None if state.outcome is None else state.outcome.result(),
        )
        try:
            answers: list[ScoreAnswer] = retrying(self._send_once, token, request, request_hash, model)
        except (CryptoError, NodeError) as refusal:
            code = (refusal.peer_code if isinstance(refusal, PeerError) else None) or refusal.code
            self._journal.note(QUERY_ENDED, {**facts, "scored": 0, f"{CODE}{code}": items})
            raise
        keep = received(request, answers)
        self._journal.note(QUERY_ENDED, {**facts, **_ended(answers)}, also=keep)  # before anybody sees them
        return answers

    def _groups(self, queries: Sequence[Query], model: BookedModel) -> list[list[int]]:
        """A1: places of queries with the same sources, in order of the first of each."""
        if not 1 <= len(queries) <= MAX_ITEMS:
            raise PolicyRefusal(
                "request-too-large",
                f"{len(queries)} merchants in one request",
                field="items",
                remedy=f"ask about 1 to {MAX_ITEMS} merchants at a time",
            )
        groups: dict[frozenset[str], list[int]] = {}
        for place, query in enumerate(queries):
            groups.setdefault(frozenset(self._sources(query.consent, model).values()), []).append(place)
        return list(groups.values())

    def _send_once(
        self, token: str, request: ScoreRequest, request_hash: bytes, model: BookedModel
    ) -> list[ScoreAnswer]:
        result = _parsed(self._hub.request("POST", "/v1/queries", token.encode(), media=JOSE))
        if result.request_hash != request_hash or len(result.proofs) != len(request.items):
            raise ProofError(
                "the hub answered another request, or left out proofs",
                field="proofs",
                remedy="ask again; if it recurs, report it to the witness's owner",
            )
        for place, proof in enumerate(result.proofs):
            check_query_proof(proof, request, place, request_hash, self._roster)
        opened = self._open_all(result, request, request_hash)
        return totals(model, request, opened, result.proofs)

    def _seconds_left(self, request: ScoreRequest) -> float:
        return max(0.0, (request.expires_at - self._clock()).total_seconds())

    def check(self, query: Query, model: BookedModel) -> None:
        """Refuse what could never be asked.

        Raises:
            PolicyRefusal: the consent leaves fewer than two sources besides this node.
        """
        self._sources(query.consent, model)

    def _request(self, queries: Sequence[Query], purpose: Purpose, model: BookedModel) -> ScoreRequest:
        """A1."""
        now = self._clock()
        return ScoreRequest(
            suite=SUITE,
            requester=self._party_id,
            purpose=purpose,
            model_id=model.model_id,
            nonce=token_bytes(16),
            issued_at=now,
            expires_at=now + LIFETIME,
            items=tuple(
                ScoreItem(
                    pseudonym=query.pseudonym,
                    consent_id=query.consent.record_id,
                    sources=self._sources(query.consent, model),
                )
                for query in queries
            ),
        )

    def _sources(self, consent: ConsentRecord, model: BookedModel) -> dict[str, str]:
        sources = {kind: consent.sources[kind] for kind in model.card.kinds if kind in consent.sources}
        if len(set(sources.values()) - {self._party_id}) < MIN_OTHER_SOURCES:
            raise PolicyRefusal(
                "too-few-sources",
                f"consent {consent.record_id} leaves fewer than two sources besides {self._party_id}",
                field="consent_id",
                remedy="ask the merchant for a consent that names more sources; a single source's points would show",
            )
        return sources

    def _open_all(self, result: QueryResult, request: ScoreRequest, request_hash: bytes) -> dict[str, Opened]:
        """A2, by source; a source that is named and gave nothing is missing."""
        opened = {failure.source: Opened({}, {}, failure.code) for failure in result.failures}
        for token in result.answers:
            try:
                source = peek_kid(token, typ=ANSWER_TYPE)
            except CryptoError:
                continue  # its source is unknown, so that source stays without an answer
            try:
                opened[source] = self._open(token, source, request, request_hash)
            except (CryptoError, NodeError):
                opened[source] = Opened({}, {}, FAILED)
        return opened

    def _open(self, token: str, source: str, request: ScoreRequest, request_hash: bytes) -> Opened:
        party = self._roster.party(source)
        answer = verify_model(token, party.sign_key, SourceAnswer, typ=ANSWER_TYPE, kid=source)
        if answer.request_hash != request_hash or answer.source != source:
            raise _inconsistent("the answer is to another request")
        body = open_sealed(answer.sealed, self._box, context=answer_context(request_hash, source))
        items = parse_canonical(body.rstrip(b" "), AnswerBody).items
        places = [each.item for each in items]
        due = [place for place, item in enumerate(request.items) if source in item.sources.values()]
        refusals = {each.item: str(each.code) for each in answer.refusals}
        if tuple(places) != answer.answered or len(set(places)) != len(places) or not set(due) <= {*places, *refusals}:
            raise _inconsistent("the answer is not about the items of the request")
        return Opened({each.item: each for each in items}, refusals)


def _ended(answers: Sequence[ScoreAnswer]) -> dict[str, int]:
    """Merchants with a score, and those of each code; a merchant refused by several sources counts once."""
    refused = Counter(next(iter(each.refusals.values()), FAILED) for each in answers if each.score is None)
    scored = sum(each.score is not None for each in answers)
    return {"scored": scored, **{f"{CODE}{code}": number for code, number in sorted(refused.items())}}


def _worth_another_try(answers: list[ScoreAnswer]) -> bool:
    return any(code in MOMENTARY for answer in answers for code in answer.refusals.values())


def _parsed(body: bytes) -> QueryResult:
    try:
        return QueryResult.model_validate_json(body)
    except ValidationError as problem:
        raise PeerError(
            HUB,
            "the hub's answer is no QueryResult",
            peer_code="hub-answer-malformed",
            remedy="check that hub.url is a digua hub of this version",
        ) from problem


def _inconsistent(what: str) -> SignatureError:
    return SignatureError(what, field="answer", remedy="report the source to the witness's owner")
