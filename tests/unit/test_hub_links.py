"""Links: greeting, feed, requests from any thread, replacement; all over the application's real WebSocket."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest
from fastapi.testclient import TestClient

from crypto.jws import verify_model
from crypto.keys import IdentityKey
from crypto.wire.consent import FeedHead, FeedPage
from crypto.wire.link import FeedAck, Frame, ProblemBody
from hub.app import create_app
from hub.enrolment import Enrolment
from hub.errors import PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from tests.hub_merchants import MarketWorld, make_merchant
from tests.hub_world import Member
from tests.link_peer import LinkPeer, RefusalError

BEFORE = 3
"""Items of every feed before the first consent: the roster and the two shipped notices."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    world.hub.link_server._heartbeat_s = 0.3
    yield world
    world.hub.close()


@pytest.fixture
def client(world: MarketWorld) -> Iterator[TestClient]:
    with TestClient(create_app(world.hub)) as client:
        world.hub.links = world.hub.link_server
        yield client
        world.hub.links = world.peers


def peer(world: MarketWorld, client: TestClient, party: str = "bank-01", **options: object) -> LinkPeer:
    member = world.members.get(party, world.witness)
    return LinkPeer(client, party, member.identity, now=lambda: world.now, **options)  # type: ignore[arg-type]


def test_greeting_brings_roster_and_feed(world: MarketWorld, client: TestClient) -> None:
    with peer(world, client) as bank:
        assert bank.welcome is not None
        current = world.hub.roster.current()
        assert current is not None
        assert bank.welcome.roster == current[0]
        assert bank.wait_for(lambda: len(bank.items) == BEFORE)
        assert bank.items[0].kind == "roster"
        assert world.hub.links.connected() == {"bank-01"}
    assert bank.closed.wait(60)
    assert bank.wait_for(lambda: not world.hub.links.connected())


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"party_id": "bank-02"}, "link-refused"),
        ({"nonce": b"\x00" * 16}, "link-refused"),
        ({"hub_id": "another-hub"}, "link-refused"),
        ({"feed_seq": 99}, "link-refused"),
    ],
)
def test_hello_must_answer_this_challenge(
    world: MarketWorld, client: TestClient, options: dict[str, object], code: str
) -> None:
    with LinkPeer(client, "bank-01", world.members["bank-01"].identity, now=lambda: world.now) as fine:
        assert fine.refused is None
    bank = LinkPeer(client, "bank-01", world.members["bank-01"].identity, now=lambda: world.now)
    bank.hello = options
    with bank:
        assert bank.refused is not None
        assert bank.refused.code == code


def test_strangers_wrong_keys_and_old_hellos_are_refused(world: MarketWorld, client: TestClient) -> None:
    cases = [
        (LinkPeer(client, "stranger", IdentityKey.generate(), now=lambda: world.now), "link-refused"),
        (LinkPeer(client, "bank-01", IdentityKey.generate(), now=lambda: world.now), "signature-invalid"),
        (
            LinkPeer(
                client, "bank-01", world.members["bank-01"].identity, now=lambda: world.now - timedelta(minutes=6)
            ),
            "link-refused",
        ),
    ]
    for party, code in cases:
        with party:
            assert party.refused is not None
            assert party.refused.code == code
    assert world.hub.links.connected() == frozenset()


def test_enrolled_is_enough_for_a_link(world: MarketWorld, client: TestClient) -> None:
    newcomer = Member("bank-09", "bank")
    world.hub.enrolment.enrol(world.enrolment(newcomer))
    assert world.hub.roster.approved("bank-09") is None
    with LinkPeer(client, "bank-09", newcomer.identity, now=lambda: world.now) as bank:
        assert bank.refused is None


