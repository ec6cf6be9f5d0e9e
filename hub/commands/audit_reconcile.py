"""`digua-hub audit reconcile`: what the hub's log or a node's journal has and the other lacks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from crypto.reconciliation import Discrepancy
from crypto.succession import line_of
from hub import console
from hub.audit import read_header
from hub.errors import RequestError
from hub.notice_reconciliation import WithheldNotice, reconcile_notices
from hub.reconciliation import ReceiptVerdict, reconcile, reconcile_receipts

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
    header = read_header(hub_export)
    hub_keys = line_of(console.decode_key(hub_key, "--hub-key"), header.successions, header.hub_id)
    return reconcile_receipts(receipts, hub_export, node_export, hub_keys=hub_keys, node=node)


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
