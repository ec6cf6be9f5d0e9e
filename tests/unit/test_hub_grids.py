"""Grids carry bytes, count them, and tell the lost from the late."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from crypto.errors import ExchangeError
from crypto.parcel import Parcel, array_from_fields, as_array
from crypto.wire.link import FrameType, ProblemBody
from hub.errors import PeerRefused, PeerTimeout, PeerUnreachable
from hub.grids.agent import AgentGrid
from hub.grids.channel import Channel, Lost, from_records, to_records
from hub.grids.local import LocalGrid

RELEASE = threading.Event()


def app() -> ClientApp:
    made = ClientApp()

    @made.train("echo")
    def echo(message: Message, context: Context) -> Message:
        parcel = from_records(message.content)
        doubled = {name: array * 2 for name, array in parcel.arrays.items()}
        return Message(to_records(Parcel(parcel.texts, doubled)), reply_to=message)

    @made.train("fail")
    def fail(message: Message, context: Context) -> Message:
        raise RuntimeError("no")

    @made.train("slow")
    def slow(message: Message, context: Context) -> Message:
        RELEASE.wait(60)
        return Message(RecordDict(), reply_to=message)

    @made.train("mutate")
    def mutate(message: Message, context: Context) -> Message:
        context.state["seen"] = message.content.config_records["texts"]
        return Message(RecordDict({"n": to_records(Parcel({"n": str(len(context.state))}))["texts"]}), reply_to=message)

    return made


def context(node_id: int) -> Context:
    return Context(run_id=1, node_id=node_id, node_config={}, state=RecordDict(), run_config={})


@pytest.fixture
def channel() -> Channel:
    grid = LocalGrid({number: (app(), context(number)) for number in (11, 12)})
    return Channel(grid, {"a": 11, "b": 12}, 20.0)


def test_parcels_arrive_whole_and_are_counted(channel: Channel) -> None:
    parcel = Parcel(
        {"token": "x.y.z", "地": "瓜"},
        {
            "u32": np.arange(6, dtype=np.uint32).reshape(2, 3),
            "none": np.zeros((0, 5), np.uint8),
            "b": as_array(b"\x01"),
        },
    )
    replies = channel.ask("train.echo", {"a": parcel, "b": Parcel()}, "c/scorecard/1")
    back = replies["a"]
    assert isinstance(back, Parcel)
    assert back.texts == parcel.texts
    assert back.array("u32", np.uint32, 2).tolist() == [[0, 2, 4], [6, 8, 10]]
    assert back.arrays["none"].shape == (0, 5)
    assert back.blob("b") == b"\x02"
    traffic = channel.grid.traffic[11]  # type: ignore[attr-defined]
    assert traffic.trips == 1
    assert traffic.sent > 200
    assert traffic.received > 200


def test_strangers_failures_and_unknown_steps_are_lost_not_raised(channel: Channel) -> None:
    assert channel.ask("train.fail", {"a": Parcel(), "c": Parcel()}, "g") == {
        "a": Lost("failed: error 2 of Flower; the node's own log says why"),
        "c": Lost("not connected"),
    }
    assert channel.ask_one("train.unknown", "b", Parcel(), "g") == Lost(
        "failed: error 2 of Flower; the node's own log says why"
    )


def test_late_replies_give_a_short_list_and_are_dropped() -> None:
    RELEASE.clear()
    grid = LocalGrid({number: (app(), context(number)) for number in (11, 12)})
    slow = grid.create_message(to_records(Parcel()), "train.slow", 11, "g")
    quick = grid.create_message(to_records(Parcel({"k": "v"})), "train.echo", 12, "g")
    replies = list(grid.send_and_receive([slow, quick], timeout=2.0))
    RELEASE.set()
    assert [reply.metadata.src_node_id for reply in replies] == [12]
    assert list(grid.pull_messages([slow.metadata.message_id])) == []
    grid.close()


def test_push_and_pull_work_apart() -> None:
    RELEASE.set()
    grid = LocalGrid({11: (app(), context(11))})
    names = list(grid.push_messages([grid.create_message(to_records(Parcel({"k": "v"})), "train.echo", 11, "g")]))
    replies: list[Message] = []
    while not replies:
        replies = list(grid.pull_messages(names))
    assert replies[0].metadata.reply_to_message_id == names[0]
    assert list(grid.pull_messages(names)) == []
    assert list(grid.get_node_ids()) == [11]


def test_a_nodes_state_lives_on_and_messages_are_copies(channel: Channel) -> None:
    array = np.ones(3, dtype=np.uint32)
    channel.ask_one("train.echo", "a", Parcel({}, {"x": array}), "g")
    assert array.tolist() == [1, 1, 1]
    first = channel.ask_one("train.mutate", "a", Parcel({"k": "1"}), "g")
    again = channel.ask_one("train.mutate", "a", Parcel({"k": "2"}), "g")
    assert isinstance(first, Parcel)
    assert isinstance(again, Parcel)


class Links:
    """What the hub's links do, as a test wants it."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, FrameType, float]] = []

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        self.asked.append((party_id, frame_type, timeout))
        return self.answer(body)


def through_app(body: bytes) -> bytes:
    reply = app()(message_from_proto(ProtoMessage.FromString(body)), context(11))
    return message_to_proto(reply).SerializeToString()


def test_the_agent_grid_carries_the_same_bytes_over_links() -> None:
    links = Links(through_app)
    channel = Channel(AgentGrid(links, {11: "bank-01"}), {"bank-01": 11}, 7.0)
    reply = channel.ask_one("train.echo", "bank-01", Parcel({"k": "v"}, {"x": np.ones(2, np.uint32)}), "g")
    assert isinstance(reply, Parcel)
    assert reply.arrays["x"].tolist() == [2, 2]
    assert links.asked == [("bank-01", "flower", 7.0)]


@pytest.mark.parametrize(
    ("failure", "lost"),
    [
        (PeerTimeout("bank-01"), "no reply in time"),
        (PeerUnreachable("bank-01"), "not connected"),
        (
            PeerRefused("bank-01", ProblemBody(code="link-failed", title="t", detail="d")),
            "failed: error 2 of Flower; the node's own log says why",
        ),
    ],
)
def test_what_links_cannot_do_is_a_lost_node(failure: Exception, lost: str) -> None:
    def fail(body: bytes) -> bytes:
        raise failure

    channel = Channel(AgentGrid(Links(fail), {11: "bank-01"}), {"bank-01": 11}, 5.0)
    assert channel.ask_one("train.echo", "bank-01", Parcel(), "g") == Lost(lost)


def test_a_reply_to_another_message_is_not_taken() -> None:
    stored: list[bytes] = []

    def replay(body: bytes) -> bytes:
        stored.append(through_app(body))
        return stored[0]

    channel = Channel(AgentGrid(Links(replay), {11: "bank-01"}), {"bank-01": 11}, 5.0)
    assert isinstance(channel.ask_one("train.echo", "bank-01", Parcel(), "g"), Parcel)
    assert channel.ask_one("train.echo", "bank-01", Parcel(), "g") == Lost(
        "failed: error 4 of Flower; the node's own log says why"
    )


@pytest.mark.parametrize(
    "fields", [("object", (1,), b"12345678"), ("uint32", (2,), b"1234"), ("uint8", (-1, 3), b"1234")]
)
def test_malformed_arrays_are_refused(fields: tuple[str, tuple[int, ...], bytes]) -> None:
    with pytest.raises(ExchangeError):
        array_from_fields(*fields)
