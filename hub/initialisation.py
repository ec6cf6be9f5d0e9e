"""`digua-hub init`: a folder with configuration, keys, tokens and database of a new hub."""

from __future__ import annotations

import secrets
from pathlib import Path

from hub.clock import Clock, utc_now
from hub.config import HubConfig, load_config
from hub.db import open_database
from hub.errors import StateError
from hub.keys import SIGN_FILE, VOPRF_FILE, create_keys, write_secret
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
    for name in (CONFIG_FILE, "keys", "admin.token", "internal.token", "hub.sqlite"):
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


def initialise_from(path: Path, *, clock: Clock = utc_now) -> Hub:
    """Make keys, token and database of a hub whose configuration is written already, and open it.

    Raises:
        HubConfigError: the configuration does not fit.
        StateError: a key, the token or the hub's database is there already; nothing is overwritten.
    """
    config = load_config(path)
    _make_state(config, clock)
    return Hub.open(config, clock=clock)


def _make_state(config: HubConfig, clock: Clock) -> None:
    """Database first: where it cannot be had, no key is made; where it turns out to be somebody's, none is left."""
    made = [
        config.keys_dir / SIGN_FILE,
        config.keys_dir / VOPRF_FILE,
        config.admin_token_file,
        config.internal_token_file,
    ]
    for path in made:
        if path.exists():
            raise StateError(
                f"{path} is there already; it is never overwritten.",
                field=path.name,
                remedy="Move the old files away if the hub that used them is given up.",
            )
    db = open_database(config)
    try:
        migrate(db)
        try:
            keys = create_keys(config.keys_dir)
            for path in (config.admin_token_file, config.internal_token_file):
                write_secret(path, secrets.token_urlsafe(32).encode() + b"\n")
            record_identity(db, config, keys, clock())
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise
    finally:
        db.close()
