"""People of the node's pages, their sessions, and the record of who looked at personal data."""

from __future__ import annotations

from models.web.tables import access_tables
from nodes.tables.base import NodeTableBase

ACCESS = access_tables(NodeTableBase.metadata)
