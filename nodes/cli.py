"""`digua-node`: set up, check and run a party's agent.

Exit codes: 0 done, 1 refused or problems found, 2 wrong usage.
"""

from __future__ import annotations

import typer

from models.command_line import VersionOption, lazy_group

_COMMANDS = {
    "init": "nodes.commands.setup:init",
    "enrol": "nodes.commands.setup:enrol",
    "rotate": "nodes.commands.rotate:rotate",
    "check-data": "nodes.commands.data:check_data",
    "run": "nodes.commands.run:run",
    "health": "nodes.commands.health:health",
    "ledger": "nodes.commands.ledger:app",
    "consent": "nodes.commands.consent:app",
    "query": "nodes.commands.query:app",
    "audit": "nodes.commands.audit:app",
    "people": "nodes.commands.people:app",
    "merchants": "nodes.commands.merchants:app",
    "tickets": "nodes.commands.tickets:app",
    "witness": "nodes.commands.witness_inspection:app",
}

app = typer.Typer(
    cls=lazy_group(_COMMANDS),
    help="digua 地瓜: a party's agent. 机构节点。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _digua_node(_version: VersionOption = False) -> None:
    """Make it a group; its help is the one above."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
