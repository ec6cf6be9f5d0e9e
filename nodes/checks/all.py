"""All checks of an installation, in the order in which one would mend what they find."""

from __future__ import annotations

from collections.abc import Iterator

from models.findings import Finding
from nodes.checks.hub import check_hub
from nodes.checks.machine import check_disk, check_secrets, check_versions
from nodes.checks.sources import check_sources
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig


def check_installation(config: NodeConfig, *, clock: Clock = system_clock) -> Iterator[Finding]:
    """Check machine, secrets, the way to the hub, and the owner's data; nothing of it is sent."""
    yield from check_versions(config.party_id)
    yield from check_disk(config)
    yield from check_secrets(config)
    yield from check_hub(config, clock=clock)
    yield from check_sources(config)
