"""The platform's state as metrics, read from its database at each scrape: numbers of things by state, and what waits.

Labels are kinds and states of ours: no merchant, bank, person or product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from hub.clock import Clock, seconds
from hub.db import Database
from hub.platform.financing_states import State
from hub.platform.tables.audit import AuditRow
from hub.platform.tables.lending import FinancingRow
from hub.platform.tables.merchants import MerchantRow
from hub.platform.tables.registrations import RegistrationRow
from hub.platform.tables.statistics import StatisticsRow
from hub.platform.tables.webhooks import WebhookEventRow
from models.ops.metrics import gauge, gauges

MERCHANT_STATES = ("active", "closed", "merged")
EVENT_STATES = ("waiting", "delivered", "dead")


class PlatformState(Collector):
    """What is read of one platform."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Read all of it, in one state."""
        now = seconds(self._clock())
        with self._db.reading() as session:
            yield gauges(
                "digua_platform_merchants",
                "Accounts of merchants, by state.",
                "state",
                _counted(session, MerchantRow.state, MERCHANT_STATES),
            )
            yield gauges(
                "digua_platform_financings",
                "Financings, by state.",
                "state",
                _counted(session, FinancingRow.state, [each.value for each in State]),
            )
            yield gauges(
                "digua_platform_events",
                "Events for banks, by the state of their delivery.",
                "state",
                _counted(session, WebhookEventRow.state, EVENT_STATES),
            )
            waiting = select(func.min(WebhookEventRow.made_at)).where(WebhookEventRow.state == "waiting")
            oldest = session.scalar(waiting)
            yield gauge(
                "digua_platform_event_wait_seconds",
                "Age of the oldest event that a bank has not taken; 0 if none.",
                0 if oldest is None else max(0, now - oldest),
            )
            applications = select(func.count()).where(RegistrationRow.state == "waiting")
            yield gauge(
                "digua_platform_registrations_waiting",
                "Applications for an account that nobody has decided.",
                session.scalar(applications) or 0,
            )
            yield gauge(
                "digua_platform_audit_entries",
                "Entries of the audit record.",
                session.scalar(select(func.max(AuditRow.seq))) or 0,
            )
            taken = session.scalar(select(func.count()).select_from(StatisticsRow)) or 0
            yield gauge("digua_platform_statistics", "Published reports of statistics that were taken over.", taken)


def _counted(
    session: Session, column: InstrumentedAttribute[str], states: Iterable[str]
) -> Iterator[tuple[str, float]]:
    found = {str(row[0]): int(row[1]) for row in session.execute(select(column, func.count()).group_by(column))}
    yield from ((each, found.get(each, 0)) for each in states)
