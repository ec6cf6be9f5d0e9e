"""Traces of requests over hub and nodes, sent to a collector (OpenTelemetry, OTLP over HTTP): off unless configured.

The libraries come with the extra `otel`; without it, and without a configured collector, `span` only passes through.
What a span holds is its name and names of `log_guard.NAMES`: of failures the kind alone, never their words.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.errors import ModelsError
from models.ops.log_guard import NAMES
from models.ops.trace_context import TraceContext, carrying, current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

SpanKind = Literal["server", "client", "internal"]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_STOP_MS = 3000


class TracingUnavailableError(ModelsError):
    """The libraries that traces need are not installed."""

    code = "tracing-unavailable"


class TracingOptions(BaseModel):
    """Where traces are sent.

    Attributes:
        endpoint: of a collector, e.g. `http://127.0.0.1:4318/v1/traces`; beyond this machine with TLS.
        share: of the requests that begin here, those that are recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str
    share: Annotated[float, Field(ge=0, le=1)] = 0.01

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as http://127.0.0.1:4318/v1/traces")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must hold no name, password or query")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("beyond this machine it begins with https://")
        return endpoint


class _Recorder:
    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("digua", importlib.metadata.version("digua"))


_recorder: _Recorder | None = None


def start_tracing(
    options: TracingOptions | None, *, service: str, name: str, exporter: SpanExporter | None = None
) -> Callable[[], None]:
    """Record spans from now on, where `options` say so; returns what sends the last ones and ends it.

    Args:
        options: None for no traces.
        service: `digua-hub` or `digua-node`.
        name: of the party.
        exporter: another one than to `options.endpoint`, for tests.

    Raises:
        TracingUnavailableError: the extra `otel` is not installed.
    """
    global _recorder  # noqa: PLW0603  (a process has one)
    if options is None:
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
    except ImportError as missing:
        raise TracingUnavailableError(
            "tracing is configured, but the libraries for it are not installed",
            field="tracing",
            remedy="install digua[otel], or take the section tracing out of the configuration",
        ) from missing
    resource = Resource(
        {
            "service.name": service,
            "service.instance.id": name,
            "service.version": importlib.metadata.version("digua"),
        }
    )
    provider = TracerProvider(
        resource=resource, sampler=ParentBased(TraceIdRatioBased(options.share)), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=options.endpoint)))
    _recorder = recorder = _Recorder(provider)

    def stop() -> None:
        global _recorder  # noqa: PLW0603
        if _recorder is recorder:
            _recorder = None
        provider.force_flush(_STOP_MS)
        provider.shutdown()

    return stop


@contextmanager
def span(name: str, *, kind: SpanKind = "internal", **names: str | int) -> Iterator[Span | None]:
    """A step of the current request, or the beginning of one; yields None where nothing is recorded."""
    recorder = _recorder
    if recorder is None:
        if current() is not None:
            yield None
            return
        with carrying(TraceContext.fresh()):
            yield None
        return
    with _recorded(recorder.tracer, name, kind, names) as recorded:
        yield recorded


@contextmanager
def _recorded(tracer: Tracer, name: str, kind: SpanKind, names: dict[str, str | int]) -> Iterator[Span]:
    from opentelemetry import trace  # noqa: PLC0415  (only where traces are recorded)
    from opentelemetry.context import Context  # noqa: PLC0415

    parent, context = current(), Context()  # an empty one: this module alone says what is above
    if parent is not None:
        above = trace.SpanContext(
            int(parent.trace_id, 16),
            int(parent.span_id, 16),
            is_remote=True,
            trace_flags=trace.TraceFlags(int(parent.sampled)),
        )
        context = trace.set_span_in_context(trace.NonRecordingSpan(above), context)
    kinds = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}
    kept = {f"digua.{each}": value for each, value in names.items() if each in NAMES}
    recorded = tracer.start_span(name, context, kinds[kind], attributes=kept, record_exception=False)
    own = recorded.get_span_context()
    here = TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", bool(own.trace_flags.sampled))
    try:
        with carrying(here):
            yield recorded
    except BaseException as error:
        recorded.set_attribute("error.type", type(error).__name__)
        recorded.set_status(trace.StatusCode.ERROR)
        raise
    finally:
        recorded.end()
