"""Runs Alembic from Python: bring a database to the newest schema, say whether it is there, write a new version."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from hub.db import Database
from hub.errors import StateError
from hub.tables.base import load_tables

_FOLDER = Path(__file__).parent


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def migrate(db: Database) -> None:
    """Bring the database to the newest schema, in one transaction where the database can."""
    with db.engine.begin() as connection:
        command.upgrade(_config(connection), "head")


def check_schema(db: Database) -> None:
    """Raise StateError unless the database has the newest schema."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with db.engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    if present != head:
        raise StateError(
            f"The database has schema {present or 'none'}, this program needs {head}.",
            field="database",
            remedy="Make a backup, then run `digua-hub migrate`; a newer schema needs the newer program.",
        )


def differences(db: Database) -> list[object]:
    """Return what differs between the database and the tables declared in `hub.tables`; nothing if all is well."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, load_tables()))


def write_version(message: str, *, revision: str) -> Path:
    """Write a version that leads from the newest schema to the declared tables; return its file."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(f"sqlite:///{folder}/empty.sqlite")
        if any(_FOLDER.joinpath("versions").glob("[0-9]*.py")):
            migrate(db)
        with db.engine.connect() as connection:
            script = command.revision(_config(connection), message, autogenerate=True, rev_id=revision)
        db.close()
    if script is None or isinstance(script, list):
        raise StateError("Alembic wrote no single version.", remedy="Look at hub/migrations/versions.")
    path = Path(script.path)
    for tool in (("ruff", "format", "--quiet"), ("ruff", "check", "--fix", "--quiet")):
        subprocess.run([sys.executable, "-m", *tool, str(path)], check=True)  # noqa: S603
    return path
