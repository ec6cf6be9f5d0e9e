"""`doctor`: is this node installed well, and is what it stored what it was?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from models.findings import Finding
from models.said import Said
from nodes.checks.all import check_installation
from nodes.commands.check import conclude
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, err, reported, say, tell
from nodes.examination.all import examine_node


@reported
def doctor(
    config: ConfigOption = Path("node.yaml"),
    offline: Annotated[bool, typer.Option("--offline", help="Look at what is stored alone. 只检查已存数据。")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the installation, rebuild journal, ledger, consents, models and log, and compare. 全面自检。

    Exit code 1 if something must be mended. It changes nothing, and may run beside the node.
    """
    loaded = load_node_config(config)
    with err().status("") as status:

        def announce(what: Said) -> None:
            status.update(say("looking at {what}", what=tell(what)))

        installed: Iterator[Finding] = iter(()) if offline else check_installation(loaded)
        conclude(chain(installed, examine_node(loaded, announce=announce)), as_json=as_json)
