"""`doctor`: is what the hub stored what it was?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import typer

from hub import console
from hub.commands.upkeep import HUB_YAML, ConfigOption, JsonFlag
from hub.config import load_config
from hub.services import Hub
from models.findings import Announce, Finding, sound
from models.said import Said


def doctor(config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """Rebuild log, checkpoints, consents, campaigns and models, and compare; nothing is changed. 全面自检。

    Exit code 1 where there is a fault. It may run beside the serving hub.
    """
    from hub.examination.all import examine_hub  # noqa: PLC0415  (the fit's libraries are slow to import)

    hub = Hub.open(load_config(config))
    try:
        show_all(lambda announce: examine_hub(hub, announce=announce), as_json=as_json)
    finally:
        hub.close()


def show_all(examine: Callable[[Announce], Iterator[Finding]], *, as_json: bool) -> None:
    """Show each finding as it comes, or all at once as JSON; exit code 1 where there is a fault.

    Args:
        examine: looks, and tells what it looks at.
        as_json: for programs.
    """
    found: list[Finding] = []
    with console.status() as status:

        def announce(what: Said) -> None:
            status.update(console.text("looking at {what}", what=console.tell(what)))

        for each in examine(announce):
            found.append(each)
            if not as_json:
                console.show_finding(each)
    if as_json:
        console.show_json({"ok": sound(found), "findings": [console.finding_as_plain(each) for each in found]})
    elif sound(found):
        console.say("nothing must be mended")
    else:
        console.say("{faults} faults must be mended", faults=sum(each.state == "fault" for each in found))
    if not sound(found):
        raise typer.Exit(1)
