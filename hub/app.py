"""The hub over HTTP: routers, problem details, idempotency, start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio import to_thread
from fastapi import FastAPI

from hub import problems
from hub.api import (
    assessments,
    campaigns,
    consents,
    deletions,
    health,
    internal,
    invitations,
    links,
    log,
    merchants,
    models,
    monitoring,
    notices,
    parties,
    queries,
    statistics,
    tickets,
    voprf,
)
from hub.api.described import document
from hub.bearer import collector_auth
from hub.idempotency import IdempotencyMiddleware
from hub.readiness import Readiness
from hub.services import Hub
from hub.web import site
from models.web.observed import Observed

ROUTERS = (
    parties.router,
    merchants.router,
    invitations.router,
    tickets.router,
    notices.router,
    deletions.router,
    log.router,
    health.router,
    consents.router,
    links.router,
    voprf.router,
    queries.router,
    models.router,
    statistics.router,
    assessments.router,
    campaigns.router,
    internal.router,
    monitoring.router,
)


def create_app(hub: Hub) -> FastAPI:
    """Make the application for an open hub; its background parts run as long as the application does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(hub.start)
        try:
            yield
        finally:
            await to_thread.run_sync(hub.stop)

    info = hub.info()
    app = FastAPI(
        title=hub.config.hub_id,
        version=info.software,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # interactive pages would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.hub = hub
    app.state.own_name = hub.config.hub_id
    app.state.readiness = Readiness(hub)
    app.state.collector = collector_auth(hub.config.metrics_token_file)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    site.install(app, hub)
    app.add_middleware(IdempotencyMiddleware, store=hub.idempotency, max_body=hub.config.max_body_mib << 20)
    app.add_middleware(Observed, name="hub", told=hub.config.logs.requests)
    return app
