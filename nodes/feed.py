"""The node's feed: consents, events, rosters and model releases, in the hub's order and without gaps.

A page is verified whole before anything of it is taken in (docs/protocol.md, 2): the head is signed by the hub for this
very party, and the items are exactly those that follow what is stored. The feed is *fresh* as of the last head that
was reached; when that is older than the limit, nodes answer nothing.

Items say nothing by themselves: each holds signatures of merchants or the witness, which its handler verifies. A
handler may meet an item twice, since the place moves on only after all items of a page are taken in. An item that a
handler refuses is set aside and tried again, in order, after the next roster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import structlog
from sqlalchemy import delete, select

from crypto.dated import verify_dated
from crypto.errors import CryptoError
from crypto.wire.consent import FeedHead, FeedItem, FeedPage
from models.errors import ModelsError
from nodes.clock import Clock, system_clock
from nodes.errors import LinkError, NodeError, PeerError, PolicyRefusal, StoreUnavailable
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.feed import FeedPlaceRow, RefusedItemRow

_LOG = structlog.get_logger("nodes.feed")

FeedHandler = Callable[[FeedItem], None]
FeedRunHandler = Callable[[Sequence[FeedItem]], Sequence[str | None]]
"""Takes items in one transaction; gives the code of the refusal, or None, for each."""


class Feed:
    """The stored place in the feed, and who takes which kind of item."""

    def __init__(self, store: Store, roster: RosterBook, *, party_id: str, clock: Clock = system_clock) -> None:
        self._store = store
        self._roster = roster
        self._party_id = party_id
        self._clock = clock
        self._lock = threading.RLock()
        self._handlers: dict[str, FeedHandler] = {
            "roster": self._take_roster,
            "key-succession": self._take_succession,
        }
        self._run_handlers: dict[str, FeedRunHandler] = {}
        with store.reading() as session:
            row = session.get(FeedPlaceRow, 1)
        self._seq = 0 if row is None else row.seq
        self._head_time = 0 if row is None else row.head_time
        self._tell_complete()

    @property
    def seq(self) -> int:
        """The last item taken in, 0 before the first."""
        return self._seq

    def register(self, kind: str, handler: FeedHandler) -> None:
        """Have a handler take all items of a kind. It must bear to meet an item twice."""
        self._handlers[kind] = handler

    def register_runs(self, kinds: Sequence[str], handler: FeedRunHandler) -> None:
        """Have a handler take all items of some kinds, as many at once as follow each other on a page."""
        for kind in kinds:
            self._run_handlers[kind] = handler

    def age(self, now: datetime) -> timedelta:
        """How long ago the feed was known to be complete; very long before the first head."""
        return now - datetime.fromtimestamp(self._head_time, tz=now.tzinfo)

    def refused(self) -> tuple[tuple[int, str], ...]:
        """Items set aside, as (seq, code of the refusal)."""
        with self._store.reading() as session:
            rows = session.scalars(select(RefusedItemRow).order_by(RefusedItemRow.seq)).all()
        return tuple((row.seq, row.code) for row in rows)

    def apply(self, page: FeedPage) -> int:
        """Verify a page and take it in.

        Returns:
            The last item now held, to acknowledge.

        Raises:
            LinkError: the head is not the hub's for this party, or items are missing, repeated or beyond the head;
                nothing was taken in.
            SignatureError: the head does not verify.
            StoreUnavailable: the disk is full or fails; the page comes again, and its items may be met twice.
        """
        head = verify_dated(
            page.head,
            self._roster.hub_keys,
            FeedHead,
            typ="feed-head",
            kid=self._roster.hub_id,
            date=lambda signed: signed.time,
        )
        if head.party_id != self._party_id:
            raise _broken(f"the head is for {head.party_id}", "head.party_id")
        with self._lock:
            expected = range(self._seq + 1, self._seq + 1 + len(page.items))
            if [item.seq for item in page.items] != list(expected):
                raise _broken(f"the items do not follow item {self._seq}", "items")
            reached = self._seq + len(page.items)
            if head.seq < reached:
                raise _broken(f"the head ends at item {head.seq}, but {reached} are held", "head.seq")
            for _, run in groupby(page.items, self._taken_by):
                self._take(list(run))
            # A hub's clock that runs ahead must not make an old feed look fresh.
            fresh = min(int(head.time.timestamp()), int(self._clock().timestamp())) if head.seq == reached else 0
            self._move(reached, max(self._head_time, fresh))
            return reached

    def retry_refused(self) -> None:
        """Let handlers meet the items set aside again: after a roster, or once all handlers are registered."""
        with self._lock, self._store.reading() as session:
            rows = session.scalars(select(RefusedItemRow).order_by(RefusedItemRow.seq)).all()
        items = [FeedItem.model_validate_json(row.item) for row in rows]
        codes = self._refusals_of(items)
        taken = [item.seq for item, code in zip(items, codes, strict=True) if code is None]
        if taken:
            with self._store.session() as session:
                for seq in taken:
                    session.execute(delete(RefusedItemRow).where(RefusedItemRow.seq == seq))

    def _taken_by(self, item: FeedItem) -> object:
        """Equal for items that may be taken together; a roster or key stands alone, as it may change what follows."""
        return item.seq if item.kind in ("roster", "key-succession") else self._run_handlers.get(item.kind)

    def _take(self, items: Sequence[FeedItem]) -> None:
        """Hand on items of one handler; what it refuses is set aside."""
        codes = self._refusals_of(items)
        refused = [(item, code) for item, code in zip(items, codes, strict=True) if code is not None]
        if refused:
            with self._store.session() as session:
                for item, code in refused:
                    session.merge(RefusedItemRow(seq=item.seq, item=item.model_dump_json().encode(), code=code))
        if any(item.kind == "roster" and code is None for item, code in zip(items, codes, strict=True)):
            self.retry_refused()

    def _refusals_of(self, items: Sequence[FeedItem]) -> list[str | None]:
        """Let handlers take the items, in order; the code of each refusal, or None."""
        codes: list[str | None] = []
        for handler, run in groupby(items, lambda item: self._run_handlers.get(item.kind)):
            each = list(run)
            codes += [self._refusal_of(item) for item in each] if handler is None else handler(each)
        for item, code in zip(items, codes, strict=True):
            if code is not None:
                _LOG.warning("feed-item-refused", seq=item.seq, kind=item.kind, code=code)
        return codes

    def _refusal_of(self, item: FeedItem) -> str | None:
        handler = self._handlers.get(item.kind)
        if handler is None:
            return "kind-not-handled"
        try:
            handler(item)
        except StoreUnavailable:
            raise  # no fault of the item's: nothing of its page is acknowledged, and it comes again
        except PolicyRefusal as refusal:
            return refusal.reason
        except (CryptoError, ModelsError, NodeError) as problem:
            return problem.code
        return None

    def _take_roster(self, item: FeedItem) -> None:
        if item.token is None:
            raise _broken("a roster item has no roster", "items")
        try:
            self._roster.update(item.token)
        except PeerError as problem:
            if problem.peer_code != "roster-went-back":  # the link's greeting may have brought a newer one
                raise

    def _take_succession(self, item: FeedItem) -> None:
        if item.token is None:
            raise _broken("a key-succession item has no statement", "items")
        self._roster.successions.learn([item.token])

    def _move(self, seq: int, head_time: int) -> None:
        if (seq, head_time) == (self._seq, self._head_time):
            return
        with self._store.session() as session:
            session.merge(FeedPlaceRow(id=1, seq=seq, head_time=head_time))
        self._seq, self._head_time = seq, head_time
        self._tell_complete()

    def _tell_complete(self) -> None:
        if self._head_time:
            self._roster.feed_complete(datetime.fromtimestamp(self._head_time, tz=UTC))


def _broken(what: str, field: str) -> LinkError:
    return LinkError(
        f"the hub's feed is broken: {what}",
        field=field,
        remedy="the link opens again from the stored place; if it recurs, ask the hub's operator",
    )
