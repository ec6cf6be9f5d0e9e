"""A listener for those who watch this machine: alive, ready, metrics. Off unless configured, and never for the outside.

It answers on this machine, or on a private address where the configuration names one; under no other host's name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

from models.ops.metrics import MEDIA_TYPE, exposition
from nodes.config import MonitorConfig
from nodes.readiness import examine, told
from nodes.services import Services
from nodes.state_metrics import NodeState
from nodes.threaded_server import ThreadedServer

_LOG = structlog.get_logger("nodes.monitor")


def create_monitor(services: Services, config: MonitorConfig, *, connected: Callable[[], bool]) -> FastAPI:
    """The listener as an ASGI application."""
    runtime = services.runtime
    state = NodeState(services, connected)
    app = FastAPI(title="digua monitor", version=version("digua"), openapi_url=None, docs_url=None, redoc_url=None)
    # Without it a page in a browser on this machine could read along, by a name of its own for this address.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", config.host])

    @app.get("/healthz")
    async def read_alive() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    def read_ready(request: Request) -> Response:
        checks = examine(runtime.config, runtime.store, runtime.roster, runtime.now())
        ready = all(each.ok for each in checks if each.blocking)
        status = "ready" if all(each.ok for each in checks) else "degraded" if ready else "not-ready"
        found = told(checks, request.headers.get("accept-language", "en"))
        return JSONResponse({"status": status, "checks": found}, 200 if ready else 503)

    @app.get("/metrics")
    def read_metrics() -> Response:
        return Response(exposition([state]), media_type=MEDIA_TYPE)

    return app


class MonitorServer(ThreadedServer):
    """Serves the listener in a thread of its own."""

    def __init__(self, app: FastAPI, config: MonitorConfig) -> None:
        super().__init__(
            uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none"),
            config.host,
            config.port,
            name="monitor",
            what="the monitor cannot listen",
            field="monitor.port",
            remedy="choose a free port and an address of this machine under monitor in the configuration",
        )
        self._address = config.host

    def start(self) -> None:
        """Listen; raises as `ThreadedServer.start`."""
        super().start()
        _LOG.info("monitor-up", at=self._address, port=self.port)
