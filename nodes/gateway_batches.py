"""Batches over the gateway: handed in, watched, fetched as CSV; asked in the background by the running node."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from crypto.errors import CryptoError
from crypto.wire.base import ModelId
from crypto.wire.consent import Purpose
from models.errors import ModelsError
from models.i18n import language_of
from models.web.begun import begun
from models.web.openapi import REF
from nodes.batch_book import BatchProgress
from nodes.batch_files import read_rows, result_lines
from nodes.batches import Batches
from nodes.enquiries import Enquiries, Enquiry, Outcome
from nodes.errors import BatchBusy, GatewayError, NodeError, PolicyRefusal

_LOG = structlog.get_logger("nodes.gateway_batches")
_PAUSE_SECONDS = 5.0
MAX_BODY = 64 << 20
CSV = "text/csv"
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=8, max_length=128)]
Languages = Annotated[str, Header(alias="Accept-Language", description="zh or en")]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BatchItem(_Closed):
    """One merchant of a batch."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    consent_id: Annotated[str | None, Field(pattern=r"^[a-f0-9]{32}$")] = None


class BatchInput(_Closed):
    """Merchants to score."""

    items: Annotated[list[BatchItem], Field(min_length=1)]
    purpose: Purpose = "credit-scoring"
    model_id: ModelId | None = None


class BatchStatus(_Closed):
    """How far a batch is."""

    batch_id: str
    state: str
    model_id: str
    purpose: str
    total: int
    done: int
    scored: int
    refused: dict[str, int]
    created_at: int
    finished_at: int | None

    @classmethod
    def of(cls, progress: BatchProgress) -> BatchStatus:
        """As the node's store has it."""
        return cls(**vars(progress))


class BatchDesk:
    """Works on batches of gateway and pages, one after another, in a thread of its own; what fails is tried again."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def start(self) -> None:
        """Go on with what a former process left; does nothing where it is at work already."""
        if self._thread.ident is None:
            self._thread.start()

    def wake(self) -> None:
        """There is a new batch."""
        self._wake.set()

    def stop(self) -> None:
        """Stop before the next request; batches go on at the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            for batch_id in self._batches.unfinished(keyed=True):
                try:
                    self._batches.run(batch_id, stopping=self._stopping)
                except (CryptoError, ModelsError, NodeError) as problem:
                    _LOG.warning("batch-waits", batch=batch_id, code=problem.code, reason=problem.message)
                except SQLAlchemyError as problem:
                    _LOG.error("batch-waits", batch=batch_id, code="store-failed", exc_info=problem)
            self._wake.wait(_PAUSE_SECONDS)


_LINES: dict[int | str, dict[str, object]] = {
    200: {"description": "CSV", "content": {CSV: {"schema": {"type": "string"}}}}
}


def batch_router(batches: Batches, enquiries: Enquiries, desk: BatchDesk) -> APIRouter:
    """The routes under `/batches`."""
    router = APIRouter(prefix="/batches", tags=["batches"])

    @router.post(
        "",
        status_code=202,
        summary="Hand in a batch",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": BatchInput.model_json_schema(ref_template=REF)},
                    CSV: {"schema": {"type": "string", "description": "columns id and, perhaps, consent_id"}},
                },
            }
        },
    )
    async def create_batch(
        request: Request, key: Key, purpose: Purpose = "credit-scoring", model_id: ModelId | None = None
    ) -> BatchStatus:
        """Store merchants to score, all or none; JSON, or CSV with purpose and model in the query.

        The same Idempotency-Key with the same body returns the batch that it made before.
        """
        body = await _body(request)
        media = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()

        def create() -> BatchStatus:
            digest = hashlib.sha256(body).hexdigest()
            if media == CSV:
                rows, wanted, model = read_rows(io.StringIO(_text(body), newline=""), "the body"), purpose, model_id
            else:
                given = _parsed(body)
                rows = (Enquiry(item.id, item.consent_id) for item in given.items)
                wanted, model = given.purpose, given.model_id
            made = batches.create(rows, source_sha256=digest, purpose=wanted, model_id=model, key=key)
            return BatchStatus.of(batches.progress(made))

        status = await run_in_threadpool(create)  # others are answered meanwhile
        desk.wake()
        return status

    @router.get("/{batch_id}", summary="How far a batch is")
    def read_batch(batch_id: str) -> BatchStatus:
        """Say how many merchants are done, scored and refused, by code."""
        return BatchStatus.of(batches.progress(batch_id))

    @router.get("/{batch_id}/results", summary="Outcomes as CSV", response_class=StreamingResponse, responses=_LINES)
    def read_results(batch_id: str, languages: Languages = "en") -> StreamingResponse:
        """Give the outcomes of a finished batch, in order of its merchants."""
        if batches.progress(batch_id).state != "finished":
            raise BatchBusy(
                "the batch is still running", field="batch_id", remedy="ask for its progress until it is finished"
            )
        lang = language_of(languages)

        def sentences(outcome: Outcome) -> list[str]:
            return [] if outcome.answer is None else enquiries.reason_texts(outcome.answer, lang)

        lines: Iterator[str] = result_lines(batches.outcomes(batch_id), lang, sentences)
        return StreamingResponse(begun(lines), media_type=f"{CSV}; charset=utf-8")

    @router.post("/{batch_id}/retry", summary="Ask again")
    def retry_batch(batch_id: str) -> BatchStatus:
        """Ask again about merchants whose sources were away or whose answers expired; it may count as another use."""
        batches.ask_again(batch_id)
        desk.wake()
        return BatchStatus.of(batches.progress(batch_id))

    @router.delete("/{batch_id}", status_code=204, summary="Forget a batch")
    def forget_batch(batch_id: str) -> None:
        """Delete a batch with its results; what was asked stays logged and counted."""
        batches.forget(batch_id)

    return router


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > MAX_BODY:
            raise PolicyRefusal(
                "request-too-large",
                f"the body is larger than {MAX_BODY >> 20} MiB",
                field="body",
                remedy="divide them into several batches",
            )
    return bytes(found)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise GatewayError("the body is not UTF-8", field="body", remedy="send CSV in UTF-8") from problem


def _parsed(body: bytes) -> BatchInput:
    try:
        return BatchInput.model_validate_json(body)
    except ValidationError as problem:
        first = problem.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise GatewayError(
            f"{field}: {first['msg']}", field=field, remedy="see /openapi.json for the API's shape"
        ) from problem
