"""Alembic for one database's folder of versions: bring it to the newest schema, say whether it is there, write one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, MetaData, column, inspect, select, table

from hub.db import Database
from hub.errors import StateError

if TYPE_CHECKING:
    from alembic.config import Config

_PRESENT = table("alembic_version", column("version_num"))


@dataclass(frozen=True)
class Versions:
    """The versions of one schema.

    Attributes:
        folder: with `env.py` and `versions`.
        tables: the whole schema as it is declared.
        order: what a person types to bring a database to the newest version.
    """

    folder: Path
    tables: Callable[[], MetaData]
    order: str

    def _config(self, connection: Connection | None = None) -> Config:
        from alembic.config import Config  # noqa: PLC0415  (Alembic is slow to import, and each command opens a database)

        config = Config()
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        return config

    def migrate(self, db: Database, *, revision: str = "head") -> None:
        """Bring the database to the newest schema, or to a named one, in one transaction where the database can.

        Raises:
            StateError: a newer program wrote the database, or this one does not know the revision.
        """
        from alembic import command  # noqa: PLC0415
        from alembic.migration import MigrationContext  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        known = {script.revision for script in ScriptDirectory.from_config(self._config()).walk_revisions()}
        with db.engine.begin() as connection:
            present = MigrationContext.configure(connection).get_current_revision()
            for each in (present, revision):
                if each not in (None, "head", *known):
                    raise StateError(
                        f"The database has schema {each}, which this program does not know: a newer program wrote it.",
                        field="database",
                        remedy="Install the newer program again; nothing was changed.",
                    )
            command.upgrade(self._config(connection), revision)

    def _revisions(self) -> list[str]:
        """What Alembic calls the versions, the oldest first: each file's name begins with its revision."""
        return sorted(file.name.partition("_")[0] for file in self.folder.joinpath("versions").glob("[0-9]*_*.py"))

    def newest(self) -> str:
        """Return the revision of the newest schema."""
        return (self._revisions() or [""])[-1]

    def check_schema(self, db: Database) -> None:
        """Raise StateError unless the database has the newest schema."""
        head = self.newest()
        with db.engine.connect() as connection:
            versioned = inspect(connection).has_table(_PRESENT.name)
            present = connection.scalar(select(_PRESENT.c.version_num)) if versioned else None
        if present == head:
            return
        older = present is None or present in self._revisions()
        raise StateError(
            f"The database has schema {present or 'none'}, this program needs {head}.",
            field="database",
            remedy=f"Make a backup with the program before, then run `{self.order}`."
            if older
            else "A newer program wrote it: install that one again. Nothing was changed.",
        )

    def differences(self, db: Database) -> list[object]:
        """Return what differs between the database and the declared tables; nothing if all is well."""
        from alembic.autogenerate import compare_metadata  # noqa: PLC0415
        from alembic.migration import MigrationContext  # noqa: PLC0415

        with db.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, self.tables()))

    def write_version(self, message: str, *, revision: str) -> Path:
        """Write a version that leads from the newest schema to the declared tables; return its file."""
        from alembic import command  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as folder:
            db = Database(f"sqlite:///{folder}/empty.sqlite")
            if any(self.folder.joinpath("versions").glob("[0-9]*.py")):
                self.migrate(db)
            with db.engine.connect() as connection:
                script = command.revision(self._config(connection), message, autogenerate=True, rev_id=revision)
            db.close()
        if script is None or isinstance(script, list):
            raise StateError("Alembic wrote no single version.", remedy=f"Look at {self.folder}/versions.")
        path = Path(script.path)
        for tool in (("ruff", "format", "--quiet"), ("ruff", "check", "--fix", "--quiet")):
            subprocess.run([sys.executable, "-m", *tool, str(path)], check=True)  # noqa: S603
        return path
