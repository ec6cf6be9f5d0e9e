"""For those who watch machines: is the process alive, can it work, and figures for Prometheus.

Not part of the API's document.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import literal, select
from starlette.responses import JSONResponse, Response

from hub.bearer import collector_only
from hub.platform.api.dependencies import PlatformOf
from hub.platform.state_metrics import PlatformState
from models.ops.metrics import MEDIA_TYPE, exposition

router = APIRouter(include_in_schema=False)
metrics = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def read_alive() -> Response:
    """Say that the process answers; nothing else is asked."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
def read_ready(platform: PlatformOf) -> Response:
    """Say that the database answers; 503 where it does not."""
    with platform.db.reading() as session:
        session.execute(select(literal(1)))
    return JSONResponse({"status": "ready"})


@metrics.get("/metrics")
def read_metrics(platform: PlatformOf, _allowed: Annotated[None, Depends(collector_only)]) -> Response:
    """Figures of this platform, for the bearer of the token in `metrics_token_file`."""
    return Response(exposition([PlatformState(platform.db, platform.clock)]), media_type=MEDIA_TYPE)
