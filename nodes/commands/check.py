"""`check`: is this node installed well? And how findings are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from models.findings import Finding, sound
from nodes.checks.all import check_installation
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import REFUSED, JsonOption, out, print_json, reported, say, tell

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}


@reported
def check(config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Check machine, secrets, hub, clock, TLS and data; exit code 1 if something must be mended. 检查安装。"""
    conclude(check_installation(load_node_config(config)), as_json=as_json)


def conclude(findings: Iterable[Finding], *, as_json: bool) -> None:
    """Show findings as they come, and exit with 1 where there is a fault."""
    found: list[Finding] = []
    for each in findings:
        found.append(each)
        if not as_json:
            show_finding(each)
    if as_json:
        print_json({"ok": sound(found), "findings": [as_plain(each) for each in found]})
    elif sound(found):
        typer.echo(say("nothing must be mended"))
    else:
        typer.echo(say("{faults} faults must be mended", faults=sum(each.state == "fault" for each in found)))
    if not sound(found):
        raise typer.Exit(REFUSED)


def show_findings(findings: Sequence[Finding]) -> None:
    """A line for each finding, and below it whose matter it is and what to do."""
    for each in findings:
        show_finding(each)


def show_finding(finding: Finding) -> None:
    """One finding."""
    line = Text()
    line.append(f"{say(finding.state)}  ", style=_STYLES[finding.state])
    line.append(f"{say(finding.check)}: ", style="bold").append(tell(finding.what))
    if finding.remedy is not None and finding.state != "ok":
        line.append(f"\n    {say('party')}: {finding.party}\n    {say('remedy')}: {tell(finding.remedy)}")
    out().print(line, soft_wrap=True)


def as_plain(finding: Finding) -> dict[str, Any]:
    """A finding as JSON, its texts in the user's language."""
    return {
        "check": finding.check,
        "state": finding.state,
        "party": finding.party,
        "what": tell(finding.what),
        "remedy": None if finding.remedy is None else tell(finding.remedy),
    }
