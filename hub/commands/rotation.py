"""`rotate-key`, `keys`: the hub's signing keys."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto.keys import fingerprint
from hub import console
from hub.config import load_config
from hub.errors import RequestError
from hub.rotation import announce, prepare
from hub.services import Hub

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HUB_YAML = Path("hub.yaml")


def rotate_key(
    config: ConfigOption = HUB_YAML,
    confirm: Annotated[
        str | None, typer.Option(help="Fingerprint of the new key, as this command printed it. 新密钥指纹。")
    ] = None,
    seconds: Annotated[
        int, typer.Option("--in", min=30, max=30 * 86400, help="After how many seconds it holds. 多少秒后生效。")
    ] = 120,
    old_key_lost: Annotated[
        bool,
        typer.Option(
            "--old-key-lost", help="Nobody follows by itself: every party pins the new key by hand. 旧密钥丢失或泄露。"
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a new signing key; with --confirm, announce it to a running hub. 轮换枢纽签名密钥。"""
    hub = Hub.open(load_config(config), signing_key_lost=old_key_lost)
    try:
        new = prepare(hub)
        name = fingerprint(new.public)
        if confirm is None:
            if as_json:
                console.show_json({"fingerprint": name, "public": console.encode_key(new.public), "announced": False})
            else:
                console.say(
                    "The new key lies in {directory}; its fingerprint is {name}.",
                    directory=hub.config.keys_dir,
                    name=name,
                )
                console.say("Copy it into every replica's keys_dir, then run the same with --confirm.")
            return
        if confirm != name:
            raise RequestError(
                f"The key that lies ready has the fingerprint {name}.",
                field="--confirm",
                remedy="Compare it with what was printed; move the file away if it is not yours.",
            )
        done = announce(hub, new, lead=timedelta(seconds=seconds), old_lost=old_key_lost)
    finally:
        hub.close()
    if as_json:
        console.show_json(
            {
                "fingerprint": name,
                "public": console.encode_key(done.new_key),
                "announced": True,
                "holds_from": done.holds_from.isoformat(),
            }
        )
        return
    console.say(
        "{name} holds from {moment}. No process has to be restarted.", name=name, moment=done.holds_from.isoformat()
    )
    if old_key_lost:
        console.say("Now every party's owner pins it by hand: digua-node trust-hub. Tell them by telephone.")


def keys(config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """List the hub's signing keys and when they hold. 列出枢纽签名密钥。"""
    hub = Hub.open(load_config(config))
    try:
        line, files, now = hub.signing.line, hub.signing.held(), hub.signing.public
    finally:
        hub.close()
    rows = [
        (
            fingerprint(key.public),
            None if key.since is None else key.since.isoformat(),
            None if key.until is None else key.until.isoformat(),
            key.public == now,
            key.public in files,
        )
        for key in line.keys
    ]
    if as_json:
        names = ("fingerprint", "since", "until", "holds", "file")
        console.show_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    shown = [
        (
            *("" if cell is None else cell for cell in row[:3]),
            *(console.text("yes" if cell else "no") for cell in row[3:]),
        )
        for row in rows
    ]
    console.show_table("Signing keys", ("Key", "Holds from", "Holds until", "Holds now", "File is here"), shown)
