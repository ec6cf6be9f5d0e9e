"""`digua-hub audit verify`: an export is verified with nothing but two public keys."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.audit import Verdict, read_header, verify_export

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def verify(
    file: Annotated[Path, typer.Argument(help="An export of the log.")],
    hub_key: Annotated[str, typer.Option(help="The hub's public signing key, base64url.")],
    witness_key: Annotated[str, typer.Option(help="The witness's public signing key, base64url.")],
    checkpoint: Annotated[list[Path] | None, typer.Option(help="A cosigned checkpoint kept from earlier.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify an export offline. 离线验证导出。Exit code 1 where anything is wrong."""
    header = read_header(file)
    verifiers = header.lines(console.decode_key(hub_key, "--hub-key"), console.decode_key(witness_key, "--witness-key"))
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
