"""One id for a request over hub and nodes; spans where a collector is configured, and nothing sent where none is."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError

from crypto.errors import FrameError
from crypto.frames import decode_frame, encode_frame
from crypto.wire.link import Frame
from models.ops import trace_context
from models.ops.metrics import HTTP_REQUESTS
from models.ops.trace_context import TraceContext, carrying
from models.ops.tracing import TracingOptions, span, start_tracing
from models.web.observed import Observed

OPTIONS = TracingOptions(endpoint="http://127.0.0.1:4318/v1/traces", share=1.0)
GIVEN = TraceContext("ab" * 16, "cd" * 8, sampled=True)


@pytest.fixture
def recorded() -> Iterator[Callable[[], dict[str, ReadableSpan]]]:
    """Ends the recording and gives the spans by name."""
    exporter = InMemorySpanExporter()
    stop = start_tracing(OPTIONS, service="digua-hub", name="hub", exporter=exporter)

    def end() -> dict[str, ReadableSpan]:
        stop()
        return {each.name: each for each in exporter.get_finished_spans()}

    yield end
    stop()


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/merchants/{merchant}")
    async def read(merchant: str) -> dict[str, str | None]:
        inside = await asyncio.to_thread(trace_context.outgoing)
        return {"trace": inside}

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("merchant 4711 yuan")

    app.add_middleware(Observed, name="test")
    return app


def test_only_the_one_form_is_taken() -> None:
    assert TraceContext.parse(GIVEN.header) == GIVEN
    for bad in (None, "", "00-x", GIVEN.header + "-00", GIVEN.header.upper(), f"00-{'0' * 32}-{'1' * 16}-01"):
        assert TraceContext.parse(bad) is None


def test_a_request_has_an_id_that_the_answer_tells() -> None:
    with TestClient(make_app()) as client:
        own = client.get("/merchants/91330000")
        assert own.json()["trace"].split("-")[1] == own.headers["x-request-id"]
        brought = client.get("/merchants/91330000", headers={"traceparent": GIVEN.header})
        assert brought.headers["x-request-id"] == GIVEN.trace_id
        assert client.get("/merchants/1", headers={"traceparent": "forged"}).headers["x-request-id"] != "forged"
    assert trace_context.current() is None


def test_requests_are_counted_by_template_never_by_path() -> None:
    with TestClient(make_app(), raise_server_exceptions=False) as client:
        client.get("/merchants/91330000MA2ABCDE1X")
        client.get("/nowhere/91330000MA2ABCDE1X")
        client.request("BREW", "/merchants/1")
        client.get("/broken")
    found = {
        tuple(sample.labels.values()) for metric in HTTP_REQUESTS.collect() for sample in metric.samples
        if sample.labels["app"] == "test"
    }  # fmt: skip
    assert {("test", "GET", "/merchants/{merchant}", "200"), ("test", "GET", "unmatched", "404")} <= found
    assert {("test", "other", "/merchants/{merchant}", "405"), ("test", "GET", "/broken", "500")} <= found
    assert not [each for each in found if "9133" in str(each)]


def test_frames_carry_the_request_and_nothing_else() -> None:
    frame = Frame(type="query", id="1", body=b"{}", trace=GIVEN.header)
    assert decode_frame(encode_frame(frame)) == frame
    plain = Frame(type="query", id="1", body=b"{}")
    assert decode_frame(encode_frame(plain)) == plain
    assert b"trace" not in encode_frame(plain)
    with pytest.raises(ValidationError):
        Frame(type="query", id="1", body=b"{}", trace="91330000MA2ABCDE1X")
    forged = encode_frame(frame).replace(GIVEN.header.encode(), b"X" * len(GIVEN.header))
    with pytest.raises(FrameError):
        decode_frame(forged)


def test_spans_are_one_tree_over_processes(recorded: Callable[[], dict[str, ReadableSpan]]) -> None:
    with span("outer", kind="server", type="query"):
        sent = trace_context.outgoing()
    with carrying(TraceContext.parse(sent)), span("inner"):  # as the other side does
        pass
    spans = recorded()
    assert spans["inner"].parent is not None
    assert spans["inner"].parent.span_id == spans["outer"].context.span_id
    assert spans["inner"].context.trace_id == spans["outer"].context.trace_id
    assert dict(spans["outer"].attributes or {}) == {"digua.type": "query"}


def test_spans_hold_no_data(recorded: Callable[[], dict[str, ReadableSpan]]) -> None:
    with pytest.raises(ValueError, match="4711 yuan"), span("step", merchant="91330000MA2ABCDE1X", code="c"):
        raise ValueError("income 4711 yuan")
    with TestClient(make_app(), raise_server_exceptions=False) as client:
        client.get("/merchants/91330000MA2ABCDE1X?id=4711-yuan")
        client.get("/broken")
    spans = recorded()
    assert dict(spans["step"].attributes or {}) == {"digua.code": "c", "error.type": "ValueError"}
    assert "test GET /merchants/{merchant}" in spans
    told = "".join(each.to_json() for each in spans.values())
    assert "yuan" not in told  # not the digits: an id may hold them
    assert "91330000" not in told


def test_nothing_is_recorded_or_loaded_unless_it_is_configured() -> None:
    stop = start_tracing(None, service="digua-hub", name="hub")
    with span("alone") as recorded:
        assert recorded is None
        assert trace_context.current() is not None
    stop()
    program = "import sys, hub.services, nodes.services, hub.app; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "http://collector.example.org/v1/traces", "https://u:p@host/", "https://h/?k=v"]
)
def test_a_collector_is_near_or_behind_tls(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        TracingOptions(endpoint=endpoint)
