"""The WebSocket that each party opens."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.websockets import WebSocket

from hub.api.dependencies import hub_of

router = APIRouter(prefix="/v1", tags=["link"])


@router.websocket("/link")
async def open_link(socket: WebSocket) -> None:
    """Serve a party's link until it ends; the greeting authenticates it."""
    await socket.accept()
    await hub_of(socket).link_server.serve(socket)
