"""Scoring queries: checked, logged, forwarded to every named source at once, answered with their proofs (7).

Q1  The request is verified by the requester's key on the cosigned roster, and checked (`hub.query_checks`).
Q2  One log entry per item is committed, with the request, before any source sees it.
Q3  The request goes to each distinct source over the connection that the source opened, all at the same time. A source
    that gives no answer is named; there are never fewer sources instead.
Q4  What came back is verified as far as it is public (signature, request, source), logged by hash and stored.
Q5  The reply carries the inclusion proofs of the query entries under a cosigned checkpoint.

The hub never sees a score: answers are sealed to the requester, and masked so that only all of them together sum up.

The same request again, before it expires, gets the same answers; only sources that failed or refused are asked again
(they answer the same hash with the same bytes, and count it once). So a consent to a single query survives a source
that was away for a moment. After expiry nothing is answered and answers are deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.errors import CryptoError
from crypto.jws import peek_kid, peek_payload, verify_model
from crypto.wire.party import Party
from crypto.wire.scoring import QueryForward, QueryResult, ScoreRequest, SourceAnswer, SourceFailure
from hub.clock import Clock, seconds
from hub.consents import Consents
from hub.db import Database
from hub.errors import PartyUnknownError, PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from hub.log import AuditLog, Fact, NewEntry
from hub.model_errors import ModelNotReleasedError, ModelRolledBackError
from hub.models import RELEASED, ModelRegistry
from hub.peers import PeerLinks
from hub.query_checks import check_items, check_times
from hub.query_errors import AnswerExpiredError, NonceReusedError, QueryRefusedError
from hub.roster import RosterKeeper
from hub.tables.queries import QueryRow

PROOF_TIMEOUT_S = 20.0
ANSWERED = "answered"
KEPT_S = 300
"""How long after its expiry a request is remembered, without being answered."""

_logger = structlog.get_logger("hub.queries")
_KNOWN = select(QueryRow.request_hash, QueryRow.expires_at, QueryRow.log_ids, QueryRow.result).where(
    QueryRow.request_hash == bindparam("of")
)
_USED = select(QueryRow.request_hash).where(QueryRow.requester == bindparam("by"), QueryRow.nonce == bindparam("once"))
_ADD = insert(QueryRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_ANSWER = update(QueryRow).where(QueryRow.request_hash == bindparam("of")).values(result=bindparam("text"))
_FORGET = delete(QueryRow).where(QueryRow.expires_at < bindparam("end"))


@dataclass(frozen=True)
class _Asked:
    """A verified request on its way."""

    token: str
    hash: bytes
    request: ScoreRequest
    log_ids: tuple[int, ...]
    earlier: QueryResult | None
    """What sources answered before, without proofs."""
    fresh: bool = False
    """Whether it came for the first time."""


class _CameAtOnceError(Exception):
    """The same request came to another process at the same time, which accepted it first."""


class Queries:
    """Relays scoring requests.

    Args:
        db, log, roster, consents, models, clock: the hub's.
        hub_id: the actor of results in the log.
        links: gives the links when they are needed.
        timeout_s: how long a source may take.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        roster: RosterKeeper,
        consents: Consents,
        models: ModelRegistry,
        *,
        hub_id: str,
        clock: Clock,
        links: Callable[[], PeerLinks],
        timeout_s: float = 10.0,
    ) -> None:
        self._db = db
        self._log = log
        self._roster = roster
        self._consents = consents
        self._models = models
        self._hub_id = hub_id
        self._clock = clock
        self._links = links
        self._timeout_s = timeout_s
        self._running: dict[bytes, asyncio.Task[QueryResult]] = {}
        self._forgotten_at = 0

    async def ask(self, token: str) -> QueryResult:
        """Q1 to Q5 for one JWS `score-request`.

        Raises:
            PartyUnknownError, SignatureError: the signer is not on the cosigned roster, or did not sign.
            QueryRefusedError: the request is refused before any source sees it; its subclasses say why.
            ModelNotReleasedError: the witness has not released the model.
            CheckpointNotCosignedError: the entries are written and the sources have answered, but the witness has
                cosigned no checkpoint; the same request again gets the answers.
        """
        request_hash = hashlib.sha256(token.encode()).digest()
        task = self._running.get(request_hash)
        if task is None:
            task = asyncio.create_task(self._run(token, request_hash))
            self._running[request_hash] = task
            task.add_done_callback(lambda _: self._running.pop(request_hash, None))
        # The caller may go away; what was logged and asked is carried to its end.
        return await asyncio.shield(task)

    async def _run(self, token: str, request_hash: bytes) -> QueryResult:
        seen = self._log.generation
        asked = await asyncio.to_thread(self._accept, token, request_hash)
        forwarding = asyncio.create_task(self._forward(asked))
        try:
            # Entries of a request that came before may lie under a checkpoint that was cosigned long ago.
            proofs = await self._log.proofs(asked.log_ids, PROOF_TIMEOUT_S, seen=seen if asked.fresh else None)
        finally:
            await asyncio.wait([forwarding])
        answers = forwarding.result()
        return answers.model_copy(update={"proofs": tuple(proofs)})

    def _accept(self, token: str, request_hash: bytes) -> _Asked:
        """Q1, Q2."""
        requester = self._roster.party(peek_kid(token, typ="score-request"))
        request = verify_model(token, requester.sign_key, ScoreRequest, typ="score-request", kid=requester.party_id)
        if request.requester != requester.party_id:
            raise QueryRefusedError(
                "The request names another requester than its signer.", field="requester", remedy="Sign your own."
            )
        now = self._clock()
        with self._db.reading() as session:
            row = session.connection().execute(_KNOWN, {"of": request_hash}).first()
            status = self._models.status(request.model_id, session=session)
            consents = self._consents.records((item.consent_id for item in request.items), session=session)
        if row is not None:
            return _again(token, request, row, seconds(now))
        check_times(request, now)
        if status == "rolled-back":
            raise ModelRolledBackError(
                "The witness rolled this model back: another version of its line is used instead.",
                field="model_id",
                remedy="Take the current one; see GET /v1/models.",
            )
        if status not in RELEASED:
            raise ModelNotReleasedError(
                "The witness has not released this model, or withdrew it.",
                field="model_id",
                remedy="Take a released model; see GET /v1/models.",
            )
        check_items(request, consents, self._parties())

        def keep(session: Session, log_ids: Sequence[int]) -> None:
            connection, at = session.connection(), seconds(now)
            if self._forgotten_at != at:  # once a second
                connection.execute(_FORGET, {"end": at - KEPT_S})
                self._forgotten_at = at
            before = connection.scalar(_USED, {"by": request.requester, "once": request.nonce})
            if before == request_hash:
                raise _CameAtOnceError
            if before is not None:
                raise NonceReusedError(
                    "The nonce was used in another request.", field="nonce", remedy="Use a fresh nonce."
                )
            connection.execute(
                _ADD,
                {
                    "request_hash": request_hash,
                    "requester": request.requester,
                    "nonce": request.nonce,
                    "expires_at": seconds(request.expires_at),
                    "log_ids": json.dumps(log_ids),
                },
            )

        try:
            log_ids = self._log.append_durably(_entries(request, request_hash), keep)
        except _CameAtOnceError:
            with self._db.reading() as session:
                known = session.connection().execute(_KNOWN, {"of": request_hash}).one()
                return _again(token, request, known, seconds(now))
        return _Asked(token, request_hash, request, tuple(log_ids), None, fresh=True)

    def _parties(self) -> dict[str, Party]:
        return {party.party_id: party for party in self._roster.members()}

    async def _forward(self, asked: _Asked) -> QueryResult:
        """Q3, Q4."""
        complete = dict(_complete(asked.earlier)) if asked.earlier else {}
        sources = sorted({party for item in asked.request.items for party in item.sources.values()} - set(complete))
        if asked.earlier is not None and not sources:
            return asked.earlier
        body = canonical_bytes(QueryForward(request=asked.token))
        replies = await asyncio.gather(*(self._ask(source, body) for source in sources))
        return await asyncio.to_thread(self._settle, asked, complete, dict(zip(sources, replies, strict=True)))

    def _settle(
        self, asked: _Asked, complete: Mapping[str, str], replies: Mapping[str, bytes | SourceFailure]
    ) -> QueryResult:
        """Q4: verify what came, and store it with what came before."""
        verified = [self._checked(source, reply, asked.hash) for source, reply in replies.items()]
        result = QueryResult(
            request_hash=asked.hash,
            answers=(*complete.values(), *(reply for reply in verified if isinstance(reply, str))),
            failures=tuple(reply for reply in verified if isinstance(reply, SourceFailure)),
            proofs=(),
        )
        self._store(asked, result)
        return result

    async def _ask(self, source: str, body: bytes) -> bytes | SourceFailure:
        try:
            return await self._links().request_async(source, "query", body, self._timeout_s)
        except (PeerUnreachable, PeerTimeout) as error:
            return SourceFailure(source=source, code="source-unreachable", detail=error.message[:200])
        except PeerRefused as error:
            return SourceFailure(source=source, code=error.problem.code, detail=error.problem.detail[:200])
        except PeerError as error:
            return _failed(source, error)

    def _checked(self, source: str, reply: bytes | SourceFailure, request_hash: bytes) -> str | SourceFailure:
        if isinstance(reply, SourceFailure):
            return reply
        try:
            return self._verify(source, reply, request_hash)
        except (PeerError, CryptoError, PartyUnknownError) as error:
            return _failed(source, error)

    def _verify(self, source: str, reply: bytes, request_hash: bytes) -> str:
        """Q4: the answer is this source's, to this request; what is sealed in it only the requester can open."""
        token = reply.decode("ascii", "replace")
        key = self._roster.party(source).sign_key
        answer = verify_model(token, key, SourceAnswer, typ="score-answer", kid=source)
        if (answer.source, answer.request_hash) != (source, request_hash):
            raise PeerError("The answer is to another request.", party=source)
        return token

    def _store(self, asked: _Asked, result: QueryResult) -> None:
        """Q4; each merchant's own record says what came of its item, source by source."""
        facts: dict[str, Fact] = {
            "request_hash": result.request_hash.hex(),
            "answers": len(result.answers),
            "failures": len(result.failures),
            "answers_sha256": hashlib.sha256("\n".join(sorted(result.answers)).encode()).hexdigest(),
        }
        text = result.model_dump_json()
        said = (json.dumps(each, sort_keys=True) for each in _outcomes(result, len(asked.log_ids)))
        outcomes = dict(zip(asked.log_ids, said, strict=True))

        def keep(session: Session, _log_ids: Sequence[int]) -> None:
            session.connection().execute(_ANSWER, {"of": result.request_hash, "text": text})
            self._log.note_outcomes(session, outcomes)

        self._log.append_durably([NewEntry("query-result", self._hub_id, facts=facts)], keep)


