"""The campaigns of a served hub: ordered, run in threads of their own, aborted, taken up again after a restart."""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from hub.campaign_book import CampaignBook
from hub.campaign_services import CampaignServices
from hub.errors import CampaignStateError
from hub.recruiting import check_order
from models.campaign_file import CampaignFile
from models.schema import Schema

if TYPE_CHECKING:
    from hub.campaign_run import CampaignRun

STOP_S = 5.0
_SLUG_CHARS = 40
_logger = structlog.get_logger("hub.campaigns")


@dataclass
class _Worker:
    run: CampaignRun
    thread: threading.Thread


class Campaigns:
    """Runs campaigns while the hub serves.

    Args:
        services: the hub's parts that campaigns use.
    """

    def __init__(self, services: CampaignServices) -> None:
        self.book: CampaignBook = services.book
        self._services = services
        self._stopping = threading.Event()
        self._workers: dict[str, _Worker] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Take up what a former process left unfinished."""
        self._stopping.clear()
        for campaign_id in self.book.unfinished():
            self._launch(campaign_id, resumed=True)

    def stop(self) -> None:
        """Interrupt all campaigns; they stay unfinished and go on when the hub is back."""
        self._stopping.set()
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.thread.join(STOP_S)

    def order(self, order: CampaignFile, schema: Schema) -> str:
        """Accept an order, begin, and return the campaign's id.

        Raises:
            CampaignOrderError, SchemaError: it could never run.
            CampaignStateError: the hub is not serving.
        """
        check_order(order, schema, self._services.parties.all())
        if self._stopping.is_set():
            raise CampaignStateError("The hub is shutting down.", remedy="Order the campaign when it is back.")
        campaign_id = _name(order.name)
        self.book.create(order, schema, campaign_id)
        self._launch(campaign_id, resumed=False)
        return campaign_id

    def abort(self, campaign_id: str) -> None:
        """End a campaign at its next step; a table attempt under way is voided.

        Raises:
            NotFoundError: there is none of this id.
            CampaignStateError: it has ended.
        """
        self.book.ask_abort(campaign_id)
        with self._lock:
            worker = self._workers.get(campaign_id)
        if worker is not None:
            worker.run.abort()

    def wait(self, campaign_id: str, timeout: float) -> bool:
        """Wait for a campaign's thread to end; False if it has not by then."""
        with self._lock:
            worker = self._workers.get(campaign_id)
        if worker is None:
            return True
        worker.thread.join(timeout)
        return not worker.thread.is_alive()

    def _launch(self, campaign_id: str, *, resumed: bool) -> None:
        from hub.campaign_run import CampaignRun  # noqa: PLC0415  (Flower is slow to import)

        run = CampaignRun(self._services, campaign_id, resumed=resumed, stopping=self._stopping)
        if self.book.abort_asked(campaign_id):
            run.abort()
        thread = threading.Thread(target=run.run, name=f"campaign-{campaign_id}", daemon=True)
        with self._lock:
            self._workers = {name: each for name, each in self._workers.items() if each.thread.is_alive()}
            self._workers[campaign_id] = _Worker(run, thread)
        thread.start()
        _logger.info("campaign-begins", campaign=campaign_id, resumed=resumed)


def _name(title: str) -> str:
    """An id that says what it is, without characters that ids of attempts use."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower())[:_SLUG_CHARS].strip("-")
    return f"{slug or 'campaign'}-{secrets.token_hex(4)}"
