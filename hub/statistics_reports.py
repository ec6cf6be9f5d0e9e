"""Reports of programme statistics, made anew from the opened counts whenever one is read (S6), and published (S7)."""

from __future__ import annotations

from dataclasses import dataclass

from crypto.canonical import canonical_bytes
from crypto.checkpoint import parse_note
from crypto.keys import Signer
from crypto.table_grid import whole_sigma
from crypto.wire.audit import EntryType, InclusionProof
from crypto.wire.base import SUITE
from crypto.wire.statistics_release import StatisticsLine, StatisticsRelease
from hub.campaign_book import Campaign, CampaignBook
from hub.campaign_plan import ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.errors import CheckpointNotCosignedError, NotFoundError
from hub.log_reading import LogReader
from hub.log_search import MAX_FOUND, FoundEntry, LogQuery, LogSearch
from models.schema import Schema
from models.statistics.choice import StatisticsChoice
from models.statistics.privacy import ReportPrivacy
from models.statistics.report import StatisticsReport, make_report
from models.statistics.table import StatisticsTable, statistics_from_vector


def statistics_table(released: ReleasedTable, choice: StatisticsChoice) -> StatisticsTable:
    """The opened counts of a statistics stage as blocks; σ is that of all nodes' shares together.

    Raises:
        NotFoundError: the terms released other cells than the choice.
    """
    terms = released.terms
    schema = Schema.from_json(terms.schema_document)
    stated = terms.statistics
    if stated is None or choice.numbers(schema) != (stated.classes, stated.pairs):
        raise NotFoundError(
            f"Attempt {terms.attempt} did not release the cells of this report.",
            field="statistics",
            remedy="Take the order under which it ran.",
        )
    return statistics_from_vector(
        released.counts,
        schema,
        choice,
        members={each.kind: each.members for each in terms.kinds},
        cohort_size=terms.cohort_size,
        sigma=whole_sigma(terms),
    )


@dataclass(frozen=True)
class StatisticsReports:
    """Reports of the hub's campaigns.

    Args:
        book: of campaigns.
        hub_key: the hub's, under whose line terms were signed.
        search, reader: of the log, which proves what is published.
    """

    book: CampaignBook
    hub_key: Signer
    search: LogSearch
    reader: LogReader

    def report(self, campaign_id: str) -> tuple[StatisticsReport, ReportPrivacy]:
        """The report of a campaign and what it cost.

        Raises:
            NotFoundError: no such campaign, no statistics, not opened yet, or no report was ordered.
        """
        campaign = self.book.get(campaign_id)
        choice = campaign.order.statistics
        if choice is None or choice.report is None:
            raise _none(campaign)
        record = CampaignRecord(self.book, campaign_id, hub_key=self.hub_key)
        released = record.released("statistics")
        if released is None:
            raise _none(campaign)
        stated = released.terms.privacy
        epsilon = stated.epsilon if stated.noise == "on" else None
        report = make_report(statistics_table(released, choice), choice.report)
        return report, ReportPrivacy(epsilon, stated.delta, stated.t_collude)

    def published(self) -> tuple[StatisticsLine, ...]:
        """Reports that anybody may have, the oldest first: made with noise, of campaigns that have succeeded."""
        return tuple(
            StatisticsLine(campaign_id=each.campaign_id, year=each.order.statistics.year)
            for each in reversed(self.book.all())
            if each.order.statistics is not None and _is_public(each)
        )

    def release(self, campaign_id: str) -> StatisticsRelease:
        """S7: what a published report is made of, with its proofs.

        Raises:
            NotFoundError: no such report was published.
            CheckpointNotCosignedError: the witness has not cosigned its entries of the log yet.
        """
        campaign = self.book.get(campaign_id)
        choice, opened = campaign.order.statistics, self.book.opened(campaign_id, "statistics")
        if choice is None or not _is_public(campaign) or opened is None or opened.decision is None:
            raise _none(campaign)
        found = self.search.find(LogQuery(campaign=campaign_id, types=_ENTRIES, limit=MAX_FOUND)).entries
        named = {each.entry.type: each for each in found if each.entry.facts.get("attempt") == opened.attempt}
        manifest, table_opened = (self._proof(named.get(each)) for each in _ENTRIES)
        return StatisticsRelease(
            suite=SUITE,
            campaign_id=campaign_id,
            terms=opened.terms,
            decision=opened.decision,
            choice=canonical_bytes(choice).decode(),
            counts=opened.counts,
            manifest=manifest,
            opened=table_opened,
        )

    def _proof(self, found: FoundEntry | None) -> InclusionProof:
        note = self.reader.checkpoint()
        size = parse_note(note)[0].size
        if found is None or found.index >= size:
            raise CheckpointNotCosignedError(
                "The witness has not cosigned the report's entries of the log yet.",
                field="campaign_id",
                remedy="Ask again in a moment; if it recurs, check that the witness's agent is connected.",
            )
        hashes = tuple(self.reader.inclusion(found.index, size))
        return InclusionProof(index=found.index, entry=found.leaf, hashes=hashes, checkpoint=note)


_ENTRIES: tuple[EntryType, EntryType] = ("manifest", "table-opened")


def _is_public(campaign: Campaign) -> bool:
    """Without noise nothing is published; that is for synthetic data alone, and for the operator's own page."""
    order = campaign.order
    ordered = order.statistics is not None and order.statistics.report is not None and order.noise == "on"
    return ordered and campaign.status == "succeeded"


def _none(campaign: Campaign) -> NotFoundError:
    return NotFoundError(
        f"Campaign {campaign.campaign_id} has no report of programme statistics.",
        field="campaign_id",
        remedy="Take a campaign of stage statistics, ordered with a report, that has succeeded.",
    )