def test_requests_from_threads_and_loops(world: MarketWorld, client: TestClient) -> None:
    def refuse(_body: bytes) -> bytes:
        raise RefusalError(ProblemBody(code="feed-stale", title="Stale", detail="old feed", party="someone-else"))

    release = threading.Event()

    def slow(body: bytes) -> bytes:
        assert release.wait(60)
        return body

    handlers = {"query": lambda body: body[::-1], "voprf": refuse, "flower": slow}
    with peer(world, client, handlers=handlers):
        links = world.hub.links
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(lambda number: links.request("bank-01", "query", str(number).encode(), 60), range(100))
            )
        assert answers == [str(number)[::-1].encode() for number in range(100)]
        with pytest.raises(PeerRefused) as refused:
            links.request("bank-01", "voprf", b"", 60)
        assert (refused.value.problem.code, refused.value.problem.party) == ("feed-stale", "bank-01")
        assert asyncio.run(links.request_async("bank-01", "query", b"abc", 60)) == b"cba"
        with pytest.raises(PeerTimeout):
            links.request("bank-01", "flower", b"x", 0.05)
        # The late reply to the timed out request disturbs nobody, and a slow one does not hold up others.
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(links.request, "bank-01", "flower", b"y", 60)
            assert links.request("bank-01", "query", b"ab", 60) == b"ba"
            assert not waiting.done()
            release.set()
            assert waiting.result() == b"y"
    with pytest.raises(PeerUnreachable):
        links.request("bank-01", "query", b"", 1)


def test_large_frames_pass_whole(world: MarketWorld, client: TestClient) -> None:
    body = bytes(range(256)) * (8 << 12)  # 8 MiB
    with peer(world, client, handlers={"flower": lambda data: data}):
        assert world.hub.links.request("bank-01", "flower", body, 30) == body


def test_pending_request_fails_when_the_link_ends(world: MarketWorld, client: TestClient) -> None:
    asked, leave = threading.Event(), threading.Event()

    def never(body: bytes) -> bytes:
        asked.set()
        leave.wait(60)
        return body

    with ThreadPoolExecutor(1) as pool, peer(world, client, handlers={"query": never}) as bank:
        waiting = pool.submit(world.hub.links.request, "bank-01", "query", b"", 30)
        assert asked.wait(60)
        bank.socket.close()
        with pytest.raises(PeerUnreachable):
            waiting.result(timeout=60)
        leave.set()


def test_request_on_the_links_own_loop_is_refused(world: MarketWorld, client: TestClient) -> None:
    with peer(world, client):
        link = world.hub.link_server._links["bank-01"]

        async def misuse() -> None:
            world.hub.links.request("bank-01", "query", b"", 1)

        with pytest.raises(PeerError, match="event loop"):
            asyncio.run_coroutine_threadsafe(misuse(), link.loop).result(5)


def test_newer_link_replaces_the_older(world: MarketWorld, client: TestClient) -> None:
    with (
        peer(world, client, handlers={"query": lambda _: b"old"}) as old,
        peer(world, client, handlers={"query": lambda _: b"new"}) as new,
    ):
        assert old.closed.wait(60)
        assert world.hub.links.request("bank-01", "query", b"", 5) == b"new"
        assert not new.closed.is_set()
        assert world.hub.links.connected() == {"bank-01"}


def test_link_under_a_replaced_key_ends(world: MarketWorld, client: TestClient) -> None:
    with peer(world, client, party="tax-01") as tax:
        replacement = Member("tax-01", "tax")
        enrolment: Enrolment = world.hub.enrolment
        enrolment.enrol(world.enrolment(replacement, replace=True))
        assert tax.closed.wait(60)


