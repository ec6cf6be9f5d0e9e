"""Command lines whose commands are imported when called: a health check need not load a scorecard's libraries."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import click
import typer
from typer.core import TyperGroup
from typer.main import get_command


def lazy_group(commands: Mapping[str, str], *, hidden: frozenset[str] = frozenset()) -> type[TyperGroup]:
    """Make the class of a group for ``typer.Typer(cls=…)``.

    Args:
        commands: name → ``module:attribute`` of a function, or of a `typer.Typer` with commands below it; in the
            order in which they are listed.
        hidden: names that help does not list.
    """

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return list(commands)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            if cmd_name not in commands:
                return None
            module, _, attribute = commands[cmd_name].partition(":")
            found = getattr(import_module(module), attribute)
            if not isinstance(found, typer.Typer):
                single = typer.Typer(add_completion=False)
                single.command(cmd_name, hidden=cmd_name in hidden)(found)
                found = single
            command = get_command(found)
            command.name = cmd_name
            return command

    return LazyGroup


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"digua {version('digua')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version. 显示版本。")
]
"""Of the callback of a program's group."""
