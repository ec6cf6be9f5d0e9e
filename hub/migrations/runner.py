"""The hub's database and its versions, of which `hub.alembic_versions` has the working."""

from __future__ import annotations

from pathlib import Path

from hub.alembic_versions import Versions
from hub.tables.base import load_tables

VERSIONS = Versions(Path(__file__).parent, load_tables, "digua-hub migrate")
migrate = VERSIONS.migrate
newest = VERSIONS.newest
check_schema = VERSIONS.check_schema
differences = VERSIONS.differences
write_version = VERSIONS.write_version
