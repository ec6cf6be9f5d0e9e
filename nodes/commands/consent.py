"""`consent`: the consents that name this node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.consents import HeldConsent
from nodes.console import JsonOption, print_facts, print_json, print_table, reported
from nodes.errors import PolicyRefusal

app = typer.Typer(help="Consents that name this node. 涉及本节点的授权。", no_args_is_help=True)

RecordId = Annotated[str, typer.Argument(help="The consent's id. 授权编号。")]


@app.command("list")
@reported
def list_consents(
    config: ConfigOption = Path("node.yaml"),
    merchant: Annotated[str | None, typer.Option("--id", help="A merchant's identifier. 商户标识。")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most. 最多条数。")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List consents, the newest first. 列出授权，新的在前。"""
    with open_services(config) as services:
        if merchant is None:
            found = services.consents.all(services.runtime.now(), limit=limit)
        else:
            found = services.enquiries.consents_of(merchant)[:limit]
    lines = [_line(held) for held in found]
    if as_json:
        print_json({"consents": lines})
        return
    columns = ("consent", "state", "purposes", "recipients", "valid until")
    rows = [
        (
            line["consent_id"],
            line["state"],
            ", ".join(line["purposes"]),
            ", ".join(line["recipients"]),
            line["valid_until"],
        )
        for line in lines
    ]
    print_table("", columns, rows)


@app.command()
@reported
def show(record_id: RecordId, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Show a consent whole, with its merchant's signature. 显示授权全文及商户签名。"""
    held = _held(record_id, config)
    record = json.loads(held.record.model_dump_json())
    if as_json:
        print_json({"state": held.state, "record": record, "token": held.token})
        return
    print_facts({"state": held.state, **record})


@app.command()
@reported
def state(record_id: RecordId, config: ConfigOption = Path("node.yaml"), as_json: JsonOption = False) -> None:
    """Say where a consent stands now. 显示授权当前状态。"""
    with open_services(config) as services:
        found = services.consents.state(record_id, services.runtime.now())
    if as_json:
        print_json({"consent_id": record_id, "state": found})
    else:
        typer.echo(found)


def _held(record_id: str, config: Path) -> HeldConsent:
    with open_services(config) as services:
        held = services.consents.get(record_id, services.runtime.now())
    if held is None:
        raise PolicyRefusal(
            "consent-unknown",
            f"this node holds no consent {record_id}",
            field="record_id",
            remedy="digua-node consent list shows those that name it",
        )
    return held


def _line(held: HeldConsent) -> dict[str, Any]:
    record = held.record
    return {
        "consent_id": record.record_id,
        "state": held.state,
        "purposes": list(record.purposes),
        "sources": record.sources,
        "recipients": list(record.recipients),
        "valid_until": record.valid_until.isoformat(),
    }
