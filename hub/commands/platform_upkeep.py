"""`digua-hub platform doctor`, `backup`, `restore`: is what was stored what it was, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub import console
from hub.commands.doctor import show_all
from hub.commands.platform_options import PLATFORM_YAML, ConfigOption, JsonFlag, operator
from hub.platform.config import load_platform_config


def doctor(config: ConfigOption = PLATFORM_YAML, as_json: JsonFlag = False) -> None:
    """Rebuild record, merchants, financings and grants, and compare; nothing is changed. 全面自检。

    Exit code 1 where there is a fault. It may run beside the serving platform.
    """
    from hub.platform.examination.all import examine_platform  # noqa: PLC0415
    from hub.platform.installation import at_desk  # noqa: PLC0415

    loaded = load_platform_config(config)
    with at_desk(loaded) as desk:
        show_all(lambda announce: examine_platform(loaded, desk, announce=announce), as_json=as_json)


def backup(
    out: Annotated[Path, typer.Argument(help="The new file. 备份文件。")],
    keys: Annotated[bool, typer.Option("--keys/--no-keys", help="Put the key files into it, too. 是否包含密钥。")],
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Write the platform's whole state into one file; it may go on serving. 备份，可在运行中进行。"""
    from hub.platform.backup import write_backup  # noqa: PLC0415

    manifest = write_backup(load_platform_config(config), out, with_keys=keys)
    if as_json:
        shown = manifest.model_dump(mode="json", exclude={"members", "marks"})
        console.show_json({"file": str(out), "rows": manifest.rows, **shown})
        return
    console.say(
        "{rows} rows and {entries} entries of the record are in {file}.",
        rows=manifest.rows,
        entries=manifest.entries,
        file=out,
    )
    if keys:
        console.say("Keys are in it: whoever has this file reads every identifier. Encrypt it before it leaves here.")
    else:
        console.say(
            "Keys are not in it: keep them in a backup of their own. Encrypt the file before it leaves this machine."
        )


def restore(
    archive: Annotated[Path, typer.Argument(help="A file of `digua-hub platform backup`. 备份文件。")],
    config: ConfigOption = PLATFORM_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Restore a backup into an empty database. 从备份恢复。"""
    from hub.platform.backup import restore as bring_back  # noqa: PLC0415

    manifest = bring_back(load_platform_config(config), archive, actor=operator())
    if as_json:
        console.show_json({"entries": manifest.entries, "made_at": manifest.made_at.isoformat()})
        return
    console.say(
        "Restored as of {time}, with {entries} entries of the record.",
        time=manifest.made_at.isoformat(timespec="seconds"),
        entries=manifest.entries,
    )
    console.say("Keys of the API and people are as they were then: end again what was ended since.")
    console.say("Run `digua-hub platform doctor`, then serve; banks send again what came after the backup.")
