"""`backup`, `restore`: one file with the state of a node, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodes.backup import restore as bring_back
from nodes.backup import write_backup
from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported, say


@reported
def backup(
    out: Annotated[Path, typer.Argument(help="The new file. 备份文件。")],
    keys: Annotated[bool, typer.Option("--keys/--no-keys", help="Put the keys into it, too. 是否包含密钥。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Write the node's state into one file; the node may go on running. 备份，可在运行中进行。"""
    manifest = write_backup(load_node_config(config), out, with_keys=keys)
    facts = manifest.model_dump(mode="json", include={"party_id", "made_at", "feed_seq", "ledger_lines"})
    if as_json:
        print_json({"file": str(out), **facts})
        return
    print_facts(facts)
    typer.echo(say("Encrypt the file before it leaves this machine: it holds personal information."))


@reported
def restore(
    archive: Annotated[Path, typer.Argument(help="A file of `digua-node backup`. 备份文件。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Put a backup in the place of a store that is lost. 从备份恢复。"""
    manifest = bring_back(load_node_config(config), archive)
    facts = manifest.model_dump(mode="json", include={"party_id", "made_at", "feed_seq", "ledger_lines"})
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
    typer.echo(say("Before it takes part in training the node has its ledger completed by the witness."))
    typer.echo(say("Consents that it knew count as used up for their current period."))
