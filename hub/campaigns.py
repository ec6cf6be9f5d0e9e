"""Campaigns as the API has them: ordered, watched and aborted through the database; a worker runs them elsewhere."""

from __future__ import annotations

import hashlib
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

    def order(self, order: CampaignFile, schema: Schema, *, key: str | None = None) -> str:
        """Accept an order, queued for a worker, and return the campaign's id.

        Args:
            key: of the request. An order that comes again under it, because the hub died before it could answer, is the
                campaign that it made: ordered twice it would cost its merchants twice.

        Raises:
            CampaignOrderError, SchemaError: it could never run.
        """
        check_order(order, schema, self._services.parties.all(), self._services.engines)
        self._services.earlier.check(order, schema)
        campaign_id = _name(order.name, key)
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


def _name(title: str, key: str | None) -> str:
    """An id that says what it is, without characters that ids of attempts use; one key gives one id."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_SLUG_CHARS].strip("-")
    number = secrets.token_hex(4) if key is None else hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{slug or 'campaign'}-{number}"
