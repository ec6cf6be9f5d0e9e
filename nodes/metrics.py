"""What a node counts while it works; labels are ours alone (`models.ops.metrics`, M1)."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Histogram

from models.i18n import catalogue, title_of
from models.ops.metrics import OTHER, REGISTRY, SECONDS

ANSWERED = "answered"
LINK_REQUESTS = Counter(
    "digua_node_requests_total",
    "The hub's requests over the link, by type and outcome.",
    ["type", "outcome"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "digua_node_request_seconds",
    "Seconds until a request over the link was answered, by type.",
    ["type"],
    buckets=(*SECONDS, 120.0, 600.0),
    registry=REGISTRY,
)
LINK_OPENED = Counter("digua_node_link_opened_total", "Times that the link was opened.", registry=REGISTRY)


@lru_cache(maxsize=512)
def known_code(code: str) -> str:
    """The code of an error as a label: those that have a title in a catalogue; all others are one."""
    return code if title_of(code, "zh", catalogue("nodes")) is not None else OTHER
