"""Keeps the programme's published statistics: fetched through the platform's own node, which has verified them.

A report never changes, so each is fetched once. What is kept are the noisy counts that it is made of; figures, page and
file are made anew from them, by the same code as at the hub. Nothing is asked of any merchant for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog
from pydantic import JsonValue
from sqlalchemy import select

from crypto.canonical import canonical_bytes, digest
from hub.clock import moment, seconds
from hub.platform.gateway import PublishedReports
from hub.platform.lending import Lending
from hub.platform.lending_errors import GatewayAwayError, GatewayError
from hub.platform.statistics_errors import StatisticsUnknownError
from hub.platform.tables.statistics import StatisticsRow
from models.statistics.published import PublishedStatistics, read_published
from models.statistics.report import StatisticsReport

_logger = structlog.get_logger("hub.platform.statistics")


@dataclass(frozen=True)
class KeptReport:
    """A published report as it is kept.

    Attributes:
        published: the counts and what they cost.
        report: made of them.
        sha256: of the document that is kept, as the audit record names it.
        taken_at: when the platform first had it.
    """

    published: PublishedStatistics
    report: StatisticsReport
    sha256: str
    taken_at: datetime


class StatisticsBook:
    """All reports.

    Args:
        lending: database, audit record and time.
        source: where the published ones are.
    """

    def __init__(self, lending: Lending, source: PublishedReports) -> None:
        self._its = lending
        self._source = source
        self._made: dict[str, KeptReport] = {}

    def take_new(self) -> int:
        """Fetch and keep the reports that are not here yet; returns how many.

        One that is refused, as where it does not verify, is logged and asked for again the next time.

        Raises:
            GatewayError: the gateway is away, or does not tell which reports there are.
        """
        taken = 0
        with self._its.db.reading() as session:
            known = set(session.scalars(select(StatisticsRow.campaign_id)))
        for campaign_id in self._source.reports():
            if campaign_id in known:
                continue
            try:
                published = self._source.report(campaign_id)
            except GatewayAwayError:
                raise
            except GatewayError as error:
                _logger.warning("statistics-refused", campaign=campaign_id, reason=error.message)
                continue
            self._keep(published)
            taken += 1
        return taken

    def all(self) -> list[KeptReport]:
        """Return every report, the newest first: of the latest year, and of a year the one that came last."""
        query = select(StatisticsRow).order_by(StatisticsRow.year.desc(), StatisticsRow.number.desc())
        with self._its.db.reading() as session:
            return [self._of(row) for row in session.scalars(query)]

    def get(self, campaign_id: str) -> KeptReport:
        """Return a report.

        Raises:
            StatisticsUnknownError: the platform has none of this campaign.
        """
        with self._its.db.reading() as session:
            row = session.scalars(select(StatisticsRow).where(StatisticsRow.campaign_id == campaign_id)).first()
        if row is None:
            raise StatisticsUnknownError(
                f"There is no published report of campaign {campaign_id[:64]}.",
                field="campaign_id",
                remedy="List the reports; a new one comes within ten minutes of its publication.",
            )
        return self._of(row)

    def _keep(self, published: PublishedStatistics) -> None:
        document = canonical_bytes(published)
        sha256 = digest(document).hex()
        with self._its.db.session() as session:
            session.add(
                StatisticsRow(
                    campaign_id=published.campaign_id,
                    year=published.choice.year,
                    document=document.decode(),
                    sha256=sha256,
                    taken_at=seconds(self._its.clock()),
                )
            )
            what: dict[str, JsonValue] = {
                "year": published.choice.year,
                "attempt": published.attempt,
                "log_index": published.log_index,
                "sha256": sha256,
            }
            self._its.audit(session, "platform", "statistics-take", published.campaign_id, what)

    def _of(self, row: StatisticsRow) -> KeptReport:
        made = self._made.get(row.campaign_id)
        if made is None:
            published = read_published(row.document)
            made = KeptReport(published, published.report(), row.sha256, moment(row.taken_at))
            self._made[row.campaign_id] = made  # it never changes
        return made
