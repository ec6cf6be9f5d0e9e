"""The `ServerApp` that a SuperLink starts for one campaign: the hub's campaign logic on the grid it is given.

The run's configuration names the campaign and `hub.yaml`. Orders, checkpoints and results are in the hub's database, so
that a run that died is submitted again and goes on from there. One process at a time runs a campaign.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import structlog
from flwr.app import Context
from flwr.serverapp import ServerApp
from flwr.serverapp.grid import Grid

from crypto.wire.party import Party
from hub.campaign_errors import SuperLinkError
from hub.campaign_locks import CampaignLocks, campaign_locks
from hub.campaign_process import working_hub
from hub.campaign_run import CampaignRun
from hub.config import load_config
from hub.engines import GivenGrid
from hub.relayed_links import DistantLinks
from hub.services import Hub
from hub.serving import configure_logging
from hub.superlink.bundle import CAMPAIGN, HUB
from hub.superlink.grid import NodeGrid, SuperLinkGrid, connected_parties

app = ServerApp()

_LOCK_S = 90.0
"""The process of a run that the SuperLink stopped notices by its heartbeat, every half minute."""
_LOOK_S = 0.5
_END_S = 10.0
"""So long may a run whose SuperLink is gone take to end by itself."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the campaign of the run's configuration.

    Raises:
        SuperLinkError: it was interrupted and stays unfinished; Flower then shows the run as failed.
    """
    threading.Thread(target=_end_with, args=(os.getppid(),), name="leash", daemon=True).start()
    config = load_config(Path(str(context.run_config[HUB])))
    configure_logging(config.logs)
    campaign_id = str(context.run_config[CAMPAIGN])
    structlog.contextvars.bind_contextvars(campaign=campaign_id, run=context.run_id)
    with working_hub(config) as hub:
        links = hub.links
        if isinstance(links, DistantLinks):
            links.wait_for_hub(lambda: False)
        with _alone(campaign_locks(hub.db), campaign_id):
            if campaign_id in hub.campaigns.book.unfinished() and not _run(hub, grid, campaign_id):
                raise _interrupted("The campaign was interrupted and stays unfinished.")


def _end_with(parent: int) -> None:
    """End with the executor that started this process: Flower's own way out waits for a SuperLink that is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    time.sleep(_END_S)
    os._exit(1)


def _run(hub: Hub, grid: Grid, campaign_id: str) -> bool:
    def parties() -> tuple[Party, ...]:
        hub.roster.reload()
        current = hub.roster.current()
        return () if current is None else current[1].parties

    node_ids = connected_parties(cast("NodeGrid", grid), parties)
    engine = GivenGrid("superlink", SuperLinkGrid(grid), node_ids)
    return CampaignRun(
        hub.campaign_services, campaign_id, engine=engine, resumed=True, stopping=threading.Event()
    ).run()


@contextmanager
def _alone(locks: CampaignLocks, campaign_id: str) -> Iterator[None]:
    began = time.monotonic()
    while True:
        with locks.take(f"{campaign_id}.superlink") as held:
            if held is not None:
                yield
                return
        if time.monotonic() - began > _LOCK_S:
            raise _interrupted("Another run of the campaign does not end.")
        time.sleep(_LOOK_S)


def _interrupted(message: str) -> SuperLinkError:
    return SuperLinkError(message, field="superlink", remedy="It is submitted again.")
