"""For those who watch machines: is the process alive, can it work, and figures for Prometheus.

Not part of the API's document: a balancer, an orchestrator and a collector ask, and nobody else.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from hub.api.dependencies import HubOf
from hub.bearer import collector_only
from hub.problem_details import language_of_request
from hub.readiness import Readiness
from hub.state_metrics import HubState
from models.i18n import catalogue
from models.ops.metrics import MEDIA_TYPE, exposition
from models.said import Said

router = APIRouter(tags=["monitoring"], include_in_schema=False)


@router.get("/healthz")
async def read_alive() -> Response:
    """Say that the process answers; nothing else is asked, so that a slow database restarts no hub."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def read_ready(request: Request) -> Response:
    """Say of each thing that the hub needs whether it is there, and what to do; 503 where it cannot work."""
    language = language_of_request(request.headers.get("accept-language"))

    def told(text: Said | None) -> str | None:
        return None if text is None else catalogue("hub").translate(language, text.text, **text.params)

    readiness: Readiness = request.app.state.readiness
    checks = readiness.checks()
    ready = all(each.ok for each in checks if each.blocking)
    body = {
        "status": "ready" if ready and all(each.ok for each in checks) else "degraded" if ready else "not-ready",
        "checks": [
            {"name": each.name, "ok": each.ok, "blocking": each.blocking}
            | ({} if each.ok else {"what": told(each.what), "remedy": told(each.remedy)})
            for each in checks
        ],
    }
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics")
def read_metrics(hub: HubOf, _allowed: Annotated[None, Depends(collector_only)]) -> Response:
    """Figures of this hub, for the bearer of the token in `metrics_token_file`."""
    return Response(exposition([HubState(hub)]), media_type=MEDIA_TYPE)
