"""The feed: whole pages or nothing, no gaps, fail closed when it is old."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from crypto.errors import CryptoError, SignatureError
from crypto.wire.consent import FeedItem
from nodes.errors import LinkError, PolicyRefusal, StoreUnavailable
from nodes.feed import Feed
from nodes.roster import RosterBook
from nodes.runtime import NodeRuntime
from nodes.store import Store
from tests.node_world import SignerWorld


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    return SignerWorld(tmp_path)


def open_feed(world: SignerWorld) -> Feed:
    store = Store.open(world.base / "node.db")
    return Feed(store, RosterBook(store, world.trust), party_id="bank-01", clock=world.clock)


def event(seq: int) -> FeedItem:
    return FeedItem(seq=seq, kind="consent-event", token="a.b.c")


def test_pages_are_taken_in_order_and_the_place_survives(world: SignerWorld) -> None:
    feed, seen = open_feed(world), []
    feed.register("consent-event", lambda item: seen.append(item.seq))
    assert feed.age(world.now) > timedelta(days=365)
    assert feed.apply(world.page(event(1), event(2), seq=2)) == 2
    assert feed.apply(world.page(seq=2)) == 2
    assert seen == [1, 2]
    world.now += timedelta(seconds=30)
    again = open_feed(world)
    assert again.seq == 2
    assert again.age(world.now) == timedelta(seconds=30)


@pytest.mark.parametrize("seqs", [(2,), (1, 3), (2, 1), (1, 1)])
def test_gaps_and_repeats_are_refused_whole(world: SignerWorld, seqs: tuple[int, ...]) -> None:
    feed, seen = open_feed(world), []
    feed.register("consent-event", lambda item: seen.append(item.seq))
    with pytest.raises(LinkError):
        feed.apply(world.page(*map(event, seqs), seq=seqs[-1]))
    assert (seen, feed.seq) == ([], 0)


def test_heads_of_others_and_forged_heads_are_refused(world: SignerWorld) -> None:
    feed, seen = open_feed(world), []
    feed.register("consent-event", lambda item: seen.append(item.seq))
    with pytest.raises(LinkError, match="bank-02"):
        feed.apply(world.page(event(1), seq=1, party_id="bank-02"))
    with pytest.raises(SignatureError):
        feed.apply(world.page(event(1), seq=1, signer=world.witness))
    with pytest.raises(LinkError, match="head ends"):
        feed.apply(world.page(event(1), event(2), seq=1))
    assert (seen, feed.seq) == ([], 0)
    assert feed.age(world.now) > timedelta(days=365)


def test_a_page_short_of_its_head_is_taken_but_is_not_fresh(world: SignerWorld) -> None:
    feed = open_feed(world)
    feed.register("consent-event", lambda item: None)
    feed.apply(world.page(event(1), seq=5))
    assert feed.seq == 1
    assert feed.age(world.now) > timedelta(days=365)


def test_neither_old_heads_nor_a_fast_hub_clock_make_a_feed_fresher(world: SignerWorld) -> None:
    feed = open_feed(world)
    old = world.page(seq=0)
    world.now += timedelta(minutes=5)
    early = world.page(seq=0)
    world.now -= timedelta(minutes=2)
    feed.apply(early)
    assert feed.age(world.now) == timedelta(0)
    feed.apply(old)
    assert feed.age(world.now) == timedelta(0)


def test_refused_items_do_not_hold_up_and_are_tried_again_after_a_roster(world: SignerWorld) -> None:
    feed, seen, trusted = open_feed(world), [], False

    def take(item: FeedItem) -> None:
        if item.seq == 1 and not trusted:
            raise SignatureError("signer unknown")
        seen.append(item.seq)

    feed.register("consent-event", take)
    feed.apply(world.page(event(1), event(2), FeedItem(seq=3, kind="consent"), seq=3))
    assert seen == [2]
    assert feed.refused() == ((1, "signature-invalid"), (3, "kind-not-handled"))
    trusted = True
    feed.apply(world.page(FeedItem(seq=4, kind="roster", token=world.roster(1)), seq=4))
    assert seen == [2, 1]
    assert feed.refused() == ((3, "kind-not-handled"),)
    feed.register("consent", lambda item: seen.append(item.seq))
    feed.retry_refused()
    assert (seen, feed.refused()) == ([2, 1, 3], ())


def test_a_handler_that_breaks_leaves_the_place(world: SignerWorld) -> None:
    feed = open_feed(world)

    def breaks(item: FeedItem) -> None:
        raise RuntimeError("disk full")

    feed.register("consent-event", breaks)
    with pytest.raises(RuntimeError):
        feed.apply(world.page(event(1), seq=1))
    assert (feed.seq, feed.refused()) == (0, ())


def test_an_item_that_meets_a_full_disk_is_not_refused_but_comes_again(world: SignerWorld) -> None:
    feed, seen, full = open_feed(world), [], True

    def take(item: FeedItem) -> None:
        if full:
            raise StoreUnavailable("database or disk is full", field="data_dir", remedy="give it room")
        seen.append(item.seq)

    feed.register("model-release", take)
    page = world.page(FeedItem(seq=1, kind="model-release", token="a.b.c"), seq=1)
    with pytest.raises(StoreUnavailable):
        feed.apply(page)
    assert (feed.seq, feed.refused(), seen) == (0, (), [])
    full = False
    assert feed.apply(page) == 1
    assert (feed.refused(), seen) == ((), [1])


def test_forged_rosters_in_the_feed_change_nothing_and_old_ones_are_passed_over(world: SignerWorld) -> None:
    runtime = NodeRuntime.open(world.config(), clock=world.clock)
    runtime.roster.update(world.roster(2))
    forged = SignerWorld(world.base / "forger").roster(3)
    items = (
        FeedItem(seq=1, kind="roster", token=world.roster(1)),
        FeedItem(seq=2, kind="roster", token=forged),
        FeedItem(seq=3, kind="roster"),
    )
    assert runtime.apply_feed(world.page(*items, seq=3)) == 3
    assert runtime.roster.version == 2
    assert [code for _, code in runtime.feed.refused()] == [SignatureError.code, LinkError.code]
    assert issubclass(SignatureError, CryptoError)


def test_a_stale_feed_fails_closed(world: SignerWorld) -> None:
    runtime = NodeRuntime.open(world.config(feed_limit_seconds=60), clock=world.clock)
    with pytest.raises(PolicyRefusal):
        runtime.require_fresh_feed()
    runtime.apply_feed(world.page(seq=0))
    world.now += timedelta(seconds=60)
    runtime.require_fresh_feed()
    world.now += timedelta(seconds=1)
    with pytest.raises(PolicyRefusal) as caught:
        runtime.require_fresh_feed()
    assert caught.value.reason == "feed-stale"
