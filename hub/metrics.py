"""What the hub counts while it works; labels are ours alone (`models.ops.metrics`, M1)."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from crypto.wire.scoring import QueryResult, RefusalCode
from models.ops.metrics import REGISTRY, SECONDS, Known

LINKS = Gauge(
    "digua_links_connected", "Parties with an open link, by kind.", ["kind"],
    registry=REGISTRY, multiprocess_mode="livesum",
)  # fmt: skip
LINKS_OPENED = Counter("digua_links_opened_total", "Links opened, by kind.", ["kind"], registry=REGISTRY)
LINK_REQUESTS = Counter(
    "digua_link_requests_total", "Requests to parties, by type and outcome.", ["type", "outcome"], registry=REGISTRY
)
LINK_SECONDS = Histogram(
    "digua_link_request_seconds",
    "Seconds until a party answered, by type.",
    ["type"],
    buckets=(*SECONDS, 120.0, 600.0),
    registry=REGISTRY,
)
QUERIES = Counter(
    "digua_queries_total",
    "Scoring requests: answered by all sources, by some or none of them, or refused before.",
    ["result"],
    registry=REGISTRY,
)
SOURCE_FAILURES = Counter(
    "digua_query_source_failures_total", "Sources that gave a query no answer, by code.", ["code"], registry=REGISTRY
)
LOG_BATCH = Histogram(
    "digua_log_commit_entries",
    "Entries written to the audit log in one transaction.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    registry=REGISTRY,
)
_SOURCE_CODES = Known(
    (*get_args(RefusalCode), "source-unreachable", "source-failed", "node-failed", "feed-stale", "request-expired")
)


def count_answer(result: QueryResult) -> None:
    """A query that was forwarded, and what its sources made of it."""
    QUERIES.labels("answered" if not result.failures else "partial" if result.answers else "unanswered").inc()
    for failure in result.failures:
        SOURCE_FAILURES.labels(_SOURCE_CODES.label(failure.code)).inc()
