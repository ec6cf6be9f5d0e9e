"""The local HTTP API for the owner's own systems: plain identifiers go no further than this node.

A bearer token in a file (mode 0600) opens it; by default it listens on loopback only. Errors are RFC 9457 problems.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import structlog
import uvicorn
from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from crypto.errors import CryptoError
from crypto.wire.base import ModelId
from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer
from models.errors import ModelsError
from models.i18n import catalogue, language_of, title_of
from models.ops.metrics import PROBLEMS
from models.web.observed import Observed
from models.web.openapi import REF, complete
from nodes.config import GatewayConfig
from nodes.consents import HeldConsent
from nodes.enquiries import Enquiry
from nodes.errors import ConfigError, GatewayError, NodeError, PeerError, PolicyRefusal, ScoreUnavailable
from nodes.gateway_batches import BatchDesk, batch_router
from nodes.gateway_hooks import hooks_router, load_templates
from nodes.gateway_keys import KeyedScores
from nodes.gateway_statistics import statistics_router
from nodes.joint_scores import JointScores
from nodes.keys import read_secret, write_secret
from nodes.metrics import known_code
from nodes.model_book import ListedModel
from nodes.services import Services
from nodes.threaded_server import ThreadedServer

_LOG = structlog.get_logger("nodes.gateway")
PROBLEM = "application/problem+json"
_BEARER = HTTPBearer(auto_error=False)
_STATUS = {
    "identifier-invalid": 422,
    "consent-unknown": 404,
    "model-unknown": 404,
    "score-unavailable": 409,
    "hub-unreachable": 503,
    "database-unavailable": 503,
    "store-unavailable": 503,
    "request-too-large": 413,
    "answer-expired": 410,
    "batch-invalid": 422,
    "batch-unknown": 404,
    "batch-running": 409,
    "not-found": 404,
    "consent-request-refused": 422,
    "consent-request-state": 409,
    "consent-refused": 422,
    "invitation-refused": 422,
    "ticket-unknown": 404,
    "ticket-state": 409,
}


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScoreInput(_Closed):
    """One merchant to score."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    consent_id: Annotated[str | None, Field(pattern=r"^[a-f0-9]{32}$")] = None
    purpose: Purpose = "credit-scoring"
    model_id: ModelId | None = None


class ScoreOutput(ScoreAnswer):
    """The answer, and its reasons as sentences in the language of `Accept-Language`, in the same order."""

    reason_texts: tuple[str, ...]


class ModelLine(_Closed):
    """A released model."""

    model_id: str
    campaign_id: str
    model_type: str | None
    scope: str
    usable: bool
    epsilon: float | None
    issued_at: int


class ConsentLine(_Closed):
    """A consent that names this node."""

    consent_id: str
    state: str
    purposes: list[str]
    sources: dict[str, str]
    recipients: list[str]
    valid_until: str


class Health(_Closed):
    """Whether the node can answer."""

    party_id: str
    connected: bool
    software: str


