"""`consent`: the consents that name this node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from crypto.record_receipts import check_receipt
from crypto.wire.consent import ArtefactKind, ConsentSubmission
from crypto.wire.receipt import ReceiptFile
from nodes.commands.opened import open_services
from nodes.commands.setup import ConfigOption
from nodes.config import key_from_text
from nodes.consent_receipts import keep_receipts, submit_artefacts
from nodes.consents import HeldConsent
from nodes.console import JsonOption, print_facts, print_json, print_table, reported
from nodes.errors import ConfigError, PolicyRefusal

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


@app.command()
@reported
def submit(
    file: Annotated[Path, typer.Argument(help='JSON: {"tokens": [JWS, …]}, up to 1,000. 商户签署的令牌文件。')],
    receipts: Annotated[Path, typer.Option(help="The hub's receipts are added to this file. 回执追加到此文件。")],
    config: ConfigOption = Path("node.yaml"),
    events: Annotated[
        bool, typer.Option("--events", help="They are changes of state, not consents. 令牌为状态变更。")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring what merchants signed to the hub, and keep its receipts. 向枢纽提交商户签署的授权并保存回执。"""
    submission = _submission(file)
    with open_services(config, roster=True) as services:
        runtime = services.runtime
        kind: ArtefactKind = "consent-event" if events else "consent"
        taken = submit_artefacts(runtime.hub, runtime.roster, kind, submission)
    kept = keep_receipts(taken.receipts, receipts)
    facts = {"stored": taken.stored, "known": taken.known, "receipts": kept, "file": str(receipts)}
    print_json(facts) if as_json else print_facts(facts)


@app.command("receipt")
@reported
def fetch_receipt(
    record_id: RecordId,
    out: Annotated[Path, typer.Option(help="File to write. 输出文件。")],
    config: ConfigOption = Path("node.yaml"),
    as_json: JsonOption = False,
) -> None:
    """Fetch a consent's receipt (ISO/IEC TS 27560), verify and keep it. 获取授权回执，验证后保存。"""
    with open_services(config, roster=True) as services:
        runtime = services.runtime
        body = runtime.hub.request("GET", f"/v1/consents/{record_id}/receipt", signed=True)
        hub_keys, witness_keys = runtime.roster.hub_keys, runtime.roster.witness_keys
    facts = _checked(body, hub_keys.newest, witness_keys.newest)
    try:
        out.write_bytes(body)
    except OSError as problem:
        raise ConfigError(f"{out} cannot be written", field="out", remedy="give another path") from problem
    facts = {**facts, "file": str(out)}
    print_json(facts) if as_json else print_facts(facts)


@app.command("verify-receipt")
@reported
def verify_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt. 回执文件。")],
    hub_key: Annotated[str, typer.Option(help="The hub's public signing key. 枢纽签名公钥。")],
    witness_key: Annotated[str, typer.Option(help="The witness's public signing key. 见证方签名公钥。")],
    as_json: JsonOption = False,
) -> None:
    """Verify a receipt offline: signatures, contents, place in the log. 离线验证授权回执：签名、内容、日志位置。"""
    keys = []
    for name, text in (("hub-key", hub_key), ("witness-key", witness_key)):
        try:
            keys.append(key_from_text(text))
        except ValueError as problem:
            raise ConfigError(
                f"{name} is no public key", field=name, remedy="give the 43 characters that its owner published"
            ) from problem
    try:
        body = file.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{file} cannot be read", field="file", remedy="check the path") from problem
    facts = _checked(body, *keys)
    print_json(facts) if as_json else print_facts(facts)


def _checked(body: bytes, hub_key: bytes, witness_key: bytes) -> dict[str, str]:
    try:
        file = ReceiptFile.model_validate_json(body)
    except ValidationError as problem:
        raise ConfigError(
            "this is no receipt of a consent", field="file", remedy="give one receipt as the hub or a page gave it"
        ) from problem
    receipt = check_receipt(file, hub_key=hub_key, witness_key=witness_key)
    return {
        "consent": receipt.record_id,
        "state": receipt.events[-1].event_state,
        "as of": receipt.issued_at.isoformat(),
        "log entry": str(file.proof.inclusion.index),
    }


def _submission(path: Path) -> ConsentSubmission:
    try:
        return ConsentSubmission.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as problem:
        raise ConfigError(
            f"{path} holds no tokens that merchants signed",
            field="file",
            remedy='give a file of the form {"tokens": ["…", "…"]} with 1 to 1,000 compact JWS',
        ) from problem


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
