"""One open link: frames out one at a time, requests matched with their replies, acknowledgements noted."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Protocol

from pydantic import ValidationError
from starlette.websockets import WebSocketDisconnect

from crypto.frames import decode_frame, encode_frame
from crypto.wire.link import FeedAck, Frame, FrameType, ProblemBody
from crypto.wire.party import Party
from hub.errors import LinkRefusedError, PeerError, PeerRefused, PeerTimeout, PeerUnreachable
from hub.metrics import LINK_REQUESTS, LINK_SECONDS
from models.ops import trace_context
from models.ops.tracing import span

WS_MAX_BYTES = 256 << 20
"""Frames of training carry matrices of a whole node."""
POLICY_VIOLATION = 1008


class Socket(Protocol):
    """An accepted WebSocket; Starlette's is one."""

    async def send_bytes(self, data: bytes) -> None: ...
    async def receive_bytes(self) -> bytes: ...
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Link:
    """One open connection. Only its own event loop touches it, but for `loop`, `party` and numbers that are read.

    Args:
        party: whose it is.
        socket: accepted.
        feed_seq: number of the last item of its feed that it holds.
        software: of the party, as its signed hello says.
        since: when it opened, in seconds.
    """

    def __init__(self, party: Party, socket: Socket, feed_seq: int, *, software: str = "", since: int = 0) -> None:
        self.party = party
        self.name = secrets.token_hex(8)
        self.software = software
        self.since = since
        self.loop = asyncio.get_running_loop()
        self.sent = feed_seq
        self.acked = feed_seq
        self.news = asyncio.Event()
        self.acks = asyncio.Event()
        self.ending = asyncio.Event()
        self.outdated_since: float | None = None
        self._socket = socket
        self._writing = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[Frame]] = {}
        self._storing: list[asyncio.Future[None]] = []

    @property
    def asked(self) -> bool:
        """Whether a request waits for its reply."""
        return bool(self._waiting)

    async def send(self, frame_type: FrameType, body: bytes) -> None:
        """Send a frame that waits for no reply; one frame at a time goes out."""
        await self._write(Frame(type=frame_type, id=secrets.token_hex(8), body=body))

    async def ask(self, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """K4: send a request and wait for its reply's body; the caller's request id goes with it."""
        with (
            span(f"ask {frame_type}", kind="client", type=frame_type, party=self.party.party_id),
            LINK_SECONDS.labels(frame_type).time(),
        ):
            try:
                reply = await self._ask(frame_type, body, timeout)
            except PeerError as error:
                LINK_REQUESTS.labels(frame_type, error.code).inc()
                raise
            LINK_REQUESTS.labels(frame_type, "answered").inc()
            return reply

    async def _ask(self, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        frame = Frame(type=frame_type, id=secrets.token_hex(8), body=body, trace=trace_context.outgoing())
        answer: asyncio.Future[Frame] = self.loop.create_future()
        self._waiting[frame.id] = answer
        try:
            async with asyncio.timeout(timeout):
                await self._write(frame)
                reply = await answer
        except TimeoutError:
            raise PeerTimeout(self.party.party_id) from None
        finally:
            self._waiting.pop(frame.id, None)
        if reply.type == "problem":
            raise PeerRefused(self.party.party_id, _problem_in(reply, self.party.party_id))
        return reply.body

    async def _write(self, frame: Frame) -> None:
        data = encode_frame(frame)
        try:
            async with self._writing:
                await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            self.ending.set()
            raise PeerUnreachable(self.party.party_id) from error

    async def receive(self) -> Frame:
        """Receive the next frame; PeerUnreachable where the connection has ended."""
        return decode_frame(await receive_from(self._socket, self.party.party_id))

    def take(self, frame: Frame) -> None:
        """Give a reply to whoever waits for it; note an acknowledgement. Replies that come late are dropped."""
        if frame.type in ("reply", "problem"):
            waiter = self._waiting.get(frame.reply_to or "")
            if waiter is not None and not waiter.done():
                waiter.set_result(frame)
        elif frame.type == "feed-ack":
            seq = FeedAck.model_validate_json(frame.body).seq
            if not self.acked <= seq <= self.sent:
                raise LinkRefusedError(f"It acknowledges item {seq} of {self.sent}.", field="seq")
            self.acked = seq
            self.acks.set()
            self._wake(None)
        else:
            raise LinkRefusedError(f"Parties send no {frame.type} frames.", field="type")

    async def stored(self, seq: int) -> None:
        """Wait until the party has stored its feed up to an item; PeerUnreachable where the connection ends."""
        while self.acked < seq:
            waiter = self.loop.create_future()
            self._storing.append(waiter)
            await waiter

    def _wake(self, error: Exception | None) -> None:
        storing, self._storing = self._storing, []
        for waiter in storing:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def close(self) -> None:
        """End all that waits, then the connection."""
        self.ending.set()
        self._wake(PeerUnreachable(self.party.party_id))
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(PeerUnreachable(self.party.party_id))
        with suppress(WebSocketDisconnect, RuntimeError, OSError):
            await self._socket.close(POLICY_VIOLATION, "link ended")


async def receive_from(socket: Socket, party_id: str) -> bytes:
    """Receive one message; PeerUnreachable where the connection has ended."""
    try:
        return await socket.receive_bytes()
    except (WebSocketDisconnect, KeyError, RuntimeError, OSError) as error:  # KeyError: text where frames are bytes
        raise PeerUnreachable(party_id) from error


def _problem_in(frame: Frame, party_id: str) -> ProblemBody:
    try:
        problem = ProblemBody.model_validate_json(frame.body)
    except ValidationError:
        return ProblemBody(code="peer-failed", title="The party refused", detail="without a reason", party=party_id)
    return problem.model_copy(update={"party": party_id})