def _failed(source: str, error: PeerError | CryptoError | PartyUnknownError) -> SourceFailure:
    _logger.warning("source-failed", party=source, code=error.code, reason=error.message)
    return SourceFailure(source=source, code="source-failed", detail=error.message[:200])


def _again(token: str, request: ScoreRequest, row: Row[*tuple[Any, ...]], now: int) -> _Asked:
    if now >= row.expires_at:
        raise AnswerExpiredError(
            "The request has expired and its answers are no longer given.",
            field="expires_at",
            remedy="Sign a new request.",
        )
    earlier = None if row.result is None else QueryResult.model_validate_json(row.result)
    return _Asked(token, row.request_hash, request, tuple(json.loads(row.log_ids)), earlier)


def _outcomes(result: QueryResult, items: int) -> list[dict[str, str]]:
    """By item: what each source made of it, `answered` or a code."""
    found: list[dict[str, str]] = [{each.source: each.code for each in result.failures} for _ in range(items)]
    for token in result.answers:
        answer = SourceAnswer.model_validate_json(peek_payload(token))
        said = dict.fromkeys(answer.answered, ANSWERED) | {each.item: str(each.code) for each in answer.refusals}
        for item, code in said.items():
            if 0 <= item < items:
                found[item][answer.source] = code
    return found


def _complete(result: QueryResult) -> Iterator[tuple[str, str]]:
    """Yield source and token of answers without any refusal; they were verified before they were stored."""
    for token in result.answers:
        answer = SourceAnswer.model_validate_json(peek_payload(token))
        if not answer.refusals:
            yield answer.source, token


def _entries(request: ScoreRequest, request_hash: bytes) -> list[NewEntry]:
    """Q2: one entry an item; `sources` lets an auditor reconcile it with each source's own journal.

    The consent's id enters as a commitment only; the request's hash binds it for whoever has the request.
    """
    return [
        NewEntry(
            "query",
            request.requester,
            item.pseudonym,
            {
                "request_hash": request_hash.hex(),
                "item": place,
                "model_id": request.model_id,
                "purpose": request.purpose,
                "sources": ",".join(sorted(set(item.sources.values()))),
            },
            {"consent": item.consent_id.encode()},
        )
        for place, item in enumerate(request.items)
    ]
