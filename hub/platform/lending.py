"""What all parts of lending share: the database, the audit record, the time, the merchants, and events for banks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from pydantic import JsonValue
from sqlalchemy.orm import Session

from hub.clock import Clock
from hub.db import Database
from hub.platform.products import Applicant
from hub.platform.webhook_box import WebhookBox

CHINA = ZoneInfo("Asia/Shanghai")
AuditWriter: TypeAlias = Callable[[Session, str, str, str, Mapping[str, JsonValue]], None]
"""Writes who did what to which subject, in the caller's transaction."""


@dataclass(frozen=True)
class Lending:
    """Services of the platform as lending uses them.

    Attributes:
        audit: session, actor, action, subject, and what was done.
        clock: the time, UTC.
        merchants: the active merchant of an account; it raises where there is none.
        events: for the banks' core systems.
    """

    db: Database
    audit: AuditWriter
    clock: Clock
    merchants: Callable[[Session, str], Applicant]
    events: WebhookBox

    def today(self) -> date:
        """The civil date in China."""
        return civil_date(self.clock())


def civil_date(moment: datetime) -> date:
    """The civil date in China at a moment."""
    return moment.astimezone(CHINA).date()
