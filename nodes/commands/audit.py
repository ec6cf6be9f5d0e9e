"""`audit`: this node's own journal, exported and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodes.commands.setup import ConfigOption
from nodes.config import load_node_config
from nodes.console import JsonOption, print_facts, print_json, reported
from nodes.journal import Journal, read_export, verify_lines
from nodes.own_files import open_store

app = typer.Typer(help="The node's own journal. 节点自身日志。", no_args_is_help=True)
journal_app = typer.Typer(help="Queries, refusals, releases. 查询、拒绝、发布记录。", no_args_is_help=True)
app.add_typer(journal_app, name="journal")


@journal_app.command()
@reported
def export(
    out: Annotated[Path, typer.Option(help="File to write, NDJSON. 输出文件。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Write the journal to a file; digua-hub audit reconcile compares it with the hub's log. 导出日志。"""
    loaded = load_node_config(config)
    store = open_store(loaded)
    try:
        number = Journal(store, loaded.party_id).export(out)
    finally:
        store.close()
    facts = {"file": str(out), "entries": number}
    print_json(facts) if as_json else print_facts(facts)


@journal_app.command()
@reported
def verify(
    file: Annotated[Path | None, typer.Argument(help="An export; without it the store. 导出文件。")] = None,
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Check that no entry was altered, left out or moved. 校验日志完整性。"""
    if file is not None:
        number, last = verify_lines(read_export(file))
    else:
        loaded = load_node_config(config)
        store = open_store(loaded)
        try:
            number, last = verify_lines(Journal(store, loaded.party_id).lines())
        finally:
            store.close()
    facts = {"entries": number, "last_hash": last.hex()}
    print_json(facts) if as_json else print_facts(facts)
