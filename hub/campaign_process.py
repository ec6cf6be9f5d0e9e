"""The process of one campaign: given its id by the supervisor, it holds the campaign's lock and runs it (B3, B4).

B4  Standard input is the leash: its first line names the campaign, its end says that the supervisor stopped or died.
    Then the campaign is interrupted, within seconds, and stays unfinished for whoever takes it up next.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import structlog

from hub.campaign_book import Campaign
from hub.campaign_locks import CampaignLocks, Held, campaign_locks
from hub.campaign_run import CampaignRun
from hub.clock import seconds
from hub.config import HubConfig, load_config
from hub.engines import AgentEngine
from hub.errors import HubConfigError
from hub.keys import read_secret
from hub.relayed_links import DistantLinks, RelayedLinks
from hub.replica_set import worker_links
from hub.services import Hub
from hub.supervisor import DONE, INTERRUPTED, TAKEN
from models.ops.tracing import span, start_tracing

STOP_S = 5.0
_LOCK_TRIES = 5
_LOCK_PAUSE_S = 0.2
_HELD_LOOK_S = 2.0
_LATE_S = 10
"""An order that waited as long as this waited for a process of the hub: its parties' links may need time as well."""
_logger = structlog.get_logger("hub.campaigns")


@contextmanager
def working_hub(config: HubConfig) -> Iterator[Hub]:
    """Open the hub for a process that does not serve: nothing runs in it, and the links are the serving process's.

    Raises:
        StateError: keys, configuration and database do not belong together, or a secret file is not safe.
    """
    hub = Hub.open(config)
    try:
        with distant_links(hub) as links:
            hub.links = links
            yield hub
    finally:
        hub.close()


def distant_links(hub: Hub) -> DistantLinks:
    """Return the links through the process that serves, or through those that do; close them."""
    config = hub.config
    if config.replicas is None:
        return RelayedLinks(config)
    token = read_secret(config.internal_token_file).decode().strip()
    return worker_links(config, hub.db, config.replicas, instance=hub.instance, token=token)


def main(config: Path, leash: TextIO) -> int:
    """Wait for a campaign's id, run it; return the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    campaign_id = leash.readline().strip()
    if not campaign_id:
        return DONE
    threading.Thread(target=_hold_leash, args=(leash, stopping), name="leash", daemon=True).start()
    structlog.contextvars.bind_contextvars(campaign=campaign_id)
    loaded = load_config(config)
    with _traced(loaded), working_hub(loaded) as hub:
        links = hub.links
        if isinstance(links, DistantLinks) and not links.wait_for_hub(stopping.is_set):
            return INTERRUPTED
        return run_locked(hub, campaign_id, stopping)


@contextmanager
def _traced(config: HubConfig) -> Iterator[None]:
    """A campaign is one request, whatever process of the hub takes it up."""
    stop = start_tracing(config.tracing, service="digua-hub-campaign", name=config.hub_id)
    try:
        with span("campaign"):
            yield
    finally:
        stop()


def run_locked(hub: Hub, campaign_id: str, stopping: threading.Event) -> int:
    """Run an unfinished campaign unless another process has it; return the exit code."""
    book, locks = hub.campaigns.book, campaign_locks(hub.db)
    with _patiently(locks, campaign_id) as held:
        if held is None:
            return TAKEN
        if campaign_id not in book.unfinished():
            return DONE
        threading.Thread(target=_watch_lock, args=(held, stopping), name="lock", daemon=True).start()
        if book.get(campaign_id).order.engine == "superlink":
            return DONE if _watch_superlink(hub, campaign_id, stopping) else INTERRUPTED
        run = CampaignRun(
            hub.campaign_services,
            campaign_id,
            engine=AgentEngine(lambda: hub.links),
            resumed=_needs_patience(book.get(campaign_id), seconds(book.clock()), _served_since(hub)),
            stopping=stopping,
        )
        return DONE if run.run() else INTERRUPTED


def _watch_superlink(hub: Hub, campaign_id: str, stopping: threading.Event) -> bool:
    """Have the campaign run where the SuperLink's grid is; False where this process was told to stop before."""
    from hub.superlink.api import SuperLinkApi  # noqa: PLC0415  (only where it is used)
    from hub.superlink.watch import SuperLinkWatch  # noqa: PLC0415

    options = hub.config.superlink
    if options is None:
        raise HubConfigError(
            "hub.yaml has no section superlink, which a campaign under way needs.",
            field="superlink",
            remedy="Put it back, or abort the campaign.",
        )
    return SuperLinkWatch(
        hub.campaign_services, campaign_id, api=SuperLinkApi(options), hub_yaml=hub.config.file, stopping=stopping
    ).run()


@contextmanager
def _patiently(locks: CampaignLocks, campaign_id: str) -> Iterator[Held | None]:
    """Somebody may be looking whether the lock is free just when it is asked for."""
    for _ in range(_LOCK_TRIES):
        with locks.take(campaign_id) as held:
            if held is not None:
                yield held
                return
        time.sleep(_LOCK_PAUSE_S)
    yield None


def _served_since(hub: Hub) -> int:
    return hub.links.since if isinstance(hub.links, DistantLinks) else 0


def _needs_patience(campaign: Campaign, now: int, served_since: int) -> bool:
    """Whether parties may still be on their way back: it ran before, or was ordered of a hub that died since."""
    waited = now - campaign.created_at > _LATE_S or campaign.created_at <= served_since
    return waited or campaign.status == "running"


def _watch_lock(held: Held, stopping: threading.Event) -> None:
    while not stopping.wait(_HELD_LOOK_S):
        if not held.still():
            _logger.warning("campaign-lock-lost")
            _stop(stopping)


def _hold_leash(leash: TextIO, stopping: threading.Event) -> None:
    leash.read()
    _stop(stopping)


def _stop(stopping: threading.Event) -> None:
    """Ask the campaign to stop; a step that goes on for too long ends with the process, as in a kill."""
    stopping.set()
    time.sleep(STOP_S)
    sys.stderr.flush()
    os._exit(INTERRUPTED)
