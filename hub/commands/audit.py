"""`digua-hub audit`: export the log, verify an export with nothing but two public keys, reconcile it with a node's,
erase what links it to a merchant."""

from __future__ import annotations

import typer

from models.command_line import lazy_group

_COMMANDS = {
    "search": "hub.commands.audit_search:search",
    "retain": "hub.commands.audit_retention:retain",
    "export": "hub.commands.audit_export:export",
    "verify": "hub.commands.audit_verify:verify",
    "erase": "hub.commands.audit_export:erase",
    "reconcile": "hub.commands.audit_reconcile:reconcile_exports",
}

app = typer.Typer(
    cls=lazy_group(_COMMANDS), no_args_is_help=True, help="Export, verify and reconcile the audit log. 审计日志。"
)


@app.callback()
def _audit() -> None:
    """Make it a group; its help is the one above."""
