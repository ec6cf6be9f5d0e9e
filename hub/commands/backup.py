"""`backup`, `restore`: one file with the state of a hub, and the way back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.commands.upkeep import HUB_YAML, ConfigOption, JsonFlag
from hub.config import load_config
from hub.services import Hub


def backup(
    out: Annotated[Path, typer.Argument(help="The new file. 备份文件。")],
    keys: Annotated[bool, typer.Option("--keys/--no-keys", help="Put keys and tokens into it, too. 是否包含密钥。")],
    config: ConfigOption = HUB_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Write the hub's whole state into one file; the hub may go on serving. 备份，可在运行中进行。"""
    from hub.backup import write_backup  # noqa: PLC0415  (Alembic is slow to import)
    from hub.migrations.runner import newest  # noqa: PLC0415

    hub = Hub.open(load_config(config))
    try:
        manifest = write_backup(hub, out, revision=newest(), with_keys=keys)
    finally:
        hub.close()
    rows = manifest.rows
    if as_json:
        console.show_json({"file": str(out), "rows": rows, **manifest.model_dump(mode="json", exclude={"members"})})
        return
    console.say(
        "{rows} rows and {entries} entries of the log are in {file}.", rows=rows, entries=manifest.log_size, file=out
    )
    if keys:
        console.say("Keys are in it: whoever has this file is the hub. Encrypt it before it leaves this machine.")
    else:
        console.say(
            "Keys are not in it: keep them in a backup of their own. Encrypt the file before it leaves this machine."
        )


def restore(
    archive: Annotated[Path, typer.Argument(help="A file of `digua-hub backup`. 备份文件。")],
    config: ConfigOption = HUB_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Restore a backup into an empty database; the hub is held until the witness was heard. 从备份恢复。"""
    from hub.doctor import examine  # noqa: PLC0415
    from hub.restoring import restore as bring_back  # noqa: PLC0415

    loaded = load_config(config)
    manifest = bring_back(loaded, archive)
    hub = Hub.open(loaded)
    complaints = examine(hub)
    hub.close()
    if as_json:
        console.show_json(
            {"log_size": manifest.log_size, "made_at": manifest.made_at.isoformat(), "complaints": complaints}
        )
    else:
        console.say(
            "Restored as of {time}, with {entries} entries of the log.",
            time=manifest.made_at.isoformat(timespec="seconds"),
            entries=manifest.log_size,
        )
        console.say("Start the hub: it writes nothing until the witness has said what it cosigned since.")
        if complaints:
            console.show_table("The stored log is NOT whole", ("Finding",), [(each,) for each in complaints])
    if complaints:
        raise typer.Exit(1)


def restored(
    finish: Annotated[
        bool, typer.Option("--finish", help="All is back: answer queries again. 数据已补齐，恢复查询。")
    ] = False,
    reason: Annotated[str, typer.Option(help="For the public log, with --finish. 原因，写入公开日志。")] = "",
    config: ConfigOption = HUB_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Show where a restored hub stands; --finish ends the time in which losses are made good. 恢复后的核对状态。"""
    from hub.restored_hub import finish as finish_restoring  # noqa: PLC0415

    hub = Hub.open(load_config(config))
    try:
        if finish:
            finish_restoring(hub, reason)
        standing = hub.log.guard.standing()
    finally:
        hub.close()
    if as_json:
        console.show_json(None if standing is None else asdict(standing))
        return
    if standing is None:
        console.say("This hub was never restored from a backup.")
        return
    console.say(_PHASES[standing.phase], before=standing.log_size, after=standing.witness_size)
    if standing.lost:
        console.show_table("Entries of the log whose subject was lost", ("Type", "Number"), list(standing.lost.items()))


_PHASES = {
    "held": "Held: restored with {before} entries; nothing is written until the witness was heard.",
    "resubmitting": "The log is whole again ({before} → {after} entries). Bring again what follows; queries wait.",
    "ended": "Done: restored with {before} entries, the witness had {after}.",
}
