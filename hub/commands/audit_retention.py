"""`digua-hub audit retain`: erase what links entries past the limit to merchants, or say what that would be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.config import load_config
from hub.errors import HubConfigError
from hub.services import Hub


def retain(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is past the limit. 仅预览。")] = False,
    config: Annotated[Path, typer.Option(help="The hub's configuration.")] = Path("hub.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase the salts past `audit.retain_salts_days`, for good. 按保存期限删除日志与商户的关联（不可恢复）。"""
    hub = Hub.open(load_config(config))
    try:
        if hub.retention is None:
            raise HubConfigError(
                "The hub has no limit for salts.",
                field="audit.retain_salts_days",
                remedy="Set audit: {retain_salts_days: DAYS} in hub.yaml; without it salts stay until a merchant asks.",
            )
        due = hub.retention.due()
        erased = 0 if dry_run else hub.retention.apply()
    finally:
        hub.close()
    before = due.before.date().isoformat()
    if as_json:
        oldest = None if due.oldest is None else due.oldest.date().isoformat()
        facts = {"before": before, "entries": due.entries, "merchants": due.merchants, "oldest": oldest}
        console.show_json({**facts, "dry_run": dry_run, "erased": erased})
    elif dry_run:
        console.say(
            "{entries} entries from before {before} are linked to {merchants} merchants; nothing was erased.",
            entries=due.entries,
            before=before,
            merchants=due.merchants,
        )
    else:
        console.say("{entries} entries from before {before} lost their link.", entries=erased, before=before)