def create_gateway(services: Services, desk: BatchDesk, *, token: str, connected: Callable[[], bool]) -> FastAPI:
    """The API as an ASGI application.

    Args:
        services: the node's.
        desk: works on its batches.
        token: the bearer token.
        connected: whether the link to the hub is up.

    Raises:
        ConfigError: a template of consents cannot be used.
    """
    enquiries, models, runtime = services.enquiries, services.models, services.runtime
    party_id = runtime.config.party_id
    keyed = KeyedScores(runtime.store, enquiries, clock=runtime.clock)
    app = FastAPI(
        title="digua gateway",
        version=version("digua"),
        docs_url=None,  # interactive pages would load scripts from elsewhere
        redoc_url=None,
    )

    async def authorise(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        # In the event loop: a thread would cost more than the comparison.
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise GatewayError(
                "the bearer token is missing or wrong",
                field="Authorization",
                remedy="send the token from the gateway's token_file",
            )

    add_problems(app, party_id)
    told = runtime.config.logs is not None and runtime.config.logs.requests
    app.add_middleware(Observed, name="gateway", told=told)
    app.openapi = partial(_document_of, app)  # type: ignore[method-assign]
    closed = [Depends(authorise)]

    joint = JointScores(enquiries)

    @app.post("/score", dependencies=closed, summary="Score one merchant", response_model=ScoreOutput)
    async def score(
        body: ScoreInput,
        accept_language: Annotated[str, Header(description="zh or en")] = "en",
        idempotency_key: Annotated[str | None, Header(min_length=8, max_length=128)] = None,
    ) -> Response:
        """Score one merchant that has consented; no score without every source. At most four reasons, by turns.

        Under an Idempotency-Key the same request may be sent again: it is asked, and counted, once.
        """
        enquiry = Enquiry(body.id, body.consent_id)
        if idempotency_key is None:
            answer = await asyncio.wrap_future(joint.ask(enquiry, purpose=body.purpose, model_id=body.model_id))
        else:
            digest = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
            ask = partial(keyed.score, idempotency_key, digest, enquiry, purpose=body.purpose, model_id=body.model_id)
            answer = await run_in_threadpool(ask)
        texts = enquiries.reason_texts(answer, language_of(accept_language))
        output = ScoreOutput(**dict(answer), reason_texts=tuple(texts))
        return Response(output.model_dump_json(), media_type="application/json")

    app.include_router(batch_router(services.batches, enquiries, desk), dependencies=closed)
    own = runtime.config.gateway
    templates = load_templates({} if own is None else own.consent_templates)
    app.include_router(hooks_router(runtime, services.consent_desk, templates), dependencies=closed)
    app.include_router(statistics_router(services.statistics), dependencies=closed)

    @app.get("/models", dependencies=closed, summary="Released models")
    def list_models() -> list[ModelLine]:
        """List the models that the witness released, the newest first."""
        return [_model_line(listed) for listed in models.list()]

    @app.get("/consents", dependencies=closed, summary="A merchant's consents")
    def list_consents(merchant: Annotated[str, Query(alias="id", min_length=1, max_length=256)]) -> list[ConsentLine]:
        """List the consents of a merchant that name this node, the newest first."""
        return [_consent_line(held) for held in enquiries.consents_of(merchant)]

    @app.get("/health", summary="Is the node up?")
    def read_health() -> Health:
        """Say whether the node runs and its link is up; needs no token."""
        return Health(party_id=party_id, connected=connected(), software=f"digua-node {version('digua')}")

    return app


class Problem(BaseModel):
    """The body of every refusal."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    party: str
    field: str | None = None
    remedy: str | None = None
    refusals: dict[str, str] | None = None
    """By source, where no score came of them."""


def _document_of(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        app.openapi_schema = complete(made, Problem.model_json_schema(ref_template=REF))
    return app.openapi_schema


class GatewayServer(ThreadedServer):
    """Serves the gateway in a thread of its own, and works on its batches."""

    def __init__(self, app: FastAPI, config: GatewayConfig, desk: BatchDesk) -> None:
        super().__init__(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"),
            config.host,
            config.port,
            name="gateway",
            what="the gateway cannot listen",
            field="gateway.port",
            remedy="choose a free port and an address of this machine under gateway in the configuration",
        )
        self._address = config.host
        self._desk = desk

    def start(self) -> None:
        """Listen; raises as `ThreadedServer.start`."""
        super().start()
        self._desk.start()
        _LOG.info("gateway-up", at=self._address, port=self.port)

    def stop(self) -> None:
        """Stop listening, and batches before their next request."""
        self._desk.stop()
        super().stop()


def gateway_token(config: GatewayConfig) -> str:
    """The bearer token; a fresh one is written where the file is absent.

    Raises:
        ConfigError: the file cannot be written or read, or others may read it.
    """
    if not config.token_file.exists():
        write_secret(config.token_file, secrets.token_urlsafe(32).encode() + b"\n")
    token = read_secret(config.token_file).decode().strip()
    if len(token) < 16:
        raise ConfigError(
            f"{config.token_file} holds no token",
            field="gateway.token_file",
            remedy="delete the file; a fresh token is written at the next start",
        )
    return token


def problem_document(error: BaseException, *, party_id: str, lang: str) -> tuple[int, dict[str, Any]]:
    """An error as status and RFC 9457 problem; internals are not told."""
    if not isinstance(error, (CryptoError, ModelsError, NodeError)):
        title = "The node failed"
        return 500, _document(500, "node-failed", title, "see the node's own log", None, None, party_id)
    code, party = error.code, party_id
    if isinstance(error, PolicyRefusal):
        code = error.reason
    elif isinstance(error, PeerError):
        code, party = error.peer_code or code, error.party
    status = 401 if isinstance(error, GatewayError) and error.field == "Authorization" else _status(error, code)
    title = title_of(code, lang, catalogue("nodes")) or title_of(error.code, lang, catalogue("nodes")) or code
    document = _document(status, code, title, error.message, error.field, error.remedy, party)
    if isinstance(error, ScoreUnavailable):
        document["refusals"] = error.refusals
    return status, document


def _status(error: CryptoError | ModelsError | NodeError, code: str) -> int:
    if code in _STATUS:
        return _STATUS[code]
    own = getattr(error, "status", None)  # those of the pages have theirs
    if isinstance(own, int):
        return own
    if isinstance(error, PolicyRefusal):
        return 403
    if isinstance(error, PeerError):
        return 502
    return 400 if isinstance(error, GatewayError) else 500


def _document(
    status: int, code: str, title: str, detail: str, field: str | None, remedy: str | None, party: str
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": f"urn:digua:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "party": party,
    }
    document.update({name: value for name, value in (("field", field), ("remedy", remedy)) if value})
    return document


def add_problems(app: FastAPI, party_id: str) -> None:
    """Answer every error of an application with a problem (RFC 9457)."""

    def answer(request: Request, error: BaseException, headers: dict[str, str] | None = None) -> JSONResponse:
        lang = language_of(request.headers.get("Accept-Language", "en"))
        status, document = problem_document(error, party_id=party_id, lang=lang)
        PROBLEMS.labels("node", known_code(str(document["code"]))).inc()
        return JSONResponse(document, status, media_type=PROBLEM, headers=headers)

    async def malformed(request: Request, error: Exception) -> JSONResponse:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "malformed"}
        field = ".".join(str(part) for part in first["loc"]) or "body"
        refusal = GatewayError(f"{field}: {first['msg']}", field=field, remedy="see /openapi.json for the API's shape")
        return answer(request, refusal)

    async def no_such(request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 404
        document = _document(status, "not-found", "Not found", f"{request.url.path} is not here", None, None, party_id)
        return JSONResponse(document, status, media_type=PROBLEM)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, (CryptoError, ModelsError, NodeError)):
            _LOG.error("unforeseen-error", exc_info=error)
        needs_token = isinstance(error, GatewayError) and error.field == "Authorization"
        return answer(request, error, {"WWW-Authenticate": "Bearer"} if needs_token else None)

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
        RequestValidationError: malformed,
        HTTPException: no_such,
        CryptoError: refused,
        ModelsError: refused,
        NodeError: refused,
        Exception: refused,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _model_line(listed: ListedModel) -> ModelLine:
    artefact = listed.artefact
    return ModelLine(
        model_id=listed.model_id,
        campaign_id=listed.campaign_id,
        model_type=None if artefact is None else artefact.model_type,
        scope=listed.scope,
        usable=listed.usable,
        epsilon=None if artefact is None else artefact.privacy.epsilon,
        issued_at=listed.issued_at,
    )


def _consent_line(held: HeldConsent) -> ConsentLine:
    record = held.record
    return ConsentLine(
        consent_id=record.record_id,
        state=held.state,
        purposes=list(record.purposes),
        sources=record.sources,
        recipients=list(record.recipients),
        valid_until=record.valid_until.isoformat(),
    )
