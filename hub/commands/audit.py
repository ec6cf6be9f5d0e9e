"""`digua-hub audit`: export the log, verify an export with nothing but two public keys, reconcile it with a node's,
erase what links it to a merchant."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crypto.reconciliation import Discrepancy
from hub import console
from hub.audit import Verdict, read_header, verify_export
from hub.commands.audit_retention import retain
from hub.commands.audit_search import search
from hub.config import load_config
from hub.erasure import erase_merchant
from hub.errors import RequestError
from hub.log_tiles import export_tiles
from hub.notice_reconciliation import WithheldNotice, reconcile_notices
from hub.reconciliation import ReceiptVerdict, reconcile, reconcile_receipts
from hub.services import Hub

app = typer.Typer(no_args_is_help=True, help="Export, verify and reconcile the audit log. 审计日志。")

app.command("search")(search)
app.command("retain")(retain)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write (NDJSON).")] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="Directory to write or continue, as C2SP tlog-tiles. 静态目录。")
    ] = None,
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: JsonFlag = False,
) -> None:
    """Write the log up to its newest cosigned checkpoint, as one file or as tiles. 导出日志。"""
    if (out is None) == (tiles is None):
        raise RequestError("Give either --out or --tiles.", field="--out", remedy="Name a file, or a directory.")
    hub = Hub.open(load_config(config))
    try:
        if tiles is not None:
            _export_tiles(hub, tiles, as_json=as_json)
        elif out is not None:
            _export_file(hub, out, as_json=as_json)
    finally:
        hub.close()


def _export_file(hub: Hub, out: Path, *, as_json: bool) -> None:
    lines = 0
    with out.open("wb") as file:
        for line in hub.log.reader.export():
            file.write(line)
            lines += 1
    header = read_header(out)
    if as_json:
        console.show_json({"file": str(out), "entries": header.size, "lines": lines, "bytes": out.stat().st_size})
    else:
        console.say("{entries} entries written to {file}.", entries=header.size, file=out)


def _export_tiles(hub: Hub, directory: Path, *, as_json: bool) -> None:
    done = export_tiles(hub.db, directory)
    if as_json:
        facts = {"entries": done.size, "written": done.written, "kept": done.kept}
        console.show_json({"directory": str(directory), **facts})
    else:
        console.say(
            "{directory} holds {entries} entries: {written} files are new, {kept} were there.",
            directory=directory,
            entries=done.size,
            written=done.written,
            kept=done.kept,
        )


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="An export of the log.")],
    hub_key: Annotated[str, typer.Option(help="The hub's public signing key, base64url.")],
    witness_key: Annotated[str, typer.Option(help="The witness's public signing key, base64url.")],
    checkpoint: Annotated[list[Path] | None, typer.Option(help="A cosigned checkpoint kept from earlier.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify an export offline. 离线验证导出。Exit code 1 where anything is wrong."""
    header = read_header(file)
    verifiers = {
        header.origin: console.decode_key(hub_key, "--hub-key"),
        header.witness or "witness": console.decode_key(witness_key, "--witness-key"),
    }
    saved = [path.read_text(encoding="utf-8") for path in checkpoint or []]
    verdict = verify_export(file, verifiers, saved=saved)
    if as_json:
        console.show_json({"ok": verdict.ok, **asdict(verdict)})
    else:
        _show(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


def _show(verdict: Verdict) -> None:
    rows = [(name, count) for name, count in sorted(verdict.by_type.items())]
    console.show_table("Entries by type", ("Type", "Number"), rows)
    console.say(
        "Log {origin}: {entries} entries, {checkpoints} checkpoints, cosigned up to {cosigned}.",
        origin=verdict.origin,
        entries=verdict.entries,
        checkpoints=verdict.checkpoints,
        cosigned=verdict.cosigned,
    )
    if verdict.ok:
        console.say("The log is whole: every entry has its place under the witness's signature.")
        return
    findings = [(finding.kind, finding.first, finding.last, finding.detail) for finding in verdict.findings]
    console.show_table("The log is NOT whole", ("Finding", "From entry", "To entry", "Detail"), findings)


@app.command()
def erase(
    pseudonym: Annotated[str, typer.Argument(help="The merchant's pseudonym, 64 hexadecimal digits.")],
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: JsonFlag = False,
) -> None:
    """Erase what links the log to a merchant (PIPL 47), for good. 删除日志与商户的关联（个保法第47条，不可恢复）。"""
    hub = Hub.open(load_config(config))
    try:
        erased = erase_merchant(hub, _pseudonym(pseudonym))
    finally:
        hub.close()
    if as_json:
        console.show_json({"entries": erased})
    else:
        console.say("{entries} entries of the log are no longer linked to the merchant.", entries=erased)


def _pseudonym(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise RequestError(
            "A pseudonym has 64 hexadecimal digits.", field="PSEUDONYM", remedy="Ask the platform for the merchant's."
        )
    return value


@app.command("reconcile")
def reconcile_exports(
    hub_export: Annotated[Path, typer.Argument(help="Export of the hub's log.")],
    node_export: Annotated[Path, typer.Argument(help="Export of one node's journal.")],
    node: Annotated[str | None, typer.Option(help="The node's party id.")] = None,
    receipts: Annotated[Path | None, typer.Option(help="Receipts for consents and their events.")] = None,
    hub_key: Annotated[str | None, typer.Option(help="The hub's public signing key, base64url.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List what hub or node has and the other lacks: queries, and consents by receipts. 对账。Exit code 1 if any."""
    found = reconcile(hub_export, node_export, node=node)
    notices = reconcile_notices(hub_export, node_export)
    verdict = _by_receipts(receipts, hub_key, hub_export, node_export, node)
    if as_json:
        consents = None if verdict is None else asdict(verdict)
        ok = not found and not notices and (verdict is None or not verdict.withheld)
        console.show_json(
            {
                "ok": ok,
                "discrepancies": [asdict(each) for each in found],
                "notices": [asdict(each) for each in notices],
                "consents": consents,
            }
        )
    else:
        _show_discrepancies(found)
        _show_notices(notices)
        if verdict is not None:
            _show_receipts(verdict)
    if found or notices or (verdict is not None and verdict.withheld):
        raise typer.Exit(1)


def _by_receipts(
    receipts: Path | None, hub_key: str | None, hub_export: Path, node_export: Path, node: str | None
) -> ReceiptVerdict | None:
    if receipts is None:
        return None
    if hub_key is None:
        raise RequestError(
            "Receipts are verified under the hub's key.", field="--hub-key", remedy="Give the hub's public signing key."
        )
    key = console.decode_key(hub_key, "--hub-key")
    return reconcile_receipts(receipts, hub_export, node_export, hub_key=key, node=node)


def _show_discrepancies(found: list[Discrepancy]) -> None:
    if not found:
        console.say("Hub and node tell of the same queries.")
        return
    rows = [(each.time, each.request_hash, each.item, each.only_in) for each in found]
    console.show_table("Queries in one log only", ("Time", "Request", "Item", "Only in"), rows)


def _show_notices(found: list[WithheldNotice]) -> None:
    if found:
        rows = [(each.time, each.serial, each.sha256, each.missing_in) for each in found]
        console.show_table("Privacy notices withheld", ("Time", "No.", "SHA-256", "Missing in"), rows)


def _show_receipts(verdict: ReceiptVerdict) -> None:
    if verdict.withheld:
        rows = [(each.time, each.kind, each.sha256, each.missing_in) for each in verdict.withheld]
        title = "Acknowledged by the hub, and withheld"
        console.show_table(title, ("Time", "Kind", "SHA-256", "Missing in"), rows)
    console.say(
        "{decided} receipts compared; {undecided} are newer than the exports.",
        decided=verdict.decided,
        undecided=verdict.undecided,
    )
