"""`digua-hub superlink`: Flower's SuperLink as the hub runs it: child of `digua-hub serve`, or a service of its own."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.config import SuperLinkOptions, load_config
from hub.errors import HubConfigError

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
HUB_YAML = Path("hub.yaml")


def superlink(
    config: ConfigOption = HUB_YAML,
    leashed: Annotated[bool, typer.Option("--leashed", hidden=True, help="End with standard input.")] = False,
) -> None:
    """Run the SuperLink of `hub.yaml` until SIGTERM. 运行 SuperLink。"""
    from hub.serving import configure_logging  # noqa: PLC0415
    from hub.superlink.server import serve  # noqa: PLC0415

    configure_logging()
    options = _managed(config)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    if leashed:
        threading.Thread(target=_hold_leash, args=(stopping,), name="leash", daemon=True).start()
    raise typer.Exit(serve(options, stopping.is_set))


def superlink_health(
    config: ConfigOption = HUB_YAML,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the SuperLink of `hub.yaml` as the hub does; exit code 1 if it does not answer. 健康检查。"""
    from hub.superlink.api import SuperLinkApi  # noqa: PLC0415

    nodes = SuperLinkApi(_managed(config)).nodes()
    facts = {"registered_nodes": len(nodes), "online_nodes": sum(node.online for node in nodes)}
    if as_json:
        console.show_json(facts)
    else:
        console.show_table("The SuperLink works", ("Name", "Value"), list(facts.items()))


def _managed(config: Path) -> SuperLinkOptions:
    options = load_config(config).superlink
    if options is None or not options.managed:
        raise HubConfigError(
            "hub.yaml names no SuperLink of the hub's own.",
            field="superlink.managed",
            remedy="Add the section superlink with managed: true.",
        )
    return options


def _hold_leash(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()
