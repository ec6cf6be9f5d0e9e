"""`digua-hub worker`: takes up campaigns and runs each in a process of its own."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.campaign_locks import campaign_locks
from hub.config import load_config
from hub.relayed_links import RelayedLinks
from hub.services import Hub
from hub.supervisor import Supervisor, process_command

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
HUB_YAML = Path("hub.yaml")


def worker(
    config: ConfigOption = HUB_YAML,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True, help="End with standard input.")] = False,
) -> None:
    """Run campaigns until SIGTERM; those under way go on when a worker is back. 训练任务进程。"""
    from hub.serving import configure_logging  # noqa: PLC0415

    configure_logging()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if leashed:
        threading.Thread(target=_hold_leash, args=(stopping,), name="leash", daemon=True).start()
    loaded = load_config(config)
    hub = Hub.open(loaded)
    try:
        Supervisor(
            hub.campaigns.book,
            campaign_locks(hub.db),
            process_command(loaded.file),
            parallel=loaded.campaigns.parallel,
        ).run(stopping)
    finally:
        hub.close()


def campaign_process(config: ConfigOption = HUB_YAML) -> None:
    """Run the one campaign whose id is read from standard input."""
    from hub.campaign_process import main  # noqa: PLC0415  (Flower is slow to import)
    from hub.serving import configure_logging  # noqa: PLC0415

    configure_logging()
    raise typer.Exit(main(config, sys.stdin))


def worker_health(
    config: ConfigOption = HUB_YAML,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask database and serving hub as the worker does; exit code 1 if one does not answer. 训练进程健康检查。"""
    loaded = load_config(config)
    hub = Hub.open(loaded)
    try:
        with RelayedLinks(loaded) as links:
            facts = {"connected_parties": len(links.connected()), "unfinished": len(hub.campaigns.book.unfinished())}
    finally:
        hub.close()
    if as_json:
        console.show_json(facts)
    else:
        console.show_table("The worker can work", ("Name", "Value"), list(facts.items()))


def _hold_leash(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()
