"""`digua-hub init`: a folder with configuration, keys, administrator's token and database of a new hub."""

from __future__ import annotations

import secrets
from pathlib import Path

from hub.clock import Clock, utc_now
from hub.config import HubConfig, load_config
from hub.db import Database
from hub.errors import StateError
from hub.keys import create_keys, write_secret
from hub.migrations.runner import migrate
from hub.services import Hub, record_identity, sample_config

CONFIG_FILE = "hub.yaml"


def initialise(directory: Path, *, hub_id: str, port: int, clock: Clock = utc_now) -> Hub:
    """Make a new hub in a folder and open it; nothing that is there is overwritten.

    Raises:
        StateError: the folder holds a hub's configuration, keys, token or database.
        HubConfigError: the id or the port cannot be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / CONFIG_FILE
    for name in (CONFIG_FILE, "keys", "admin.token", "hub.sqlite"):
        if (directory / name).exists():
            raise StateError(
                f"{directory / name} is there already; it is never overwritten.",
                field=name,
                remedy="Choose an empty folder with --dir.",
            )
    path.write_text(sample_config(hub_id, port), encoding="utf-8")
    try:
        config = load_config(path)
    except Exception:
        path.unlink()
        raise
    _make_state(config, clock)
    return Hub.open(config, clock=clock)


def _make_state(config: HubConfig, clock: Clock) -> None:
    keys = create_keys(config.keys_dir)
    write_secret(config.admin_token_file, secrets.token_urlsafe(32).encode() + b"\n")
    db = Database(config.database)
    try:
        migrate(db)
        record_identity(db, config, keys, clock())
    finally:
        db.close()
