"""A hub that relays in this process: VOPRF, models, queries, and a log that the witness cosigns. Tests may bend it."""

from __future__ import annotations

import hashlib
import secrets
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx

from crypto.canonical import canonical_bytes, digest
from crypto.checkpoint import Checkpoint, assemble, sign_note
from crypto.jws import sign_model
from crypto.merkle import consistency_proof, inclusion_proof, leaf_hash
from crypto.merkle import root as tree_root
from crypto.wire.audit import CheckpointCosignature, CheckpointOffer, InclusionProof, LogEntry
from crypto.wire.base import SUITE
from crypto.wire.consent import Acknowledgement, ArtefactKind, ConsentReceipt, ConsentSubmission, SubmissionReceipt
from crypto.wire.deletion import DeletionReport, DeletionSubmission
from crypto.wire.party import MerchantKeySubmission, VoprfAnswer, VoprfRequest
from crypto.wire.scoring import QueryResult, ScoreRequest, SourceFailure
from nodes.errors import NodeError, PolicyRefusal

if TYPE_CHECKING:
    from tests.scoring_world import ScoringWorld

ORIGIN = "hub.example/log"


def payload_of(token: str | bytes) -> bytes:
    """A token's payload, nothing verified."""
    part = (token if isinstance(token, str) else token.decode()).split(".")[1]
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


