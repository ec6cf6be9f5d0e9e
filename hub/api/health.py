"""Is the hub well?"""

from __future__ import annotations

from fastapi import APIRouter, Request

from crypto.checkpoint import parse_note
from hub.alarms import Alarm
from hub.api.dependencies import HubOf
from hub.api.described import about
from hub.api.views import HealthView
from hub.errors import NotFoundError
from hub.problem_details import language_of_request
from models.i18n import catalogue
from models.said import Said

router = APIRouter(prefix="/v1", tags=["health"])


@router.get("/health", **about(gives=HealthView, made=True))
def read_health(hub: HubOf, request: Request) -> dict[str, object]:
    """Answer when the database answers: counts, and what is wrong with the log in the caller's language."""
    language = language_of_request(request.headers.get("accept-language"))
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
        "alarms": [_alarm(each, language) for each in hub.alarms()],
    }


def _alarm(alarm: Alarm, language: str) -> dict[str, str]:
    def told(text: Said) -> str:
        return catalogue("hub").translate(language, text.text, **text.params)

    return {
        "code": alarm.code,
        "title": told(alarm.title),
        "what": told(alarm.what),
        "remedy": told(alarm.remedy),
        "since": alarm.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
