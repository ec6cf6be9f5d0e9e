"""Campaigns as the API has them: ordered, watched and aborted through the database; a worker runs them elsewhere."""

from __future__ import annotations

import re
import secrets

from hub.campaign_book import UNFINISHED, Campaign, CampaignBook
from hub.campaign_locks import CampaignLocks
from hub.campaign_services import CampaignServices
from hub.recruiting import check_order
from models.campaign_file import CampaignFile
from models.schema import Schema

_SLUG_CHARS = 40


class Campaigns:
    """Orders of campaigns.

    Args:
        services: the hub's parts that campaigns use.
        locks: held by the processes that run campaigns.
    """

    def __init__(self, services: CampaignServices, locks: CampaignLocks) -> None:
        self.book: CampaignBook = services.book
        self._services = services
        self._locks = locks

    def order(self, order: CampaignFile, schema: Schema) -> str:
        """Accept an order, queued for a worker, and return the campaign's id.

        Raises:
            CampaignOrderError, SchemaError: it could never run.
        """
        check_order(order, schema, self._services.parties.all(), self._services.engines)
        campaign_id = _name(order.name)
        self.book.create(order, schema, campaign_id)
        return campaign_id

    def abort(self, campaign_id: str) -> None:
        """End a campaign at its next step; a table attempt under way is voided.

        Raises:
            NotFoundError: there is none of this id.
            CampaignStateError: it has ended.
        """
        self.book.ask_abort(campaign_id)

    def taken(self, campaign: Campaign) -> bool:
        """Say whether a process runs the campaign now; an unfinished one that none runs waits for a worker."""
        return campaign.status in UNFINISHED and self._locks.taken(campaign.campaign_id)


def _name(title: str) -> str:
    """An id that says what it is, without characters that ids of attempts use."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_SLUG_CHARS].strip("-")
    return f"{slug or 'campaign'}-{secrets.token_hex(4)}"
