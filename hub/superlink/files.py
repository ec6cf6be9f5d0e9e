"""Files of a SuperLink that the hub runs itself, in the folder that `superlink.directory` names."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hub.config import SuperLinkOptions
from hub.keys import write_secret

_SECRET_BYTES = 32


def address_file(options: SuperLinkOptions) -> Path:
    """Host and port of its inner listener, written when it starts: the port is a free one."""
    return options.directory / "control.address"


def token_file(options: SuperLinkOptions) -> Path:
    """The token of its Control API."""
    return options.directory / "control.token"


def executor_secret_file(options: SuperLinkOptions) -> Path:
    """What its executor of `ServerApp`s proves itself with."""
    return options.directory / "executor.secret"


def database_file(options: SuperLinkOptions) -> Path:
    """Its own database: registered nodes, runs, messages under way."""
    return options.directory / "superlink.sqlite"


def flower_home(options: SuperLinkOptions) -> Path:
    """Where Flower unpacks what was submitted."""
    return options.directory / "flwr"


def prepare(options: SuperLinkOptions) -> None:
    """Make the folder and its secrets, where they are not there already; mode 0700 and 0600."""
    options.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(options.directory, 0o700)
    for path in (token_file(options), executor_secret_file(options)):
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(_SECRET_BYTES).encode())
