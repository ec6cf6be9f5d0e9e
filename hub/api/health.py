"""Is the hub well?"""

from __future__ import annotations

from fastapi import APIRouter

from crypto.checkpoint import parse_note
from hub.api.dependencies import HubOf
from hub.errors import NotFoundError

router = APIRouter(prefix="/v1", tags=["health"])


@router.get("/health")
def read_health(hub: HubOf) -> dict[str, object]:
    """Answer when the database answers; counts only."""
    try:
        cosigned = parse_note(hub.log.reader.checkpoint())[0].size
    except NotFoundError:
        cosigned = 0
    current = hub.roster.current()
    return {
        "status": "ok",
        "log_size": hub.log.reader.size(),
        "log_cosigned": cosigned,
        "roster_version": current[1].version if current else 0,
        "pending_parties": len(hub.roster.pending()),
        "connected_parties": len(hub.links.connected()),
    }
