"""`digua-hub init`: a folder with configuration, keys, tokens and database of a new hub."""

from __future__ import annotations

import secrets
from pathlib import Path

from hub.clock import Clock, utc_now
from hub.config import HubConfig, load_config
from hub.db import open_database
from hub.errors import StateError
from hub.fresh_folder import first_config
from hub.identity import record_identity
from hub.keys import SIGN_FILE, VOPRF_FILE, create_keys, write_secret
from hub.migrations.runner import migrate
from hub.sample_config import sample_config
from hub.services import Hub

CONFIG_FILE = "hub.yaml"


def initialise(directory: Path, *, hub_id: str, port: int, clock: Clock = utc_now) -> Hub:
    """Make a new hub in a folder and open it; nothing that is there is overwritten.

    Raises:
        StateError: the folder holds a hub's configuration, keys, token or database.
        HubConfigError: the id or the port cannot be used.
    """
    others = ("keys", "admin.token", "internal.token", "metrics.token", "hub.sqlite")
    config = first_config(
        directory / CONFIG_FILE, sample_config(hub_id, port), load_config, others=others, error=StateError
    )
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
        config.metrics_token_file,
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
            for path in (config.admin_token_file, config.internal_token_file, config.metrics_token_file):
                write_secret(path, secrets.token_urlsafe(32).encode() + b"\n")
            record_identity(db, config, keys, clock())
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise
    finally:
        db.close()
