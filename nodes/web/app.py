"""The node's pages as one application: the regulator's at the witness, the bank's at all others; parts add themselves.

A part puts its routers, its navigation and what it works with on the application; it is named here, and its routes
stand in the rights table (`models.web.rights`). What a route works with: `nodes.web.state`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version

from fastapi import FastAPI

from models.web.app import install_pages
from models.web.observed import Observed
from models.web.pages import Pages
from models.web.rights import Site
from nodes.gateway import add_problems
from nodes.gateway_batches import BatchDesk
from nodes.services import Services
from nodes.web import bank_parts, regulator
from nodes.web.access import make_access, site_of

Part = Callable[[FastAPI, Pages, Services], None]

PARTS: Mapping[Site, tuple[Part, ...]] = {"bank": (bank_parts.install,), "witness": (regulator.install,)}
UPLOADS: Mapping[Site, Mapping[str, int]] = {"bank": bank_parts.UPLOADS, "witness": regulator.UPLOADS}
"""Beginnings of paths whose forms hold a file, and how many bytes they take."""


def create_pages(services: Services, *, connected: Callable[[], bool], desk: BatchDesk | None = None) -> FastAPI:
    """The pages as an ASGI application.

    Args:
        services: the node's.
        connected: whether the link to the hub is up.
        desk: works on the node's batches, the gateway's and the pages'; whoever serves both gives one, and starts it.

    Raises:
        ConfigError: the node has no section `pages`.
        AccessStateError: the key file of the pages cannot be used.
    """
    runtime = services.runtime
    config, site = runtime.config, site_of(runtime.config)
    access = make_access(config, runtime.store, clock=runtime.clock)
    app = FastAPI(title="digua pages", version=version("digua"), openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.connected = connected
    app.state.batch_desk = desk or BatchDesk(services.batches)
    add_problems(app, config.party_id)
    pages = Pages("nodes.web", title=config.title or config.party_id)
    install_pages(app, access, pages, uploads=UPLOADS[site])
    for part in PARTS[site]:
        part(app, pages, services)
    app.add_middleware(Observed, name="pages", told=config.logs is not None and config.logs.requests)
    return app
