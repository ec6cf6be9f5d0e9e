"""The node's pages as one application: the regulator's at the witness, the bank's at all others; parts add themselves.

A part's module has a router and its places in the navigation; both are named here, and its routes stand in the rights
table (`models.web.rights`). What a route works with: `services_of(request)`, `connected(request)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import cast

from fastapi import APIRouter, FastAPI
from starlette.requests import HTTPConnection

from models.web.app import install_pages
from models.web.pages import NavItem, Pages
from models.web.rights import Site
from nodes.gateway import add_problems
from nodes.services import Services
from nodes.web.access import make_access, site_of

ROUTERS: Mapping[Site, tuple[APIRouter, ...]] = {"bank": (), "witness": ()}
NAV: Mapping[Site, tuple[NavItem, ...]] = {"bank": (), "witness": ()}
UPLOADS: Mapping[Site, Mapping[str, int]] = {"bank": {}, "witness": {}}
"""Beginnings of paths whose forms hold a file, and how many bytes they take."""


def create_pages(services: Services, *, connected: Callable[[], bool]) -> FastAPI:
    """The pages as an ASGI application.

    Args:
        services: the node's.
        connected: whether the link to the hub is up.

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
    add_problems(app, config.party_id)
    pages = Pages("nodes.web", title=config.title or config.party_id, nav=[*NAV[site]])
    install_pages(app, access, pages, uploads=UPLOADS[site])
    for router in ROUTERS[site]:
        app.include_router(router)
    return app


def services_of(connection: HTTPConnection) -> Services:
    """The node's services."""
    return cast(Services, connection.app.state.services)


def connected(connection: HTTPConnection) -> bool:
    """Whether the link to the hub is up."""
    return bool(connection.app.state.connected())
