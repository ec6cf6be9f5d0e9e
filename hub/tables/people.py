"""People of the hub's pages, their sessions, and the record of who looked at personal data."""

from __future__ import annotations

from hub.tables.base import Base
from models.web.tables import access_tables

ACCESS = access_tables(Base.metadata)
