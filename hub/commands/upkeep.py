"""Commands that make a hub, serve it, and look after it; each imports what it needs when it is called."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from crypto.keys import fingerprint
from hub import console
from hub.config import load_config
from hub.db import open_database
from hub.services import Hub
from models.ops.tracing import start_tracing

ConfigOption = Annotated[Path, typer.Option(help="The hub's configuration. 配置文件。")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HUB_YAML = Path("hub.yaml")


def init(
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the new hub.")] = Path(),
    hub_id: Annotated[str, typer.Option(help="The hub's id: lower-case letters, digits, hyphens.")] = "hub",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 8440,
    config: Annotated[
        Path | None, typer.Option(help="A configuration that is there already: make only what it names. 已有配置。")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a new hub: configuration, keys, administrator's token, database. 新建枢纽。"""
    from hub.initialisation import CONFIG_FILE, initialise, initialise_from  # noqa: PLC0415  (Alembic is slow to import)

    path = config or directory / CONFIG_FILE
    hub = initialise(directory, hub_id=hub_id, port=port) if config is None else initialise_from(config)
    sign_key, voprf_key = hub.keys.identity.public, hub.keys.voprf.public
    hub.close()
    if as_json:
        console.show_json(
            {
                "config": str(path),
                "hub_id": hub.config.hub_id,
                "origin": hub.config.log_origin,
                "sign_key": console.encode_key(sign_key),
                "sign_key_fingerprint": fingerprint(sign_key),
                "voprf_key": console.encode_key(voprf_key),
                "admin_token_file": str(hub.config.admin_token_file),
            }
        )
        return
    rows = [
        ("hub_id", hub.config.hub_id),
        ("config", path),
        ("sign_key", console.encode_key(sign_key)),
        ("fingerprint", fingerprint(sign_key)),
        ("voprf_key", console.encode_key(voprf_key)),
        ("admin_token_file", hub.config.admin_token_file),
    ]
    console.show_table("New hub", ("Name", "Value"), rows)
    console.say("Give sign_key to every party over another channel; keep the folder keys in your backup.")


def serve(config: ConfigOption = HUB_YAML) -> None:
    """Serve until SIGTERM. 启动服务。"""
    from hub import serving  # noqa: PLC0415

    serving.configure_logging()  # what the configuration itself is refused for is logged, too
    loaded = load_config(config)
    serving.configure_logging(loaded.logs)
    stop_tracing = start_tracing(loaded.tracing, service="digua-hub", name=loaded.hub_id)
    hub = Hub.open(loaded)
    try:
        serving.serve(hub)
    finally:
        hub.close()
        stop_tracing()


def migrate(config: ConfigOption = HUB_YAML) -> None:
    """Bring the database to this program's schema. 升级数据库。"""
    from hub.migrations.runner import migrate as upgrade  # noqa: PLC0415

    db = open_database(load_config(config))
    upgrade(db)
    db.close()
    console.say("The database has the newest schema.")


def enrol_token(
    kind: Annotated[str, typer.Option(help="A source kind such as bank, or client, or witness.")],
    party: Annotated[str, typer.Option(help="The id that the party will have.")],
    valid_hours: Annotated[int, typer.Option(min=1, max=8760)] = 72,
    replace: Annotated[bool, typer.Option("--replace", help="For a party that lost its keys.")] = False,
    config: ConfigOption = HUB_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Issue a one-time enrolment token for one party. 签发一次性登记令牌。"""
    hub = Hub.open(load_config(config))
    token = hub.enrolment.issue_token(kind, party, valid_for=timedelta(hours=valid_hours), replace=replace)
    hub.close()
    if as_json:
        console.show_json({"token": token, "party_id": party, "kind": kind, "valid_hours": valid_hours})
    else:
        sys.stdout.write(token + "\n")


def parties(config: ConfigOption = HUB_YAML, as_json: JsonFlag = False) -> None:
    """List the enrolled parties and who still waits for the witness. 列出各方。"""
    hub = Hub.open(load_config(config))
    pending = set(hub.roster.pending())
    rows = [(p.party_id, p.kind, p.region, p.title, p.party_id not in pending) for p in hub.parties.all()]
    hub.close()
    if as_json:
        names = ("party_id", "kind", "region", "title", "approved")
        console.show_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        shown = [(*row[:4], console.text("yes" if row[4] else "waits for the witness")) for row in rows]
        console.show_table("Parties", ("Party", "Kind", "Region", "Title", "Approved"), shown)


def revoke(
    party: Annotated[str, typer.Argument(help="The party's id. 参与方编号。")],
    reason: Annotated[str, typer.Option(help="For the public log; names no person. 原因，写入公开日志。")],
    config: ConfigOption = HUB_YAML,
    as_json: JsonFlag = False,
) -> None:
    """Revoke a party: refused from now on, its keys for good. 吊销参与方。"""
    hub = Hub.open(load_config(config))
    gone = hub.revocation.revoke(party, reason)
    hub.close()
    if as_json:
        console.show_json({"party_id": gone.party_id, "kind": gone.kind, "sign_key": fingerprint(gone.sign_key)})
        return
    console.say("{party} is revoked: queries, campaigns and its link are refused from now on.", party=gone.party_id)
    console.say("The roster follows once the witness has signed it. Consents that name it stay stored, unused.")
