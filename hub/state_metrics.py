"""The hub's state as metrics, read from its database at each scrape: log, witness, campaigns, queues, alarms.

One reading transaction, all of it by index; whatever process is asked answers the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from hub.clock import seconds
from hub.config import Tls
from hub.log_reading import latest_checkpoint, log_size
from hub.services import Hub
from hub.tables.campaigns import (
    CampaignAttemptRow,
    CampaignEventRow,
    CampaignRefusalRow,
    CampaignRow,
    UndeliveredDecisionRow,
)
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow
from hub.tables.workers import WorkerRow
from models.ops.metrics import gauge, gauges

STATUSES = ("queued", "running", "succeeded", "failed", "aborted")
STAGES = ("bins", "encoder", "scorecard", "evaluation", "statistics")
ALARMS = ("checkpoint-refused", "checkpoint-overdue", "log-stalled")


class HubState(Collector):
    """What is read of one hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """Read all of it."""
        now = seconds(self._hub.clock())
        with self._hub.db.reading() as session:
            yield from _log(session, now)
            yield from _campaigns(session)
            yield from _worker(session, now)
        raised = {each.code for each in self._hub.alarms()}
        yield gauges("digua_alarm", "1 while the alarm is raised.", "code", ((code, code in raised) for code in ALARMS))
        yield gauge("digua_parties_pending", "Parties that wait for the witness.", len(self._hub.roster.pending()))
        yield from _pool(self._hub)
        yield from _certificate(self._hub.config.tls)


def _log(session: Session, now: int) -> Iterator[Metric]:
    size = log_size(session)
    newest, cosigned = latest_checkpoint(session, cosigned=False), latest_checkpoint(session, cosigned=True)
    covered = 0 if cosigned is None else cosigned.size
    first = session.scalar(
        select(CheckpointRow.created_at).where(CheckpointRow.size > covered).order_by(CheckpointRow.size).limit(1)
    )
    pending, oldest = session.execute(select(func.count(), func.min(LogPendingRow.id)).select_from(LogPendingRow)).one()
    yield gauge("digua_log_entries", "Entries of the audit log that have their place.", size)
    yield gauge("digua_log_cosigned_entries", "Entries under a checkpoint that the witness signed.", covered)
    yield gauge("digua_log_pending_entries", "Entries that wait for their place.", pending)
    unplaced = 0 if oldest is None or newest is None else max(0, now - newest.created_at)
    yield gauge("digua_log_sequencing_seconds", "Since the last checkpoint, while entries wait; else 0.", unplaced)
    if newest is not None:
        yield gauge("digua_checkpoint_age_seconds", "Age of the newest checkpoint.", max(0, now - newest.created_at))
    waiting = 0 if first is None else max(0, now - first)
    yield gauge(
        "digua_cosignature_wait_seconds", "How long a checkpoint has waited for the witness; 0 if none.", waiting
    )
    if covered:
        last = session.scalar(select(LogEntryRow.time).where(LogEntryRow.index == covered - 1))
        if last is not None:
            yield gauge("digua_cosignature_age_seconds", "Age of the newest cosigned entry.", max(0, now - last))


def _campaigns(session: Session) -> Iterator[Metric]:
    rows = session.execute(select(CampaignRow.status, func.count()).group_by(CampaignRow.status))
    counted = {str(row[0]): int(row[1]) for row in rows}
    yield gauges(
        "digua_campaigns", "Campaigns, by status.", "status", ((each, counted.get(each, 0)) for each in STATUSES)
    )
    latest = (
        select(func.max(CampaignEventRow.id))
        .join(CampaignRow, CampaignRow.campaign_id == CampaignEventRow.campaign_id)
        .where(CampaignRow.status == "running")
        .group_by(CampaignEventRow.campaign_id)
    )
    stages = [
        stage for (stage,) in session.execute(select(CampaignEventRow.stage).where(CampaignEventRow.id.in_(latest)))
    ]
    yield gauges(
        "digua_campaigns_running",
        "Running campaigns, by stage.",
        "stage",
        ((each, stages.count(each)) for each in STAGES),
    )
    attempts = session.scalar(select(func.count()).select_from(CampaignAttemptRow)) or 0
    undecided = session.scalar(
        select(func.count()).select_from(CampaignAttemptRow).where(CampaignAttemptRow.decision.is_(None))
    )
    yield gauge("digua_campaign_attempts", "Attempts that the witness cosigned, of all campaigns.", attempts)
    yield gauge("digua_campaign_attempts_open", "Attempts that the witness has not decided.", undecided or 0)
    refusals = session.scalar(select(func.count()).select_from(CampaignRefusalRow)) or 0
    yield gauge("digua_campaign_refusals", "Parties that ended an attempt, of all campaigns.", refusals)
    undelivered = session.scalar(select(func.count()).select_from(UndeliveredDecisionRow)) or 0
    yield gauge("digua_decisions_undelivered", "Decisions that a node has not heard.", undelivered)


def _worker(session: Session, now: int) -> Iterator[Metric]:
    last = session.scalar(select(func.max(WorkerRow.at)))
    if last is not None:
        yield gauge("digua_worker_pulse_age_seconds", "Since a worker last looked for campaigns.", max(0, now - last))


def _pool(hub: Hub) -> Iterator[Metric]:
    pool = hub.db.engine.pool
    if isinstance(pool, QueuePool):
        used, most = pool.checkedout(), pool.size() + pool._max_overflow
        yield gauge("digua_db_connections_used", "Database connections in use by the process that answers.", used)
        yield gauge("digua_db_connections_limit", "Database connections that it may have.", most)


def _certificate(tls: Tls | None) -> Iterator[Metric]:
    if tls is None:
        return
    try:
        first = x509.load_pem_x509_certificates(tls.certificate.read_bytes())[0]
    except (OSError, ValueError):
        return  # an absent series is an alarm, too
    end = first.not_valid_after_utc.timestamp()
    yield gauge(
        "digua_tls_certificate_end_seconds", "When the certificate in the configured file ends (Unix time).", end
    )
