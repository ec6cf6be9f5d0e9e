"""One connection of a node to its hub: challenge, signed hello, welcome; then either side's frames flow.

The socket lives in one event loop, in one thread: OpenSSL's connections must not be read and written by two threads at
a time (with TLS 1.3 a hello sent while a session ticket came in could be lost). Requests run in thread pools, training
in one of its own, so that a long step holds up neither queries nor the feed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from secrets import token_hex
from typing import Protocol, TypeVar

import structlog
from pydantic import BaseModel, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException

from crypto.errors import CryptoError, SuccessionError
from crypto.frames import MAX_FRAME_BYTES, decode_frame, encode_frame
from crypto.jws import sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.consent import FeedPage
from crypto.wire.link import Challenge, FeedAck, Frame, FrameType, Hello, ProblemBody, Welcome
from models.errors import DataError, ModelsError
from models.ops.trace_context import TraceContext, carrying
from models.ops.tracing import span
from nodes.config import NodeConfig
from nodes.errors import LinkError, NodeError, PolicyRefusal, SourceError
from nodes.metrics import ANSWERED, LINK_REQUESTS, REQUEST_SECONDS, known_code
from nodes.proxy import proxy_url, tls_context
from nodes.roster import RosterBook

_LOG = structlog.get_logger("nodes.link")

Handler = Callable[[bytes], bytes]
M = TypeVar("M", bound=BaseModel)

PING_SECONDS = 10
HANDSHAKE_SECONDS = 10
TRAINING: FrameType = "flower"
QUERY: FrameType = "query"
REQUESTS = 32
"""Requests that are answered at the same time; the others wait."""


class LinkOwner(Protocol):
    """What the link needs of its node; `nodes.runtime.NodeRuntime` is one."""

    @property
    def config(self) -> NodeConfig: ...
    @property
    def identity(self) -> Signer: ...
    @property
    def roster(self) -> RosterBook: ...
    @property
    def feed_seq(self) -> int: ...
    def now(self) -> datetime: ...
    def apply_feed(self, page: FeedPage) -> int: ...


class _Connect(connect):
    """Goes where the configuration says and nowhere else: a redirect is an error."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class LinkSession:
    """One connection, from opening to its end."""

    def __init__(self, owner: LinkOwner, handlers: Mapping[FrameType, Handler], *, on_up: Callable[[], None]) -> None:
        """Args:
        owner: the node.
        handlers: frame type → request body to reply body.
        on_up: called in the event loop when the hub has welcomed the node.
        """
        self._owner = owner
        self._handlers = handlers
        self._on_up = on_up
        self._ended = False
        self._guard = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[None]] | None = None

    def end(self) -> None:
        """Close the connection, or give up opening it; from any thread, more than once if need be."""
        with self._guard:
            self._ended = True
            if self._running is not None:
                loop, work = self._running
                loop.call_soon_threadsafe(work.cancel)

    async def run(self) -> None:
        """Open the connection and serve it until either side ends it.

        Raises:
            LinkError: it cannot be opened, or the hub does not keep to the protocol.
            CryptoError: a frame or a signature is malformed.
            NodeError: the feed cannot be taken.
            WebSocketException: it broke.
        """
        work = asyncio.ensure_future(self._run())
        with self._guard:
            if self._ended:
                work.cancel()
            self._running = asyncio.get_running_loop(), work
        try:
            await asyncio.wait([work])
        finally:
            with self._guard:
                self._running = None
        if not work.cancelled():
            work.result()

    async def _run(self) -> None:
        async with await self._open() as socket:
            await self._greet(socket)
            self._on_up()
            await self._serve(socket)

    async def _open(self) -> ClientConnection:
        address = self._owner.config.hub
        proxy = proxy_url(address)
        try:
            return await _Connect(
                address.link_url,
                ssl=tls_context(address),
                open_timeout=HANDSHAKE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                close_timeout=2,
                max_size=MAX_FRAME_BYTES,
                compression=None,  # bodies are random-looking; and compression beside secrets leaks
                proxy=proxy,
                user_agent_header="digua-node",
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as problem:
            raise LinkError(
                f"the hub's link at {address.link_url} cannot be opened: {problem}",
                field="hub.url",
                remedy="check hub.url, the network, hub.proxy and the hub's certificate, and that the hub is running",
            ) from problem

    async def _greet(self, socket: ClientConnection) -> None:
        """Challenge → hello → welcome."""
        owner = self._owner
        frame = await _receive(socket, "challenge")
        challenge = _parsed(Challenge, frame.body)
        if challenge.hub_id != owner.roster.hub_id:
            raise LinkError(
                f"the hub calls itself {challenge.hub_id}, but {owner.roster.hub_id} was pinned at enrolment",
                field="trust.hub_id",
                remedy="check hub.url; enrol again if the node is to join another hub",
            )
        hello = Hello(
            suite=SUITE,
            party_id=owner.config.party_id,
            hub_id=challenge.hub_id,
            nonce=challenge.nonce,
            feed_seq=owner.feed_seq,
            software=f"digua-node {version('digua')}",
            issued_at=owner.now(),
        )
        token = sign_model(hello, owner.identity, typ="hello", kid=owner.config.party_id)
        await _send(socket, Frame(type="hello", id=token_hex(8), reply_to=frame.id, body=token.encode()))
        welcome = _parsed(Welcome, (await _receive(socket, "welcome")).body)
        if welcome.party_id != owner.config.party_id:
            raise lost("the hub welcomed another party")
        try:
            # Before anything that a new key signed, the roster among it.
            await asyncio.to_thread(owner.roster.successions.learn, welcome.successions)
        except SuccessionError as refused:
            _LOG.error("key-succession-refused", reason=str(refused), code=refused.code)
        if welcome.roster is not None:
            await asyncio.to_thread(owner.roster.update, welcome.roster)

    async def _serve(self, socket: ClientConnection) -> None:
        # Pools belong to the connection: what still runs when it ends has nobody left to answer.
        training = ThreadPoolExecutor(2, "link-training")
        # An answer that waits for others to share a transaction with holds a thread; one that waits for its time floor
        # holds none.
        requests = ThreadPoolExecutor(REQUESTS, "link-request")
        answers: set[asyncio.Task[None]] = set()
        try:
            async for data in socket:
                if not isinstance(data, bytes):
                    raise lost("the hub sent text where frames are bytes")
                frame = decode_frame(data)
                if frame.type == "feed":
                    # One after the other: pages must be taken in order, and an answer may depend on the newest.
                    await self._take_feed(socket, frame)
                elif frame.reply_to is None:
                    pool = training if frame.type == TRAINING else requests
                    answer = asyncio.create_task(self._answer(socket, frame, pool))
                    answers.add(answer)
                    answer.add_done_callback(answers.discard)
        finally:
            if answers:
                _LOG.warning("link-ended-early", count=len(answers))
            for answer in answers:
                answer.cancel()
            training.shutdown(wait=False, cancel_futures=True)
            requests.shutdown(wait=False, cancel_futures=True)

    async def _take_feed(self, socket: ClientConnection, frame: Frame) -> None:
        seq = await asyncio.to_thread(self._owner.apply_feed, _parsed(FeedPage, frame.body))
        ack = FeedAck(seq=seq).model_dump_json().encode()
        await _send(socket, Frame(type="feed-ack", id=token_hex(8), reply_to=frame.id, body=ack))

    async def _answer(self, socket: ClientConnection, frame: Frame, pool: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        came = loop.time()
        answer = await loop.run_in_executor(pool, self._answered, frame)
        if frame.type == QUERY:
            # How long an answer or a refusal took says nothing about data: S6.
            floor = came + self._owner.config.answer_time_floor_ms / 1000
            while (left := floor - loop.time()) > 0:
                await asyncio.sleep(left)
        try:
            await _send(socket, answer)
        except (WebSocketException, CryptoError) as problem_sending:
            _LOG.warning("answer-not-sent", type=frame.type, reason=str(problem_sending))

    def _answered(self, frame: Frame) -> Frame:
        with (
            carrying(TraceContext.parse(frame.trace)),
            span(f"answer {frame.type}", kind="server", type=frame.type),
            REQUEST_SECONDS.labels(frame.type).time(),
        ):
            return self._answered_traced(frame)

    def _answered_traced(self, frame: Frame) -> Frame:
        try:
            body = self._handled(frame)
        except Exception as error:  # whatever fails, the hub waits for a frame
            problem = problem_of(error, party=self._owner.config.party_id)
            LINK_REQUESTS.labels(frame.type, known_code(problem.code)).inc()
            if problem.code == "node-failed":
                _LOG.exception("request-failed", type=frame.type)
            else:
                _LOG.warning("request-refused", type=frame.type, code=problem.code)
            body = problem.model_dump_json().encode()
            return Frame(type="problem", id=token_hex(8), reply_to=frame.id, body=body)
        LINK_REQUESTS.labels(frame.type, ANSWERED).inc()
        return Frame(type="reply", id=token_hex(8), reply_to=frame.id, body=body)

    def _handled(self, frame: Frame) -> bytes:
        handler = self._handlers.get(frame.type)
        if handler is None:
            raise LinkError(
                f"this node does not serve {frame.type} requests",
                field="type",
                remedy="ask a party of the right kind, or update its software",
            )
        return handler(frame.body)


def problem_of(error: BaseException, *, party: str) -> ProblemBody:
    """An error as it may leave the node: typed refusals whole, anything that could quote data or internals not."""
    if isinstance(error, (SourceError, DataError)):
        title, detail = "The node's own data cannot be used", "the node's data do not fit; its owner can see why"
        return ProblemBody(code=error.code, title=title, detail=detail, party=party)
    if isinstance(error, (CryptoError, ModelsError, NodeError)):
        code = error.reason if isinstance(error, PolicyRefusal) else error.code
        title = (type(error).__doc__ or code).split("\n", 1)[0].split(";", 1)[0].rstrip(".")
        return ProblemBody(
            code=code, title=title, detail=error.message[:500], field=error.field, remedy=error.remedy, party=party
        )
    return ProblemBody(code="node-failed", title="The node failed", detail="see the node's own log", party=party)


async def _receive(socket: ClientConnection, wanted: FrameType) -> Frame:
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            data = await socket.recv()
    except TimeoutError as problem:
        raise lost(f"no {wanted} within {HANDSHAKE_SECONDS} s") from problem
    frame = decode_frame(data if isinstance(data, bytes) else b"")
    if frame.type == "problem":
        refused = _parsed(ProblemBody, frame.body)
        raise LinkError(f"the hub refused: {refused.detail} ({refused.code})", remedy=refused.remedy)
    if frame.type != wanted:
        raise lost(f"the hub sent {frame.type} where {wanted} comes")
    return frame


async def _send(socket: ClientConnection, frame: Frame) -> None:
    await socket.send(encode_frame(frame))


def _parsed(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise lost(f"the hub sent a malformed {model.__name__}") from problem


def lost(what: str) -> LinkError:
    """The link broke; `what` is why."""
    return LinkError(
        f"the link failed: {what}" if what else "the link was closed",
        remedy="the node tries again on its own; if it recurs, check the network and the hub",
    )
