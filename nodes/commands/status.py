"""`digua-node status`: all that the node needs, one line each, with what to do where something is missing."""

from __future__ import annotations

from pathlib import Path

import typer

from models.i18n import language_from_env
from nodes.clock import system_clock
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import REFUSED, JsonOption, print_json, print_table, reported, say, tell
from nodes.readiness import look, told


@reported
def status(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Say of each thing that the node needs whether it is there; exit code 1 if it cannot work. 节点状态。"""
    settings = load_node_config(config)
    checks = look(settings, system_clock())
    ready = all(each.ok for each in checks if each.blocking)
    if as_json:
        print_json({"party_id": settings.party_id, "ready": ready, "checks": told(checks, language_from_env())})
    else:
        rows = [
            (
                each.name,
                say("in order") if each.ok else say("not in order") if each.blocking else say("look at it"),
                "" if each.what is None else tell(each.what),
                "" if each.remedy is None else tell(each.remedy),
            )
            for each in checks
        ]
        title = say("What {party} needs", party=settings.party_id)
        print_table(title, ("check", "state", "what", "remedy"), rows)
    if not ready:
        raise typer.Exit(REFUSED)
