"""The one connection that a node opens: feed, queries, training and requests to the witness all come over it.

Nodes never listen. The hub challenges, the node answers with a signed hello, the hub welcomes it; then either side's
frames flow. Requests run in thread pools, training in one of its own, so that a long step holds up neither queries
nor the feed. A lost connection is opened again, waiting longer each time, with jitter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from secrets import token_hex
from time import monotonic
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_when_event_set, wait_exponential_jitter
from websockets.exceptions import InvalidHandshake, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from crypto.errors import CryptoError
from crypto.frames import MAX_FRAME_BYTES, decode_frame, encode_frame
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.base import SUITE
from crypto.wire.consent import FeedPage
from crypto.wire.link import Challenge, FeedAck, Frame, FrameType, Hello, ProblemBody, Welcome
from models.errors import DataError, ModelsError
from nodes.config import NodeConfig
from nodes.errors import LinkError, NodeError, PolicyRefusal, SourceError
from nodes.proxy import proxy_url, tls_context
from nodes.roster import RosterBook

_LOG = logging.getLogger(__name__)

Handler = Callable[[bytes], bytes]
M = TypeVar("M", bound=BaseModel)

PING_SECONDS = 10
HANDSHAKE_SECONDS = 10
STEADY_SECONDS = 30
"""A connection that lasted this long starts the waiting times afresh."""
TRAINING: FrameType = "flower"


class LinkOwner(Protocol):
    """What the link needs of its node; `nodes.runtime.NodeRuntime` is one."""

    @property
    def config(self) -> NodeConfig: ...
    @property
    def identity(self) -> IdentityKey: ...
    @property
    def roster(self) -> RosterBook: ...
    @property
    def feed_seq(self) -> int: ...
    def now(self) -> datetime: ...
    def apply_feed(self, page: FeedPage) -> int: ...


class Link:
    """The node's connection to its hub, kept open until `stop`."""

    def __init__(self, owner: LinkOwner, handlers: Mapping[FrameType, Handler]) -> None:
        """Args:
        owner: the node.
        handlers: frame type → request body to reply body; an error of ours becomes a `problem` frame.
        """
        self._owner = owner
        self._handlers = handlers
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._socket: ClientConnection | None = None
        self._thread: threading.Thread | None = None

    @property
    def connected(self) -> bool:
        """Whether the hub has welcomed this node on an open connection."""
        return self._up.is_set()

    def wait_connected(self, timeout: float) -> bool:
        """Wait until the link is up; False when `timeout` seconds pass first."""
        return self._up.wait(timeout)

    def start(self) -> None:
        """Keep the link open in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="link", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Close the link and end the thread that `start` made."""
        self._stopping.set()
        socket = self._socket
        if socket is not None:
            socket.close()
        if self._thread is not None:
            self._thread.join(timeout)

    def run(self) -> None:
        """Keep the link open until `stop` is called."""
        while not self._stopping.is_set():
            retrying = Retrying(
                retry=retry_if_exception_type((LinkError, CryptoError, NodeError)),
                wait=wait_exponential_jitter(multiplier=0.25, max=15.0, jitter=1.0),
                stop=stop_when_event_set(self._stopping),
                sleep=sleep_using_event(self._stopping),
                reraise=True,
            )
            try:
                retrying(self._session)
            except (LinkError, CryptoError, NodeError):
                return  # stopping

    def _session(self) -> None:
        """One connection, from opening to its end; returns only if it was steady."""
        started = monotonic()
        try:
            with self._open() as socket:
                self._socket = socket
                if self._stopping.is_set():
                    return
                self._greet(socket)
                _LOG.info("link to %s is up", self._owner.roster.hub_id)
                self._up.set()
                self._serve(socket)
            if not self._stopping.is_set() and monotonic() - started < STEADY_SECONDS:
                raise _lost("the hub closed it at once; is the same party running elsewhere?")
        except (CryptoError, NodeError) as problem:
            if not self._stopping.is_set():
                _LOG.warning("link: %s", problem)
            raise
        except WebSocketException as problem:
            if not self._stopping.is_set():
                _LOG.warning("link lost: %s", problem)
            if monotonic() - started < STEADY_SECONDS:
                raise _lost(str(problem)) from problem
        finally:
            self._up.clear()
            self._socket = None

    def _open(self) -> ClientConnection:
        address = self._owner.config.hub
        proxy = proxy_url(address)
        try:
            return connect(
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

    def _greet(self, socket: ClientConnection) -> None:
        """Challenge → hello → welcome."""
        owner = self._owner
        frame = _receive(socket, "challenge")
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
        _send(socket, Frame(type="hello", id=token_hex(8), reply_to=frame.id, body=token.encode()))
        welcome = _parsed(Welcome, _receive(socket, "welcome").body)
        if welcome.party_id != owner.config.party_id:
            raise _lost("the hub welcomed another party")
        if welcome.roster is not None:
            owner.roster.update(welcome.roster)

    def _serve(self, socket: ClientConnection) -> None:
        # Pools belong to the connection: what still runs when it ends has nobody left to answer.
        training = ThreadPoolExecutor(2, "link-training")
        requests = ThreadPoolExecutor(8, "link-request")
        try:
            for data in socket:
                if not isinstance(data, bytes):
                    raise _lost("the hub sent text where frames are bytes")
                frame = decode_frame(data)
                if frame.type == "feed":
                    self._take_feed(socket, frame)
                elif frame.reply_to is None:
                    (training if frame.type == TRAINING else requests).submit(self._answer, socket, frame)
        finally:
            training.shutdown(wait=False, cancel_futures=True)
            requests.shutdown(wait=False, cancel_futures=True)

    def _take_feed(self, socket: ClientConnection, frame: Frame) -> None:
        # In the reader's own thread: pages must be taken in order, and an answer may depend on the newest.
        seq = self._owner.apply_feed(_parsed(FeedPage, frame.body))
        ack = FeedAck(seq=seq).model_dump_json().encode()
        _send(socket, Frame(type="feed-ack", id=token_hex(8), reply_to=frame.id, body=ack))

    def _answer(self, socket: ClientConnection, frame: Frame) -> None:
        try:
            answer = Frame(type="reply", id=token_hex(8), reply_to=frame.id, body=self._handled(frame))
        except Exception as error:  # whatever fails, the hub waits for a frame
            problem = problem_of(error, party=self._owner.config.party_id)
            if problem.code == "node-failed":
                _LOG.exception("a %s request failed", frame.type)
            else:
                _LOG.warning("a %s request was refused: %s", frame.type, problem.code)
            body = problem.model_dump_json().encode()
            answer = Frame(type="problem", id=token_hex(8), reply_to=frame.id, body=body)
        try:
            _send(socket, answer)
        except (WebSocketException, CryptoError) as problem_sending:
            _LOG.warning("the answer to a %s request was not sent: %s", frame.type, problem_sending)

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


def _receive(socket: ClientConnection, wanted: FrameType) -> Frame:
    try:
        data = socket.recv(HANDSHAKE_SECONDS)
    except TimeoutError as problem:
        raise _lost(f"no {wanted} within {HANDSHAKE_SECONDS} s") from problem
    frame = decode_frame(data if isinstance(data, bytes) else b"")
    if frame.type == "problem":
        refused = _parsed(ProblemBody, frame.body)
        raise LinkError(f"the hub refused: {refused.detail} ({refused.code})", remedy=refused.remedy)
    if frame.type != wanted:
        raise _lost(f"the hub sent {frame.type} where {wanted} comes")
    return frame


def _send(socket: ClientConnection, frame: Frame) -> None:
    socket.send(encode_frame(frame))


def _parsed(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise _lost(f"the hub sent a malformed {model.__name__}") from problem


def _lost(what: str) -> LinkError:
    return LinkError(
        f"the link failed: {what}" if what else "the link was closed",
        remedy="the node tries again on its own; if it recurs, check the network and the hub",
    )