class Relay:
    """The hub's part: VOPRF, models, queries and a log that the witness cosigns. Tests may bend it."""

    def __init__(self, world: ScoringWorld) -> None:
        self.world = world
        self.models: dict[str, bytes] = {}
        self.tables: dict[str, bytes] = {}
        """Path → the noisy table of a model."""
        self.submissions: list[MerchantKeySubmission] = []
        self.deletions: list[DeletionReport] = []
        """Statements as they came; nothing is verified."""
        self.unreachable = False
        """For statements of deletion."""
        self.leaves: list[bytes] = []
        self.lost: set[str] = set()
        self.retoken: Callable[[str, str], str] = lambda source, token: token
        self.reanswer: Callable[[str, str], str] = lambda source, answer: answer
        self.refuse: Callable[[ScoreRequest], bool] = lambda request: False
        self.before: Callable[[ScoreRequest], httpx.Response | None] = lambda request: None
        """Called with each query that comes in; what it answers or raises the requester's HTTP client gets."""
        self.after: Callable[[ScoreRequest], None] = lambda request: None
        """Called when a query is answered and its answer has not left yet."""
        self.reproof: Callable[[InclusionProof], InclusionProof] = lambda proof: proof
        self.seen: list[tuple[str, ScoreRequest]] = []
        """Source and request, as they were forwarded."""
        self._logged: dict[bytes, int] = {}
        self._turn = threading.RLock()
        """One query at a time, after `before`; tests may send others meanwhile."""
        self._cosigned = 0
        self._note = ""

    def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v1/voprf":
            return self._voprf(request.content)
        if path == "/v1/queries":
            return self._query(request.content.decode())
        if path == "/v1/merchant-keys":
            self.submissions.append(MerchantKeySubmission.model_validate_json(request.content))
            return httpx.Response(201, json={"batch_id": "x", "stored": 1})
        if path == "/v1/deletions":
            return self._deletions(DeletionSubmission.model_validate_json(request.content))
        if path in ("/v1/consents", "/v1/consent-events"):
            return self._acknowledge(path, ConsentSubmission.model_validate_json(request.content))
        if path in self.tables:
            return httpx.Response(200, content=self.tables[path])
        model_id = path.removeprefix("/v1/models/")
        if model_id in self.models:
            return httpx.Response(200, content=self.models[model_id])
        return httpx.Response(404, json={"code": "not-found", "title": "Not found"})

    def _deletions(self, submission: DeletionSubmission) -> httpx.Response:
        if self.unreachable:
            raise httpx.ConnectError("out of reach")
        self.deletions += submission.reports
        return httpx.Response(201, json={"stored": len(submission.reports), "known": 0})

    def _acknowledge(self, path: str, submission: ConsentSubmission) -> httpx.Response:
        """Log entries and receipts; nothing is verified, stored or fed."""
        kind: ArtefactKind = "consent" if path == "/v1/consents" else "consent-event"
        receipts = []
        for token in submission.tokens:
            salt, payload = secrets.token_bytes(16), hashlib.sha256(payload_of(token)).digest()
            facts: dict[str, str | int | bool | None] = {"artefact": hashlib.sha256(salt + payload).hexdigest()}
            entry = LogEntry(type=kind, time=self.world.now, actor="hub", subject=bytes(32), facts=facts)
            self.leaves.append(canonical_bytes(entry))
            receipt = ConsentReceipt(
                suite=SUITE,
                kind=kind,
                sha256=payload,
                leaf=leaf_hash(self.leaves[-1]),
                parties=("bank-01",),
                time=self.world.now,
            )
            signed = sign_model(receipt, self.world.hub_key, typ="consent-receipt", kid="hub")
            receipts.append(Acknowledgement(receipt=signed, entry=self.leaves[-1].decode(), salt=salt))
        answer = SubmissionReceipt(stored=len(receipts), known=0, receipts=tuple(receipts))
        return httpx.Response(201, content=answer.model_dump_json().encode())

    def _voprf(self, token: bytes) -> httpx.Response:
        request = VoprfRequest.model_validate_json(payload_of(token))
        if request.target == "witness":
            try:
                answer = self.world.witness.handlers["voprf"](token)
            except NodeError as problem:
                code = problem.reason if isinstance(problem, PolicyRefusal) else problem.code
                return httpx.Response(403, json={"code": code, "detail": problem.message, "party": "witness"})
            return httpx.Response(200, content=answer)
        evaluated = self.world.hub_voprf.evaluate(list(request.blinded))
        answer = canonical_bytes(VoprfAnswer(evaluated=evaluated, remaining=1))
        return httpx.Response(200, content=answer)

    def _query(self, token: str) -> httpx.Response:
        request = ScoreRequest.model_validate_json(payload_of(token))
        request_hash = digest(token.encode())
        failure = self.before(request)
        if failure is not None:
            return failure
        with self._turn:
            return self._answered(token, request, request_hash)

    def _answered(self, token: str, request: ScoreRequest, request_hash: bytes) -> httpx.Response:
        if self.refuse(request):
            return httpx.Response(422, json={"code": "query-refused", "title": "Refused"})
        if self.world.now >= request.expires_at:
            code = "answer-expired" if request_hash in self._logged else "request-expired"
            return httpx.Response(410, json={"code": code, "title": "Too late"})
        first = self._log(request, request_hash)
        answers: list[str] = []
        failures: list[SourceFailure] = []
        for source in sorted({party for item in request.items for party in item.sources.values()}):
            if source in self.lost:
                failures.append(SourceFailure(source=source, code="source-unreachable"))
                continue
            self.seen.append((source, request))
            try:
                answer = self.world.answer(source, self.retoken(source, token)).decode()
            except PolicyRefusal as refusal:
                failures.append(SourceFailure(source=source, code=refusal.reason))
                continue
            answers.append(self.reanswer(source, answer))
        result = QueryResult(
            request_hash=request_hash,
            answers=tuple(answers),
            failures=tuple(failures),
            proofs=tuple(self.reproof(self.proof(place)) for place in range(first, first + len(request.items))),
        )
        self.after(request)
        return httpx.Response(200, content=result.model_dump_json().encode())

    def _log(self, request: ScoreRequest, request_hash: bytes) -> int:
        """One entry an item, once; the index of the first."""
        if request_hash in self._logged:
            return self._logged[request_hash]
        self._logged[request_hash] = len(self.leaves)
        for place, item in enumerate(request.items):
            entry = LogEntry(
                type="query",
                time=self.world.now,
                actor=request.requester,
                subject=bytes(32),
                facts={
                    "request_hash": request_hash.hex(),
                    "item": place,
                    "model_id": request.model_id,
                    "sources": ",".join(sorted(set(item.sources.values()))),
                },
            )
            self.leaves.append(canonical_bytes(entry))
        return self._logged[request_hash]

    def proof(self, index: int) -> InclusionProof:
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        return InclusionProof(
            index=index,
            entry=self.leaves[index].decode(),
            hashes=tuple(inclusion_proof(index, hashes)),
            checkpoint=self.checkpoint(),
        )

    def checkpoint(self) -> str:
        """A note over all leaves, cosigned by the witness after its own check."""
        hashes = [leaf_hash(leaf) for leaf in self.leaves]
        if self._cosigned < len(hashes):
            body = Checkpoint(ORIGIN, len(hashes), tree_root(hashes)).body()
            own = sign_note(body, ORIGIN, self.world.hub_key)
            offer = CheckpointOffer(
                old_size=self._cosigned,
                proof=tuple(consistency_proof(self._cosigned, hashes)),
                note=assemble(body, [own]),
            )
            answer = self.world.witness.handlers["cosign-checkpoint"](canonical_bytes(offer))
            line = CheckpointCosignature.model_validate_json(answer).line
            assert line is not None
            self._cosigned = len(hashes)
            self._note = assemble(body, [own, line])
        return self._note
