"""How far a merchant's change of a consent has come: which nodes have stored it and acknowledged it to the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel
from sqlalchemy import select

from hub.consents import Consents, named_parties
from hub.db import Database
from hub.errors import NotFoundError
from hub.tables.feed import FeedItemRow


class Delivery(BaseModel):
    """How many of the parties that a consent names hold its last change; the others by id.

    A party without a link answers nobody once its feed is older than its limit, so `away` is no gap for long.
    """

    event: str
    parties: int
    confirmed: int
    waiting: tuple[str, ...]
    away: tuple[str, ...]


@dataclass(frozen=True)
class Deliveries:
    """Looks the last change of a consent up in the feeds of the parties that it names.

    Attributes:
        acknowledged: tells, for a party with an open link, up to which item it has stored its feed.
    """

    db: Database
    consents: Consents
    acknowledged: Callable[[str], int | None]

    def of(self, pseudonym: bytes, record_id: str) -> Delivery:
        """Say where a consent's last change stands; NotFoundError where this merchant has no such consent."""
        consent = self.consents.read(record_id)
        if consent.record.pii_principal_id != pseudonym:
            raise NotFoundError(
                "There is no such consent of yours.", field="record", remedy="Open the list of your consents again."
            )
        confirmed: list[str] = []
        waiting: list[str] = []
        away: list[str] = []
        parties = sorted(named_parties(consent.record))
        for party in parties:
            stored, place = self.acknowledged(party), self._place(party, record_id, consent.events)
            held = stored is not None and place is not None and stored >= place
            (confirmed if held else away if stored is None else waiting).append(party)
        return Delivery(
            event=consent.state,
            parties=len(parties),
            confirmed=len(confirmed),
            waiting=tuple(waiting),
            away=tuple(away),
        )

    def _place(self, party: str, record_id: str, events: tuple[str, ...]) -> int | None:
        """The number of the last change in a party's feed; the newest items are looked at first."""
        wanted = FeedItemRow.token == events[-1] if events else FeedItemRow.record_id == record_id
        query = select(FeedItemRow.seq).where(FeedItemRow.party_id == party, wanted)
        with self.db.reading() as session:
            return session.scalar(query.order_by(FeedItemRow.seq.desc()).limit(1))
