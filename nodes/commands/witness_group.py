"""`witness`: the group of the witness's own commands."""

from __future__ import annotations

import typer

from models.command_line import lazy_group

_COMMANDS = {
    "approve": "nodes.commands.witness:approve",
    "revoke": "nodes.commands.witness:revoke",
    "list": "nodes.commands.witness:list_parties",
    "ledger": "nodes.commands.witness:ledger",
    "rotate-key": "nodes.commands.witness_keys:rotate_key",
    "keys": "nodes.commands.witness_keys:keys",
    "models": "nodes.commands.witness_models:list_models",
    "model-card": "nodes.commands.witness_models:model_card",
    "approve-model": "nodes.commands.witness_models:approve_model",
    "refuse-model": "nodes.commands.witness_models:refuse_model",
    "verify-inspection": "nodes.commands.witness_inspection:verify_file",
}

app = typer.Typer(cls=lazy_group(_COMMANDS), help="The witness's decisions. 见证方事务。", no_args_is_help=True)


@app.callback()
def _witness() -> None:
    """Make it a group; its help is the one above."""
