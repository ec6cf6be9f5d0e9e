"""A party's end of a link, in a thread over a test client's WebSocket: greets, acknowledges, answers by handlers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from secrets import token_hex
from types import TracebackType
from typing import Self

from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from crypto.frames import decode_frame, encode_frame
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.base import SUITE
from crypto.wire.consent import FeedItem, FeedPage
from crypto.wire.link import Challenge, FeedAck, Frame, Hello, ProblemBody, Welcome

Handler = Callable[[bytes], bytes]


class RefusalError(Exception):
    """A handler's typed refusal."""

    def __init__(self, problem: ProblemBody) -> None:
        super().__init__(problem.code)
        self.problem = problem


class LinkPeer:
    """Connects on entering its context; `items` and `pages` are what the feed brought."""

    def __init__(
        self,
        client: TestClient,
        party_id: str,
        identity: IdentityKey,
        *,
        now: Callable[[], datetime],
        feed_seq: int = 0,
        handlers: dict[str, Handler] | None = None,
        acknowledge: bool = True,
        **hello: object,
    ) -> None:
        self.client = client
        self.party_id = party_id
        self.identity = identity
        self.now = now
        self.seq = feed_seq
        self.handlers = handlers or {}
        self.acknowledge = acknowledge
        self.hello = hello
        self.items: list[FeedItem] = []
        self.pages: list[FeedPage] = []
        self.refused: ProblemBody | None = None
        self.welcome: Welcome | None = None
        self.closed = threading.Event()
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._session = self.client.websocket_connect("/v1/link")
        self.socket: WebSocketTestSession = self._session.__enter__()
        self._greet()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        if self.welcome is not None:
            self._thread.start()
        else:
            self.closed.set()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.closed.is_set():
            self.socket.close()
            self.closed.wait(60)
        self._session.__exit__(None, None, None)

    def _greet(self) -> None:
        first = decode_frame(self.socket.receive_bytes())
        challenge = Challenge.model_validate_json(first.body)
        fields: dict[str, object] = {
            "suite": SUITE,
            "party_id": self.party_id,
            "hub_id": challenge.hub_id,
            "nonce": challenge.nonce,
            "feed_seq": self.seq,
            "software": "test",
            "issued_at": self.now(),
        }
        token = sign_model(Hello.model_validate(fields | self.hello), self.identity, typ="hello", kid=self.party_id)
        self.send(Frame(type="hello", id=token_hex(8), reply_to=first.id, body=token.encode()))
        answer = decode_frame(self.socket.receive_bytes())
        if answer.type == "problem":
            self.refused = ProblemBody.model_validate_json(answer.body)
        else:
            self.welcome = Welcome.model_validate_json(answer.body)

    def send(self, frame: Frame) -> None:
        with self._writing:
            self.socket.send_bytes(encode_frame(frame))

    def _serve(self) -> None:
        try:
            while True:
                frame = decode_frame(self.socket.receive_bytes())
                if frame.type == "feed":
                    self._take(frame)
                else:
                    threading.Thread(target=self._answer, args=(frame,), daemon=True).start()
        except WebSocketDisconnect:
            pass
        finally:
            self.closed.set()

    def _take(self, frame: Frame) -> None:
        page = FeedPage.model_validate_json(frame.body)
        self.pages.append(page)
        self.items += page.items
        self.seq += len(page.items)
        if self.acknowledge:
            body = FeedAck(seq=self.seq).model_dump_json().encode()
            self.send(Frame(type="feed-ack", id=token_hex(8), reply_to=frame.id, body=body))

    def _answer(self, frame: Frame) -> None:
        try:
            body = self.handlers[frame.type](frame.body)
            answer = Frame(type="reply", id=token_hex(8), reply_to=frame.id, body=body)
        except RefusalError as refusal:
            body = refusal.problem.model_dump_json().encode()
            answer = Frame(type="problem", id=token_hex(8), reply_to=frame.id, body=body)
        if not self.closed.is_set():
            self.send(answer)

    def wait_for(self, what: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Wait until something holds; False when it does not in time."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True
