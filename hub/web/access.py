"""Who may open the hub's pages: its operators; each look at personal data has its hash in the audit log."""

from __future__ import annotations

from sqlalchemy.orm import Session

from hub.log import Fact
from hub.services import Hub
from hub.tables.people import ACCESS
from models.web.access import Access
from models.web.looks import Look
from models.web.rights import ROLES_AT


def make_access(hub: Hub) -> Access:
    """Open the hub's accounts; AccessStateError where their key file cannot be used, HubConfigError without origin."""

    def anchor(session: Session, look: Look) -> None:
        facts: dict[str, Fact] = {"record": look.seq, "record_hash": look.hash.hex(), "what": look.what}
        hub.log.append(session, "data-look", hub.config.hub_id, facts=facts)

    return Access(
        hub.db,
        ACCESS,
        site=hub.config.page_site,
        name=hub.config.hub_id,
        roles=ROLES_AT["hub"],
        key_file=hub.config.pages_key_file,
        clock=hub.clock,
        anchor=anchor,
        counts=None if hub.replica_set is None else hub.replica_set.windows,
    )
