"""The link: challenge, hello, welcome; requests beside each other; typed refusals; and always open again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException
from websockets.sync.server import ServerConnection, serve

from crypto.errors import FrameError
from crypto.frames import decode_frame, encode_frame
from crypto.jws import verify_model
from crypto.wire.consent import FeedItem
from crypto.wire.link import Challenge, FeedAck, Frame, Hello, ProblemBody, Welcome
from models.errors import DataError
from models.said import said
from nodes.errors import LinkError, PolicyRefusal, SourceError
from nodes.link import Link
from nodes.link_session import REQUESTS, problem_of
from nodes.runtime import NodeRuntime
from tests.node_world import SignerWorld

NONCE = bytes(range(16))


class HubSocket:
    """A hub's end of the link, in a thread, that a test drives."""

    def __init__(self, world: SignerWorld, hub_id: str = "hub") -> None:
        self.world = world
        self.hub_id = hub_id
        self.hellos: Queue[Hello] = Queue()
        self.inbox: Queue[Frame] = Queue()
        self.sockets: list[ServerConnection] = []
        self.welcome = True

    def __call__(self, socket: ServerConnection) -> None:
        challenge = Challenge(hub_id=self.hub_id, nonce=NONCE).model_dump_json().encode()
        socket.send(encode_frame(Frame(type="challenge", id="c", body=challenge)))
        try:
            hello = decode_frame(socket.recv())
            assert (hello.type, hello.reply_to) == ("hello", "c")
            public = self.world.keys.identity.public
            self.hellos.put(verify_model(hello.body.decode(), public, Hello, typ="hello", kid="bank-01"))
            if not self.welcome:
                problem = ProblemBody(code="party-unknown", title="T", detail="not approved yet")
                socket.send(encode_frame(Frame(type="problem", id="p", body=problem.model_dump_json().encode())))
                return
            welcome = Welcome(party_id="bank-01", roster=self.world.roster(1)).model_dump_json().encode()
            socket.send(encode_frame(Frame(type="welcome", id="w", body=welcome)))
            self.sockets.append(socket)
            for data in socket:
                self.inbox.put(decode_frame(data))
        except WebSocketException:
            return

    def send(self, frame: Frame) -> None:
        self.sockets[-1].send(encode_frame(frame))

    def receive(self) -> Frame:
        return self.inbox.get(timeout=60)


