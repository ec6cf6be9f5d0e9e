"""Who may open a node's pages; each look at personal data has its hash in the node's journal."""

from __future__ import annotations

from sqlalchemy.orm import Session

from models.web.access import Access
from models.web.looks import Look
from models.web.rights import ROLES_AT, Site
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig, PagesConfig
from nodes.errors import ConfigError
from nodes.journal import Fact, Journal
from nodes.store import Store
from nodes.tables.people import ACCESS

PAGES_KEY = "pages.key"


def site_of(config: NodeConfig) -> Site:
    """Whose pages a node has."""
    return "witness" if config.kind == "witness" else "bank"


def pages_config(config: NodeConfig) -> PagesConfig:
    """The section `pages`; ConfigError where the node has none."""
    if config.pages is None:
        raise ConfigError(
            "this node has no pages",
            field="pages",
            remedy="add pages: {listen: {port: 8080}, origin: http://localhost:8080} to node.yaml",
        )
    return config.pages


def make_access(config: NodeConfig, store: Store, *, clock: Clock = system_clock) -> Access:
    """Open a node's accounts.

    Raises:
        ConfigError: the node has no pages.
        AccessStateError: their key file cannot be used.
    """
    pages = pages_config(config)
    journal = Journal(store, config.party_id, clock=clock)

    def anchor(session: Session, look: Look) -> None:
        facts: dict[str, Fact] = {"record": look.seq, "record_hash": look.hash.hex(), "what": look.what}
        journal.note("data-look", facts, session=session)

    return Access(
        store,
        ACCESS,
        site=pages.site,
        name=config.party_id,
        roles=ROLES_AT[site_of(config)],
        key_file=pages.key_file or config.keys_dir / PAGES_KEY,
        clock=clock,
        anchor=anchor,
    )
