"""`digua-node`: set up, check and run a party's agent.

Exit codes: 0 done, 1 refused or problems found, 2 wrong usage.
"""

from __future__ import annotations

import typer

from models.command_line import VersionOption, lazy_group
from models.ops.logs import quiet_logs

_COMMANDS = {
    "init": "nodes.commands.init:init",
    "enrol": "nodes.commands.setup:enrol",
    "check": "nodes.commands.check:check",
    "doctor": "nodes.commands.doctor:doctor",
    "rotate": "nodes.commands.rotate:rotate",
    "trust-hub": "nodes.commands.trust:trust_hub",
    "backup": "nodes.commands.backup:backup",
    "restore": "nodes.commands.backup:restore",
    "check-data": "nodes.commands.data:check_data",
    "drift": "nodes.commands.drift:drift",
    "run": "nodes.commands.run:run",
    "health": "nodes.commands.health:health",
    "status": "nodes.commands.status:status",
    "ledger": "nodes.commands.ledger:app",
    "consent": "nodes.commands.consent:app",
    "query": "nodes.commands.query:app",
    "audit": "nodes.commands.audit:app",
    "people": "nodes.commands.people:app",
    "merchants": "nodes.commands.merchants:app",
    "tickets": "nodes.commands.tickets:app",
    "witness": "nodes.commands.witness_group:app",
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
    quiet_logs()
    app()


if __name__ == "__main__":
    main()
