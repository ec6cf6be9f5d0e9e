"""Options that all of `digua-hub platform` has."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

PLATFORM_YAML = Path("platform.yaml")
ConfigOption = Annotated[Path, typer.Option(help="The platform's configuration. 平台配置文件。")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def operator() -> str:
    """The person at this machine, as the audit record names it."""
    return f"operator:{getpass.getuser()}"
