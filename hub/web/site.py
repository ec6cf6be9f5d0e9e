"""The hub's pages as one site: whose they are, what they warn of, and which parts they have."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from hub.services import Hub
from hub.web import merchant, operator, operator_campaigns, operator_models, operator_statistics
from hub.web.access import make_access
from models.web.app import install_pages
from models.web.language import APIS
from models.web.pages import Alarm, NavItem, Pages

ROUTERS: tuple[APIRouter, ...] = (
    merchant.router,
    operator.router,
    operator_campaigns.router,
    operator_models.router,
    operator_statistics.router,
)
"""The parts; each is a module of this package."""
NAV: tuple[NavItem, ...] = (*merchant.NAV, *operator.NAV)
UPLOADS: dict[str, int] = {**operator_campaigns.UPLOADS}
"""Beginnings of paths whose forms hold a file, and how many bytes they take."""


def make_pages(hub: Hub) -> Pages:
    """Return the look of the hub's pages."""
    return Pages("hub.web", title=hub.config.hub_id, nav=[*NAV], alarms=lambda: _alarms(hub))


def _alarms(hub: Hub) -> list[Alarm]:
    return [
        Alarm(each.title, remedy=each.remedy, detail=each.what, since=each.since, href="/operator/log")
        for each in hub.alarms()
    ]


def install(app: FastAPI, hub: Hub) -> None:
    """Put the pages on the hub's application, whose handlers of errors are there already."""
    install_pages(app, make_access(hub), make_pages(hub), uploads=UPLOADS, apart=APIS)
    for router in ROUTERS:
        app.include_router(router)
