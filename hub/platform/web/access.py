"""Who may open the platform's pages; each look at personal data has its hash in the platform's audit record."""

from __future__ import annotations

from pydantic import JsonValue
from sqlalchemy.orm import Session

from hub.clock import Clock
from hub.db import Database
from hub.platform.audit import AuditRecord
from hub.platform.config import PagesOptions
from hub.platform.tables.people import ACCESS
from models.web.access import Access
from models.web.looks import Look
from models.web.rights import ROLES_AT


def make_access(pages: PagesOptions, name: str, db: Database, audit: AuditRecord, clock: Clock) -> Access:
    """Open the platform's accounts; AccessStateError where their key file cannot be used."""

    def anchor(session: Session, look: Look) -> None:
        facts: dict[str, JsonValue] = {"record": look.seq, "record_hash": look.hash.hex(), "what": look.what}
        audit.write(session, f"person:{look.person_id}", "data-look", f"look:{look.seq}", facts)

    return Access(
        db,
        ACCESS,
        site=pages.site,
        name=name,
        roles=ROLES_AT["platform"],
        key_file=pages.key_file,
        clock=clock,
        anchor=anchor,
    )
