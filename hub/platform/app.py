"""The platform as an application: its API, its pages, and refusals as problem details."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from hub import problems
from hub.bearer import BearerAuth
from hub.platform.api import (
    banks,
    financings,
    insurance,
    merchants,
    monitoring,
    outcomes,
    products,
    statistics,
    subsidies,
)
from hub.platform.merchant_book import MerchantBook
from hub.platform.services import Platform
from hub.platform.web import site
from models.web.observed import Observed

ROUTERS = (
    products.router,
    financings.router,
    outcomes.router,
    subsidies.router,
    insurance.router,
    statistics.router,
    banks.router,
    monitoring.router,
)


def create_platform(
    platform: Platform,
    register: MerchantBook | None = None,
    front: site.Front | None = None,
    *,
    collector: BearerAuth | None = None,
) -> FastAPI:
    """Make the application of an open platform.

    Args:
        register: its merchants, where they are kept here and not in another system that `platform.merchants` asks.
        front: its pages; without them it has its API alone.
        collector: who may collect metrics; nobody where it is not said.
    """
    app = FastAPI(
        title=platform.name,
        version=version("digua"),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # interactive pages would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.platform = platform
    app.state.own_name = platform.name
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    if register is not None:
        app.state.register = register
        app.include_router(merchants.router)
    if collector is not None:
        app.state.collector = collector
        app.include_router(monitoring.metrics)
    if front is not None:
        site.install(app, platform, front)
    app.add_middleware(Observed, name="platform")
    return app
