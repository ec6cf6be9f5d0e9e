"""`run`: keep the link open, pseudonymise new identifiers, and serve until told to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crypto.errors import CryptoError
from models.ops.tracing import start_tracing
from models.web.tls import on_hangup
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, err, reported, say
from nodes.data_life import DataLifeLoop
from nodes.errors import ConfigError, NodeError
from nodes.gateway import GatewayServer, create_gateway, gateway_token
from nodes.gateway_batches import BatchDesk
from nodes.keys import TRAINING_FILE
from nodes.link import Link
from nodes.logs import configure_logs
from nodes.proxy import proxy_url
from nodes.pseudonyms import Progress as Report
from nodes.runtime import NodeRuntime
from nodes.services import Services, equip
from nodes.witness.mirror_follower import MirrorFollower

if TYPE_CHECKING:
    from nodes.monitor import MonitorServer
    from nodes.supernode import SuperNode
    from nodes.web.server import PageServer

_LOG = structlog.get_logger("nodes.commands.run")

LOOK_SECONDS = 30.0
"""How often the tables are looked at for new identifiers."""


@reported
def run(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Run the node until SIGTERM or Ctrl-C. 运行节点，直到收到终止信号。"""
    loaded = load_node_config(config)
    configure_logs(loaded.logs, as_json=as_json)
    stop_tracing = start_tracing(loaded.tracing, service="digua-node", name=loaded.party_id)
    runtime = NodeRuntime.open(loaded)
    services = equip(runtime)
    stopping = stop_on_signals()
    with runtime.exclusive():
        runtime.feed.retry_refused()
        link = Link(runtime, runtime.handlers)
        desk = BatchDesk(services.batches)
        gateway = open_gateway(services, link, desk)
        pages = open_pages(services, link, desk)
        if pages is not None:
            on_hangup(pages.renew_certificate)
        monitor = open_monitor(services, link)
        link.start()
        data_life = DataLifeLoop(services.data_life)
        data_life.start()
        supernode = join_superlink(services)
        follower = follow_log(services)
        _LOG.info("node-up", party=runtime.config.party_id, at=runtime.config.hub.url)
        try:
            keep_pseudonyms(runtime, stopping, bars=sys.stderr.isatty() and not as_json)
        finally:
            if follower is not None:
                follower.stop()
            if monitor is not None:
                monitor.stop()
            if pages is not None:
                pages.stop()
            if gateway is not None:
                gateway.stop()
            desk.stop()
            if supernode is not None:
                supernode.stop()
            data_life.stop()
            link.stop()
            runtime.close()
            stop_tracing()
    _LOG.info("node-stopped", party=runtime.config.party_id)


def open_gateway(services: Services, link: Link, desk: BatchDesk) -> GatewayServer | None:
    """Serve the owner's systems where the configuration says so.

    Raises:
        ConfigError: the address cannot be listened on, or the token file cannot be used.
    """
    config = services.runtime.config
    if config.gateway is None:
        return None
    app = create_gateway(services, desk, token=gateway_token(config.gateway), connected=lambda: link.connected)
    server = GatewayServer(app, config.gateway, desk)
    server.start()
    return server


def open_monitor(services: Services, link: Link) -> MonitorServer | None:
    """Answer this machine's monitoring where the configuration says so.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    config = services.runtime.config.monitor
    if config is None:
        return None
    from nodes.monitor import MonitorServer, create_monitor  # noqa: PLC0415  (only where it is used)

    server = MonitorServer(create_monitor(services, config, connected=lambda: link.connected), config)
    server.start()
    return server


def follow_log(services: Services) -> MirrorFollower | None:
    """Keep the witness's mirror of the log up to what it cosigned; None at other nodes."""
    if services.witness is None:
        return None
    follower = MirrorFollower(services.witness.mirror)
    follower.start()
    return follower


def open_pages(services: Services, link: Link, desk: BatchDesk) -> PageServer | None:
    """Serve the pages for people where the configuration says so.

    Raises:
        ConfigError: the address cannot be listened on.
        AccessStateError: the key file of the pages cannot be used.
    """
    config = services.runtime.config.pages
    if config is None:
        return None
    from nodes.web.app import create_pages  # noqa: PLC0415  (a node without pages need not load them)
    from nodes.web.server import PageServer  # noqa: PLC0415

    server = PageServer(create_pages(services, connected=lambda: link.connected, desk=desk), config)
    server.start()
    desk.start()
    return server


def join_superlink(services: Services) -> SuperNode | None:
    """Take part in campaigns on a SuperLink where the configuration names one.

    Raises:
        ConfigError: the node has no training key.
    """
    config, keys = services.runtime.config, services.runtime.keys
    if config.superlink is None or services.desk is None:
        return None
    if keys.training is None:
        raise ConfigError(
            f"{config.keys_dir} holds no {TRAINING_FILE}, by which the SuperLink lets this node in",
            field="superlink",
            remedy="restore the file from its backup",
        )
    from nodes.supernode import SuperNode  # noqa: PLC0415  (Flower is slow to import)

    supernode = SuperNode(
        config.superlink.address,
        config.superlink.root_certificates,
        keys.training.private_key,
        services.desk.reply,
        poll_seconds=config.superlink.poll_seconds,
        proxy=proxy_url(config.hub, host=config.superlink.address),
    )
    supernode.start()
    return supernode


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping


def keep_pseudonyms(runtime: NodeRuntime, stopping: threading.Event, *, bars: bool) -> None:
    """Have a pseudonym for every identifier of the tables, whenever they change, until `stopping` is set.

    What fails is logged and tried again: the node goes on serving what it can.
    """
    pause = 0.2
    while not stopping.wait(pause):
        if runtime.roster.version == 0:
            continue  # the keys to verify evaluations against are in the roster
        pause = LOOK_SECONDS
        try:
            runtime.check_own_entry()
            with _progress(bars) as report:
                new = runtime.datasets.pseudonymise(report)
            if new:
                _LOG.info("identifiers-pseudonymised", count=new)
        except (CryptoError, NodeError) as problem:
            _LOG.error("pseudonyms-late", code=problem.code, reason=problem.message, remedy=problem.remedy)


@contextmanager
def _progress(bars: bool) -> Iterator[Report]:
    if not bars:
        yield lambda done, of: _LOG.info("pseudonyms", done=done, of=of)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(say("pseudonyms"), total=None, visible=False)
        yield lambda done, of: progress.update(task, completed=done, total=of, visible=True)
