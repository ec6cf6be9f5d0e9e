"""The hub's pages as one site: whose they are, what they warn of, and which parts they have."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from hub.services import Hub
from hub.web import merchant
from models.web.pages import NavItem, Pages
from models.web.problems import install_problem_pages

ROUTERS: tuple[APIRouter, ...] = (merchant.router,)
"""The parts; each is a module of this package."""
NAV: tuple[NavItem, ...] = (*merchant.NAV,)


def make_pages(hub: Hub) -> Pages:
    """Return the look of the hub's pages."""
    return Pages("hub.web", title=hub.config.hub_id, nav=[*NAV])


def install(app: FastAPI, hub: Hub) -> None:
    """Put the pages on the hub's application, whose handlers of errors are there already."""
    pages = make_pages(hub)
    pages.install(app)
    install_problem_pages(app, pages)
    for router in ROUTERS:
        app.include_router(router)
