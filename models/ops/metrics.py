"""Metrics of a process in Prometheus' form: counters here, what is read from a database at each scrape elsewhere.

M1  Labels have few values, all of them ours: route templates, codes, kinds, stages. What comes from outside, such as a
    code in another party's refusal, is counted under `other` unless it is a known one. No merchant, pseudonym, consent
    or person is ever a label.
M2  Several processes that serve one address count together where the environment names a folder of theirs
    (PROMETHEUS_MULTIPROC_DIR): whichever is asked answers for all.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
"""Of this process's own counters."""
SHARED = "PROMETHEUS_MULTIPROC_DIR"
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ROUTES_AT_MOST = 400
"""Templates are written in the program; that many are never reached by what is asked for."""

LOG_EVENTS = Counter("digua_log_events_total", "Lines written to the log, by level.", ["level"], registry=REGISTRY)
HTTP_REQUESTS = Counter(
    "digua_http_requests_total",
    "Requests answered, by route template and status.",
    ["app", "method", "route", "status"],
    registry=REGISTRY,
)
HTTP_SECONDS = Histogram(
    "digua_http_request_seconds",
    "Seconds until a request was answered, by route template.",
    ["app", "route"],
    buckets=SECONDS,
    registry=REGISTRY,
)
PROBLEMS = Counter("digua_problems_total", "Requests refused, by the error's code.", ["app", "code"], registry=REGISTRY)


class Known:
    """Label values that are known; all others are one (M1)."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values)

    def label(self, value: str) -> str:
        """The value, or `other`."""
        return value if value in self._values else OTHER


def gauge(name: str, text: str, value: float | None = None) -> GaugeMetricFamily:
    """A figure as read now."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    """Figures as read now, one for each value of a label."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family


class BuildInfo(Collector):
    """Which program runs."""

    def collect(self) -> Iterator[Metric]:
        """One line that is 1."""
        family = GaugeMetricFamily("digua_build_info", "The program that runs.", labels=["version", "python"])
        family.add_metric([importlib.metadata.version("digua"), platform.python_version()], 1)
        yield family


def exposition(states: Iterable[Collector]) -> bytes:
    """All metrics as text.

    Args:
        states: what is read now, by the process that answers.
    """
    registry = CollectorRegistry()
    counters = REGISTRY
    if os.environ.get(SHARED):
        counters = CollectorRegistry()
        MultiProcessCollector(counters)  # type: ignore[no-untyped-call]
    else:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
    for each in (BuildInfo(), *states):
        registry.register(each)
    return generate_latest(counters) + generate_latest(registry)


def forget_process(pid: int) -> None:
    """M2: what a process that has ended held, such as open links, counts no more."""
    if os.environ.get(SHARED):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
