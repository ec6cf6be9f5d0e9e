"""`digua-hub`: make, serve and examine a hub."""

from __future__ import annotations

import sys

import typer

from hub import console
from models.command_line import VersionOption, lazy_group
from models.ops.logs import quiet_logs

_COMMANDS = {
    "init": "hub.commands.upkeep:init",
    "serve": "hub.commands.upkeep:serve",
    "migrate": "hub.commands.upkeep:migrate",
    "enrol-token": "hub.commands.upkeep:enrol_token",
    "parties": "hub.commands.upkeep:parties",
    "backup": "hub.commands.backup:backup",
    "restore": "hub.commands.backup:restore",
    "restored": "hub.commands.backup:restored",
    "rotate-key": "hub.commands.rotation:rotate_key",
    "keys": "hub.commands.rotation:keys",
    "revoke": "hub.commands.upkeep:revoke",
    "people": "hub.commands.people:app",
    "doctor": "hub.commands.doctor:doctor",
    "campaign": "hub.commands.campaign:app",
    "model": "hub.commands.model:app",
    "notice": "hub.commands.notice:app",
    "assessment": "hub.commands.assessment:app",
    "audit": "hub.commands.audit:app",
    "platform": "hub.commands.platform:app",
    "worker": "hub.commands.worker:worker",
    "superlink": "hub.commands.superlink:superlink",
    "health": "hub.commands.health:health",
    "superlink-health": "hub.commands.superlink:superlink_health",
    "worker-health": "hub.commands.worker:worker_health",
    "simulate": "hub.commands.simulate:simulate",
    "synthesize": "hub.commands.synthesize:synthesize",
    "demo": "hub.commands.demo:demo",
    "campaign-process": "hub.commands.worker:campaign_process",
}

app = typer.Typer(
    cls=lazy_group(_COMMANDS, hidden=frozenset({"campaign-process"})),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The digua hub. 地瓜枢纽。Exit codes: 0 done, 1 refused or found wrong, 2 usage.",
)


@app.callback()
def _digua_hub(_version: VersionOption = False) -> None:
    """Make it a group; its help is the one above."""


def main() -> None:
    """Run the command line; errors of ours are one block, without a traceback."""
    quiet_logs()
    try:
        app()
    except console.KNOWN_ERRORS as error:
        console.show_error(error, as_json="--json" in sys.argv)
        sys.exit(1)


if __name__ == "__main__":
    main()
