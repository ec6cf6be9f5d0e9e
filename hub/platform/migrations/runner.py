"""The platform's database and its versions, of which `hub.alembic_versions` has the working."""

from __future__ import annotations

from pathlib import Path

from hub.alembic_versions import Versions
from hub.platform.tables.base import load_tables

VERSIONS = Versions(Path(__file__).parent, load_tables, "digua-hub platform migrate")
