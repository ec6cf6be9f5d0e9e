"""Each party's feed: what it must know of consents, the roster and models, in order and without gaps (2).

F1  `publish` gives an item the next number of a party's feed, in the transaction of its cause.
F2  A page holds the items after a number and the hub's signed head: where the feed ended, and when.
F3  The head is signed afresh at each heartbeat, so that a node can tell a quiet feed from one that is withheld.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crypto.jws import sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentItem, FeedHead, FeedItem, FeedPage, ItemKind
from hub.clock import Clock
from hub.db import Database
from hub.merchant_keys import statement_of
from hub.tables.consents import ConsentRow
from hub.tables.feed import FeedCounterRow, FeedItemRow
from hub.tables.parties import MerchantKeyBatchRow, MerchantKeyRow

PAGE_ITEMS = 500


@dataclass(frozen=True)
class NewItem:
    """An item to publish.

    Attributes:
        parties: whose feeds it enters.
        kind: of the item.
        record_id, key_id: the consent that it brings, with the merchant's key that verifies it.
        token: the JWS of an event, a notice, a roster or a release.
        model_id: of a release or withdrawal.
    """

    parties: frozenset[str]
    kind: str
    record_id: str | None = None
    key_id: int | None = None
    token: str | None = None
    model_id: str | None = None


@dataclass(frozen=True)
class Page:
    """A page as it travels, the number of its last item, and that of the feed's."""

    body: bytes
    last: int
    end: int


class Feed:
    """The feeds of all parties."""

    def __init__(self, db: Database, key: Signer, *, hub_id: str, clock: Clock) -> None:
        self._db = db
        self._key = key
        self._hub_id = hub_id
        self._clock = clock

    def publish(
        self,
        session: Session,
        party_ids: Iterable[str],
        kind: str,
        *,
        token: str | None = None,
        model_id: str | None = None,
    ) -> None:
        """F1: append one item to each party's feed; push it with `notify_feed` after the commit."""
        self.publish_many(session, [NewItem(frozenset(party_ids), kind, token=token, model_id=model_id)])

    def publish_many(self, session: Session, items: Sequence[NewItem]) -> None:
        """F1: append items in order, each to the feeds of its parties."""
        wanted: dict[str, list[NewItem]] = defaultdict(list)
        for item in items:
            for party_id in item.parties:
                wanted[party_id].append(item)
        rows: list[dict[str, object]] = []
        for party_id in sorted(wanted):  # always in the same order, so that two writers cannot wait for each other
            first = _reserve(session, party_id, len(wanted[party_id]))
            rows.extend(
                {
                    "party_id": party_id,
                    "seq": first + offset,
                    "kind": item.kind,
                    "record_id": item.record_id,
                    "key_id": item.key_id,
                    "token": item.token,
                    "model_id": item.model_id,
                }
                for offset, item in enumerate(wanted[party_id])
            )
        if rows:
            session.connection().execute(insert(FeedItemRow), rows)

    def end(self, party_id: str) -> int:
        """Return the number of the last item of a party's feed, 0 before the first."""
        with self._db.reading() as session:
            return _end(session, party_id)

    def ends(self) -> dict[str, int]:
        """Return party → number of the last item of its feed, where there is one."""
        with self._db.reading() as session:
            return {row.party_id: row.seq for row in session.scalars(select(FeedCounterRow))}

    def page(self, party_id: str, after: int) -> Page:
        """F2: return up to 500 items that follow number `after`, with the signed head."""
        now = self._clock()  # before the view is taken: all that was committed by then is in it
        with self._db.reading() as session:
            end = _end(session, party_id)
            items = _items(session, party_id, after)
        head = FeedHead(suite=SUITE, party_id=party_id, seq=end, time=now)
        token = sign_model(head, self._key, typ="feed-head", kid=self._hub_id)
        body = FeedPage(items=tuple(items), head=token).model_dump_json().encode()
        return Page(body=body, last=after + len(items), end=end)


def _end(session: Session, party_id: str) -> int:
    return session.scalar(select(FeedCounterRow.seq).where(FeedCounterRow.party_id == party_id)) or 0


def _reserve(session: Session, party_id: str, count: int) -> int:
    """Take `count` numbers of a party's feed and return the first."""
    raised = (
        update(FeedCounterRow)
        .where(FeedCounterRow.party_id == party_id)
        .values(seq=FeedCounterRow.seq + count)
        .returning(FeedCounterRow.seq)
        .execution_options(synchronize_session=False)
    )
    last = session.scalar(raised)
    if last is None:
        try:
            with session.begin_nested():
                session.execute(insert(FeedCounterRow).values(party_id=party_id, seq=count))
            last = count
        except IntegrityError:  # another writer opened this feed meanwhile
            last = session.scalars(raised).one()
    return last - count + 1


def _items(session: Session, party_id: str, after: int) -> list[FeedItem]:
    query = (
        select(FeedItemRow, ConsentRow.token, MerchantKeyRow, MerchantKeyBatchRow)
        .outerjoin(ConsentRow, ConsentRow.record_id == FeedItemRow.record_id)
        .outerjoin(MerchantKeyRow, MerchantKeyRow.id == FeedItemRow.key_id)
        .outerjoin(MerchantKeyBatchRow, MerchantKeyBatchRow.batch_id == MerchantKeyRow.batch_id)
        .where(FeedItemRow.party_id == party_id, FeedItemRow.seq > after)
        .order_by(FeedItemRow.seq)
        .limit(PAGE_ITEMS)
    )
    items: list[FeedItem] = []
    for row, consent, key, batch in session.execute(query):
        brought = None
        if consent is not None and key is not None and batch is not None:
            brought = ConsentItem(consent=consent, merchant_key=statement_of(key, batch))
        items.append(
            FeedItem(
                seq=row.seq,
                kind=cast(ItemKind, row.kind),
                consent=brought,
                token=row.token,
                model_id=row.model_id,
            )
        )
    return items