def test_request_under_way_is_answered_before_a_replaced_key_ends_the_link(
    world: MarketWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(body: bytes) -> bytes:
        asked.set()
        assert release.wait(60)
        return body

    with (
        ThreadPoolExecutor(1) as pool,
        peer(world, client, party="tax-01", handlers={"query": slow}) as tax,
    ):
        waiting = pool.submit(world.hub.links.request, "tax-01", "query", b"answer", 60)
        assert asked.wait(60)
        world.hub.enrolment.enrol(world.enrolment(Member("tax-01", "tax"), replace=True))
        link = world.hub.link_server._links["tax-01"]
        assert tax.wait_for(lambda: link.outdated_since is not None)
        assert not tax.closed.wait(1.0)  # three heartbeats
        release.set()
        assert waiting.result(timeout=60) == b"answer"
        assert tax.closed.wait(60)

    # One that never answers keeps its link for no longer than is said.
    monkeypatch.setattr("hub.links.DRAIN_S", 0.5)
    again = Member("utility-01", "utility")
    release.clear()
    asked.clear()
    with ThreadPoolExecutor(1) as pool, peer(world, client, party="utility-01", handlers={"query": slow}) as utility:
        waiting = pool.submit(world.hub.links.request, "utility-01", "query", b"", 60)
        assert asked.wait(60)
        world.hub.enrolment.enrol(world.enrolment(again, replace=True))
        with pytest.raises(PeerUnreachable):
            waiting.result(timeout=60)
        assert utility.closed.wait(60)
        release.set()


def test_feed_goes_on_from_what_the_party_holds(world: MarketWorld, client: TestClient) -> None:
    merchants = [make_merchant(f"shop {number}") for number in range(1200)]
    world.enrol_keys(*merchants)
    tokens = [world.consent(merchant)[1] for merchant in merchants]
    world.hub.consents.submit(tokens[:1000])
    with peer(world, client, feed_seq=BEFORE + 400) as bank:
        assert bank.wait_for(lambda: len(bank.items) == 600)
        world.hub.consents.submit(tokens[1000:])
        assert bank.wait_for(lambda: len(bank.items) == 800)
        assert [item.seq for item in bank.items] == list(range(BEFORE + 401, BEFORE + 1201))
        assert max(len(page.items) for page in bank.pages) == 500
        assert [item.consent.consent for item in bank.items if item.consent] == tokens[400:]


def test_revocation_arrives_at_once(world: MarketWorld, client: TestClient) -> None:
    world.hub.link_server._heartbeat_s = 60
    merchant = world.merchant("shop")
    record_id, token = world.consent(merchant)
    with peer(world, client) as bank, peer(world, client, party="utility-01") as utility:
        world.hub.consents.submit([token])
        assert bank.wait_for(lambda: bank.seq == BEFORE + 1)
        assert utility.wait_for(lambda: utility.seq == BEFORE + 1)
        revocation = world.event(merchant, record_id, "revoked")
        world.hub.consents.submit_events([revocation])
        for party in (bank, utility):  # long before the next heartbeat, which comes after a minute
            assert party.wait_for(lambda p=party: p.seq == BEFORE + 2, 20.0)  # type: ignore[misc]
            assert party.items[-1].token == revocation


def test_heads_are_signed_anew_at_each_heartbeat(world: MarketWorld, client: TestClient) -> None:
    world.hub.link_server._heartbeat_s = 0.05
    with peer(world, client) as bank:
        assert bank.wait_for(lambda: bank.seq == BEFORE)
        world.now += timedelta(seconds=30)
        assert bank.wait_for(lambda: _head(world, bank.pages[-1]).time == world.now)
        head = _head(world, bank.pages[-1])
        assert (head.party_id, head.seq, bank.pages[-1].items) == ("bank-01", BEFORE, ())


def _head(world: MarketWorld, page: FeedPage) -> FeedHead:
    return verify_model(page.head, world.hub.keys.identity.public, FeedHead, typ="feed-head", kid="hub-lishui")


def test_next_page_waits_for_the_acknowledgement(world: MarketWorld, client: TestClient) -> None:
    merchants = [make_merchant(f"shop {number}") for number in range(600)]
    world.enrol_keys(*merchants)
    world.hub.consents.submit([world.consent(merchant)[1] for merchant in merchants])
    with peer(world, client, acknowledge=False) as bank:
        assert bank.wait_for(lambda: len(bank.pages) == 1)
        time.sleep(0.5)
        assert len(bank.pages) == 1
        bank.send(Frame(type="feed-ack", id=token_hex(8), body=FeedAck(seq=500).model_dump_json().encode()))
        assert bank.wait_for(lambda: bank.seq == BEFORE + 600)


@pytest.mark.parametrize(
    "frame",
    [
        Frame(type="feed-ack", id="x", body=FeedAck(seq=10_000).model_dump_json().encode()),
        Frame(type="feed-ack", id="x", body=b"{}"),
        Frame(type="query", id="x", body=b"{}"),
    ],
)
def test_party_that_breaks_the_rules_loses_its_link(world: MarketWorld, client: TestClient, frame: Frame) -> None:
    with peer(world, client) as bank:
        assert bank.wait_for(lambda: bank.seq == BEFORE)
        bank.send(frame)
        assert bank.closed.wait(60)


def test_bytes_that_are_no_frame_end_the_link(world: MarketWorld, client: TestClient) -> None:
    with peer(world, client) as bank:
        bank.socket.send_bytes(b"\xc1")
        assert bank.closed.wait(60)
    with peer(world, client) as again:
        again.socket.send_text("hello")
        assert again.closed.wait(60)
