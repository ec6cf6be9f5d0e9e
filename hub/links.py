"""The nodes' links: each party opens one WebSocket to the hub, and everything between them goes over it.

K1  The hub sends a challenge; the party answers with a signed hello over the challenge's nonce.
K2  The hub verifies it by the enrolled key. Enrolled is enough here, approved is not needed: the witness must be
    reachable before it has cosigned any roster. What travels is signed inside anyway.
K3  The hub welcomes the party with the newest cosigned roster and sends its feed from the number that it holds.
K4  Requests carry an id and replies name it; a `problem` frame is a typed refusal.
K5  A newer link of a party replaces the older one. A link whose party is revoked ends; one whose key was replaced
    ends between requests, or after a minute.

All state of a link belongs to the event loop that it was opened on; other threads and loops reach it through that loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from crypto.dated import verify_dated
from crypto.errors import CryptoError
from crypto.frames import decode_frame, encode_frame
from crypto.jws import peek_kid
from crypto.wire.link import Challenge, Frame, FrameType, Hello, ProblemBody, Welcome
from crypto.wire.party import Party
from crypto.wire.service import SIGNED_REQUEST_SECONDS
from hub.clock import Clock, seconds
from hub.errors import HubError, LinkRefusedError, PeerError, PeerTimeout, PeerUnreachable
from hub.feed import Feed
from hub.link import POLICY_VIOLATION, Link, Socket, receive_from
from hub.metrics import LINKS, LINKS_OPENED
from hub.parties import PartyBook
from hub.problem_details import describe

HANDSHAKE_S = 10.0
ACK_TIMEOUT_S = 120.0
"""How long a party may take to store one page of its feed."""
DRAIN_S = 60.0
"""How long a link whose key was replaced is kept for what its party was asked."""
_LOOP_GRACE_S = 2.0

_logger = structlog.get_logger("hub.links")


@dataclass(frozen=True)
class LinkState:
    """An open link as the operator sees it.

    Attributes:
        since: when it opened, in seconds.
        software: of the party, as its signed hello says.
        acked: number of the last item of its feed that it has stored.
    """

    since: int
    software: str
    acked: int


class LinkView(Protocol):
    """What operators and merchants see of links."""

    def states(self) -> dict[str, LinkState]:
        """Say of each party with an open link since when, with which software, and how far it has its feed."""

    def acknowledged(self, party_id: str) -> int | None:
        """Say up to which item a party has stored its feed; None for one without an open link."""


class Places(Protocol):
    """Tells other processes that serve which links this one holds (see `hub.replica_links`)."""

    def opened(self, party_id: str, link: str) -> None:
        """Enter a link that is about to be used; PeerUnreachable where it cannot be entered."""

    def closed(self, party_id: str, link: str) -> None:
        """Take it out, unless a newer one was entered."""


class Links:
    """All open links, by party.

    Args:
        parties, feed, clock: the hub's.
        places: where several processes serve; then a query waits until the party has stored its feed (M4).
        hub_id: this hub's name.
        roster: gives the newest cosigned roster's JWS.
        heartbeat_s: a feed's head is signed anew this often.
        on_open: told of each party whose link has opened.
        successions: gives the statements which keys of hub and witness follow which.
        move_feed: lets the feed of a party that holds more of it than the hub go on from there, or says no.
    """

    def __init__(
        self,
        parties: PartyBook,
        feed: Feed,
        *,
        hub_id: str,
        roster: Callable[[], str | None],
        clock: Clock,
        heartbeat_s: float = 10.0,
        on_open: Callable[[Party], None] = lambda _party: None,
        places: Places | None = None,
        move_feed: Callable[[Party, int], bool] = lambda _party, _held: False,
        successions: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        self._parties = parties
        self._feed = feed
        self._hub_id = hub_id
        self._roster = roster
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._on_open = on_open
        self._places = places
        self._move_feed = move_feed
        self._successions = successions
        self._links: dict[str, Link] = {}
        self._lock = threading.Lock()

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link."""
        with self._lock:
            return frozenset(self._links)

    def acknowledged(self, party_id: str) -> int | None:
        """Say up to which item a party has stored its feed; None for one without an open link."""
        with self._lock:
            link = self._links.get(party_id)
        return None if link is None else link.acked

    def states(self) -> dict[str, LinkState]:
        """Say of each party with an open link since when, with which software, and how far it has its feed."""
        with self._lock:
            return {name: LinkState(link.since, link.software, link.acked) for name, link in self._links.items()}

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party from a worker thread and wait for the reply's body.

        Args:
            party_id: whom to ask.
            frame_type, body: the request.
            timeout: seconds for sending and answer together.

        Raises:
            PeerUnreachable, PeerTimeout, PeerRefused: no link, no answer in time, a typed refusal.
            PeerError: called on the link's own event loop, which would wait for itself.
        """
        link = self._link(party_id)
        if _current_loop() is link.loop:
            raise PeerError("This would block the event loop.", party=party_id, remedy="Use request_async here.")
        waiting = self._submit(link, frame_type, body, timeout)
        try:
            return waiting.result(timeout + _LOOP_GRACE_S)
        except concurrent.futures.TimeoutError:  # the loop itself has stopped
            waiting.cancel()
            raise PeerTimeout(party_id) from None
        except concurrent.futures.CancelledError:
            raise PeerUnreachable(party_id) from None

    async def request_async(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Like `request`, on any event loop."""
        link = self._link(party_id)
        if asyncio.get_running_loop() is link.loop:
            return await self._ask(link, frame_type, body, timeout)
        return await asyncio.wrap_future(self._submit(link, frame_type, body, timeout))

    async def _ask(self, link: Link, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """M4: an item that another process published may not have been pushed yet."""
        if self._places is not None and frame_type == "query":
            try:
                async with asyncio.timeout(timeout):
                    end = await asyncio.to_thread(self._feed.end, link.party.party_id)
                    if link.acked < end:
                        link.news.set()
                        await link.stored(end)
            except TimeoutError:
                raise PeerTimeout(link.party.party_id) from None
        return await link.ask(frame_type, body, timeout)

    def _submit(
        self, link: Link, frame_type: FrameType, body: bytes, timeout: float
    ) -> concurrent.futures.Future[bytes]:
        asking = self._ask(link, frame_type, body, timeout)
        try:
            return asyncio.run_coroutine_threadsafe(asking, link.loop)
        except RuntimeError as error:  # its loop has ended, and the link with it
            asking.close()
            raise PeerUnreachable(link.party.party_id) from error

    def end_older(self, newest: Mapping[str, str]) -> None:
        """K5 across processes: end links whose party has a newer one elsewhere; by party, the newest one's name."""
        with self._lock:
            older = [each for each in self._links.values() if newest.get(each.party.party_id) not in (None, each.name)]
        for link in older:
            _logger.info("link-replaced", party=link.party.party_id)
            _soon(link, link.ending.set)

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Push new feed items of these parties now, as far as they are connected."""
        for party_id in party_ids:
            with self._lock:
                link = self._links.get(party_id)
            if link is not None:
                _soon(link, link.news.set)

    def end(self, party_id: str) -> None:
        """End a party's link, if it has one in this process."""
        with self._lock:
            link = self._links.get(party_id)
        if link is not None:
            _soon(link, link.ending.set)

    def start(self) -> None:
        """Links are opened by the parties."""

    def stop(self) -> None:
        """End all links."""
        with self._lock:
            links = list(self._links.values())
        for link in links:
            _soon(link, link.ending.set)

    async def serve(self, socket: Socket) -> None:
        """Serve one accepted connection until it ends."""
        try:
            party, hello = await self._greet(socket)
        except PeerUnreachable:
            return
        except (HubError, CryptoError, ValidationError, TimeoutError) as error:
            await _refuse(socket, error)
            return
        link = Link(party, socket, hello.feed_seq, software=hello.software, since=seconds(self._clock()))
        try:
            with suppress(PeerUnreachable):
                if self._places is not None:
                    await asyncio.to_thread(self._places.opened, party.party_id, link.name)
                successions = await asyncio.to_thread(self._successions)
                welcome = Welcome(party_id=party.party_id, roster=self._roster(), successions=successions)
                await link.send("welcome", welcome.model_dump_json().encode())
                self._enter(link)
                await self._run(link)
        finally:
            self._leave(link)
            await link.close()
            if self._places is not None:
                await asyncio.to_thread(self._places.closed, party.party_id, link.name)

    async def _greet(self, socket: Socket) -> tuple[Party, Hello]:
        """K1, K2."""
        challenge = Challenge(hub_id=self._hub_id, nonce=secrets.token_bytes(16))
        first = Frame(type="challenge", id=secrets.token_hex(8), body=challenge.model_dump_json().encode())
        await socket.send_bytes(encode_frame(first))
        async with asyncio.timeout(HANDSHAKE_S):
            frame = decode_frame(await receive_from(socket, "the party"))
        if frame.type != "hello" or frame.reply_to != first.id:
            raise LinkRefusedError("The first frame is no hello to the challenge.", field="type")
        token = frame.body.decode("ascii", "replace")
        party_id = peek_kid(token, typ="hello")
        party, keys, end = await asyncio.to_thread(
            lambda: (self._parties.get(party_id), self._parties.keys_of(party_id), self._feed.end(party_id))
        )
        if party is None or keys is None:
            raise LinkRefusedError(
                f"{party_id} is not enrolled.", field="party_id", remedy="Enrol it with `digua-node enrol`."
            )
        now = self._clock()
        hello = verify_dated(token, keys, Hello, typ="hello", kid=party_id, date=lambda _hello: now)
        if hello.feed_seq > end and await asyncio.to_thread(self._move_feed, party, hello.feed_seq):
            end = hello.feed_seq
        self._check(hello, challenge, party, end)
        return party, hello

    def _check(self, hello: Hello, challenge: Challenge, party: Party, end: int) -> None:
        if (hello.party_id, hello.hub_id, hello.nonce) != (party.party_id, self._hub_id, challenge.nonce):
            raise LinkRefusedError("The hello is for another connection.", field="nonce", remedy="Connect again.")
        if abs(seconds(self._clock()) - seconds(hello.issued_at)) > SIGNED_REQUEST_SECONDS:
            raise LinkRefusedError(
                "The party's time is more than 5 minutes from the hub's.", field="issued_at", remedy="Set the clock."
            )
        if hello.feed_seq > end:
            raise LinkRefusedError(
                f"The party holds {hello.feed_seq} items of its feed, the hub only {end}.",
                field="feed_seq",
                remedy="The hub's database was set back: its operator sees more by `digua-hub restored`.",
            )

    def _enter(self, link: Link) -> None:
        """K5: the newer link replaces the older."""
        party_id = link.party.party_id
        with self._lock:
            older = self._links.get(party_id)
            self._links[party_id] = link
        LINKS_OPENED.labels(link.party.kind).inc()
        if older is None:
            LINKS.labels(link.party.kind).inc()
        else:
            _logger.info("link-replaced", party=party_id)
            _soon(older, older.ending.set)
        _logger.info("link-open", party=party_id)
        self._on_open(link.party)

    def _leave(self, link: Link) -> None:
        party_id = link.party.party_id
        with self._lock:
            if self._links.get(party_id) is link:
                del self._links[party_id]
                LINKS.labels(link.party.kind).dec()
                _logger.info("link-closed", party=party_id)

    async def _run(self, link: Link) -> None:
        tasks = [
            asyncio.create_task(self._read(link)),
            asyncio.create_task(self._push(link)),
            asyncio.create_task(link.ending.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _complain(link, task.exception())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, link: Link) -> None:
        while True:
            link.take(await link.receive())

    async def _push(self, link: Link) -> None:
        """K3: send the feed page by page, each after the one before was stored; then a fresh head at each heartbeat."""
        looked = time.monotonic()
        while True:
            link.news.clear()
            page = await asyncio.to_thread(self._feed.page, link.party.party_id, link.acked)
            link.sent = page.last
            link.acks.clear()
            await link.send("feed", page.body)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                while link.acked < page.last:
                    await link.acks.wait()
                    link.acks.clear()
            if page.last < page.end:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_s):
                    await link.news.wait()
            if time.monotonic() - looked >= self._heartbeat_s:
                looked = time.monotonic()
                if await self._outdated(link):
                    return

    async def _outdated(self, link: Link) -> bool:
        """K5: whether the party takes part no longer, or has other keys now and greets anew.

        For other keys the link ends between requests: what the party was asked it still answers.
        """
        enrolled = await asyncio.to_thread(self._parties.get, link.party.party_id)
        if enrolled is None:
            return True
        if enrolled.sign_key == link.party.sign_key:
            return False
        now = time.monotonic()
        link.outdated_since = link.outdated_since or now
        return not link.asked or now - link.outdated_since > DRAIN_S

    def _link(self, party_id: str) -> Link:
        with self._lock:
            link = self._links.get(party_id)
        if link is None:
            raise PeerUnreachable(party_id)
        return link


def _soon(link: Link, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # its loop has ended, and the link with it
        link.loop.call_soon_threadsafe(call)


def _current_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _refuse(socket: Socket, error: Exception) -> None:
    """Tell the party why its greeting is refused, then close."""
    known = (
        error if isinstance(error, (HubError, CryptoError)) else LinkRefusedError("The greeting is malformed or late.")
    )
    problem = describe(known)
    _logger.warning("link-refused", code=problem.code, reason=problem.detail)
    body = ProblemBody(
        code=problem.code, title=problem.title, detail=problem.detail, field=problem.field, remedy=problem.remedy
    )
    frame = Frame(type="problem", id=secrets.token_hex(8), body=body.model_dump_json().encode())
    with suppress(WebSocketDisconnect, RuntimeError, OSError):
        await socket.send_bytes(encode_frame(frame))
        await socket.close(POLICY_VIOLATION, problem.code)


def _complain(link: Link, error: BaseException | None) -> None:
    """Log why a link ends, unless the party just went away."""
    party = link.party.party_id
    if isinstance(error, (LinkRefusedError, CryptoError, ValidationError)):
        _logger.warning("link-broken", party=party, reason=str(error))
    elif isinstance(error, TimeoutError):
        _logger.warning("link-broken", party=party, reason="a page of the feed was not acknowledged in time")
    elif error is not None and not isinstance(error, PeerUnreachable):
        _logger.error("link-failed", party=party, exc_info=error)