@contextmanager
def hub_and_node(world: SignerWorld, hub: HubSocket, **config: object) -> Iterator[NodeRuntime]:
    with serve(hub, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        runtime = NodeRuntime.open(world.config(url=f"http://127.0.0.1:{port}", **config), clock=world.clock)
        link = Link(runtime, runtime.handlers)
        link.start()
        try:
            yield runtime
        finally:
            started = time.monotonic()
            link.stop()
            assert time.monotonic() - started < 20  # no handshake, no backoff and no heartbeat is waited for
            assert not link.connected
            runtime.close()
            server.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    return SignerWorld(tmp_path)


def test_hello_answers_the_challenge_and_the_roster_is_taken(world: SignerWorld) -> None:
    hub = HubSocket(world)
    with hub_and_node(world, hub) as runtime:
        hello = hub.hellos.get(timeout=60)
        assert (hello.nonce, hello.hub_id, hello.feed_seq, hello.issued_at) == (NONCE, "hub", 0, world.now)
        _until(lambda: runtime.roster.version == 1)


def test_feed_pages_are_taken_and_acknowledged(world: SignerWorld) -> None:
    hub = HubSocket(world)
    with hub_and_node(world, hub) as runtime:
        _until(lambda: bool(hub.sockets))
        page = world.page(FeedItem(seq=1, kind="roster", token=world.roster(2)), seq=1)
        hub.send(Frame(type="feed", id="f", body=page.model_dump_json().encode()))
        ack = hub.receive()
        assert (ack.type, ack.reply_to) == ("feed-ack", "f")
        assert FeedAck.model_validate_json(ack.body).seq == 1
        assert (runtime.feed_seq, runtime.roster.version) == (1, 2)


def test_a_broken_feed_reopens_the_link_from_the_stored_place(world: SignerWorld) -> None:
    hub = HubSocket(world)
    with hub_and_node(world, hub) as runtime:
        hub.hellos.get(timeout=60)
        _until(lambda: bool(hub.sockets))
        page = world.page(FeedItem(seq=7, kind="consent"), seq=7)
        hub.send(Frame(type="feed", id="f", body=page.model_dump_json().encode()))
        assert hub.hellos.get(timeout=60).feed_seq == 0
        assert runtime.feed_seq == 0


def test_a_long_training_step_holds_up_neither_queries_nor_the_feed(world: SignerWorld) -> None:
    hub, finish = HubSocket(world), threading.Event()
    with hub_and_node(world, hub) as runtime:

        def train(body: bytes) -> bytes:
            assert finish.wait(60)
            return b"trained " + body

        runtime.handlers["flower"] = train
        runtime.handlers["query"] = lambda body: b"answered " + body
        _until(lambda: bool(hub.sockets))
        for number in range(3):
            hub.send(Frame(type="flower", id=f"t{number}", body=b"x"))
        hub.send(Frame(type="query", id="q", body=b"y"))
        hub.send(Frame(type="feed", id="f", body=world.page(seq=0).model_dump_json().encode()))
        first = {(each.type, each.reply_to, each.body[:8]) for each in (hub.receive(), hub.receive())}
        assert {("reply", "q", b"answered")} < first
        assert {each[0] for each in first} == {"reply", "feed-ack"}
        finish.set()
        assert {hub.receive().reply_to for _ in range(3)} == {"t0", "t1", "t2"}


def test_refusals_are_typed_and_failures_tell_nothing(world: SignerWorld, caplog: pytest.LogCaptureFixture) -> None:
    hub = HubSocket(world)
    with hub_and_node(world, hub) as runtime:

        def refuse(body: bytes) -> bytes:
            raise PolicyRefusal("consent-revoked", "the consent was revoked", remedy="ask the merchant")

        def fail(body: bytes) -> bytes:
            raise ValueError("merchant 91330000X has income 12")

        runtime.handlers.update({"query": refuse, "voprf": fail})
        _until(lambda: bool(hub.sockets))
        problems = {}
        for kind in ("query", "voprf", "cosign-roster"):
            hub.send(Frame(type=kind, id=kind, body=b"{}"))  # type: ignore[arg-type]
            answer = hub.receive()
            assert (answer.type, answer.reply_to) == ("problem", kind)
            problems[kind] = ProblemBody.model_validate_json(answer.body)
        assert problems["query"].code == "consent-revoked"
        assert problems["query"].party == "bank-01"
        assert problems["voprf"].code == "node-failed"
        assert "91330000X" not in problems["voprf"].model_dump_json()
        assert problems["cosign-roster"].code == LinkError.code


def test_no_answer_or_refusal_of_a_query_leaves_before_the_time_floor(world: SignerWorld) -> None:
    """Those that wait hold no thread: more than there are threads wait at the same time."""
    hub = HubSocket(world)
    with hub_and_node(world, hub, answer_time_floor_ms=1500) as runtime:

        def answer(body: bytes) -> bytes:
            if body == b"refuse":
                raise PolicyRefusal("consent-revoked", "the consent was revoked", remedy="ask the merchant")
            return body

        runtime.handlers.update({"query": answer, "voprf": answer})
        _until(lambda: bool(hub.sockets))
        number = 2 * REQUESTS
        sent = time.monotonic()
        for place in range(number):
            hub.send(Frame(type="query", id=f"q{place}", body=b"refuse" if place % 2 else b"answer"))
        hub.send(Frame(type="voprf", id="v", body=b"at once"))
        assert hub.receive().reply_to == "v"
        first = hub.receive()
        assert time.monotonic() - sent >= 1.5
        kinds = [each.type for each in (first, *(hub.receive() for _ in range(number - 1)))]
        assert (kinds.count("reply"), kinds.count("problem")) == (REQUESTS, REQUESTS)


def test_the_link_opens_again_when_it_is_lost_or_refused(world: SignerWorld) -> None:
    hub = HubSocket(world)
    hub.welcome = False
    with hub_and_node(world, hub):
        hub.hellos.get(timeout=60)
        hub.welcome = True
        hub.hellos.get(timeout=60)
        _until(lambda: bool(hub.sockets))
        hub.sockets[-1].close()
        hub.hellos.get(timeout=60)
        _until(lambda: len(hub.sockets) == 2)
        hub.sockets[-1].socket.close()
        hub.hellos.get(timeout=60)


def test_another_hub_gets_no_hello(world: SignerWorld) -> None:
    hub = HubSocket(world, hub_id="other")
    with hub_and_node(world, hub) as runtime:
        with pytest.raises(Empty):
            hub.hellos.get(timeout=1)
        assert runtime.roster.version == 0


def test_data_errors_do_not_quote_data() -> None:
    for error in (SourceError(said("row 7: income '12,5'")), DataError("row 7: income '12,5'")):
        problem = problem_of(error, party="bank-01")
        assert problem.code == error.code
        assert "12,5" not in problem.model_dump_json()


@given(st.binary(max_size=200), st.text(min_size=1, max_size=20), st.none() | st.text(max_size=20))
def test_frames_round_trip(body: bytes, id_: str, reply_to: str | None) -> None:
    frame = Frame(type="reply", id=id_, reply_to=reply_to, body=body)
    assert decode_frame(encode_frame(frame)) == frame


@given(st.binary(max_size=100))
def test_anything_else_is_a_frame_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode_frame(data)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "reply", "id": "x", "reply_to": None},
        {"type": "reply", "id": "x", "reply_to": None, "body": "text"},
        {"type": "unknown", "id": "x", "reply_to": None, "body": b""},
        {"type": "reply", "id": "x", "reply_to": None, "body": b"", "more": 1},
        {"type": "reply", "id": 1, "reply_to": None, "body": b""},
        ["reply", "x", None, b""],
    ],
)
def test_malformed_frames_are_refused(value: object) -> None:
    import msgpack

    with pytest.raises(FrameError):
        decode_frame(msgpack.packb(value))
    with pytest.raises(FrameError):
        decode_frame(encode_frame(Frame(type="reply", id="x", body=b"")) + b"\x00")


def _until(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
