"""Flower's `Grid` over anything that can carry one request and its reply: shared by the local and the agent grid.

Messages are serialised both ways, as the deployment engine does: what is not in a message does not arrive. A
reply that is late is missing from the list and dropped; an exception at the far end is a message with an error.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import structlog
from flwr.app import Error, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp.grid import Grid
from flwr.supercore.run import Run

_LOG = structlog.get_logger("hub.grids")
DEFAULT_TTL_S = 3600.0


@dataclass
class Traffic:
    """Bytes and messages to and from one node."""

    sent: int = 0
    received: int = 0
    trips: int = 0


class UnansweredError(Exception):
    """The far end gave no reply at all; the message is simply missing from the list of replies."""


class UndeliveredError(Exception):
    """The far end could not be reached or failed; carries Flower's error code and a text without data."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class RequestGrid(Grid):
    """A grid whose `deliver` carries serialised messages. Thread-safe.

    Args:
        node_ids: whom messages can go to.
        workers: messages in flight at once.
    """

    def __init__(self, node_ids: Iterable[int], *, workers: int) -> None:
        self._node_ids = tuple(node_ids)
        self._run = Run.create_empty(run_id=uuid.uuid4().int >> 65)
        self._pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="grid")
        self._pending: dict[str, Future[Message | None]] = {}
        self._lock = threading.Lock()
        self.traffic: dict[int, Traffic] = {node_id: Traffic() for node_id in self._node_ids}

    @abstractmethod
    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        """Carries one serialised message and returns the serialised reply.

        Raises:
            UnansweredError: no reply came in time.
            UndeliveredError: it could not be carried, or the far end failed.
        """

    def close(self) -> None:
        """Forgets what is in flight; does not wait for late nodes."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def set_run(self, run: Run) -> None:
        """Sets the run that messages are stamped with."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that messages are stamped with."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node; the id is given when it is pushed."""
        metadata = Metadata(
            run_id=self._run.run_id,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=dst_node_id,
            reply_to_message_id="",
            group_id=group_id,
            created_at=time.time(),
            ttl=DEFAULT_TTL_S if ttl is None else ttl,
            message_type=message_type,
        )
        return Message(content=content, metadata=metadata)  # type: ignore[call-overload,no-any-return]

    def get_node_ids(self) -> Iterable[int]:
        """Ids of all nodes."""
        return self._node_ids

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Starts sending; returns the messages' ids."""
        return [self._push(message, None) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there by now."""
        with self._lock:
            done = [name for name in message_ids if name in self._pending and self._pending[name].done()]
            futures = [self._pending.pop(name) for name in done]
        return [reply for future in futures if (reply := future.result()) is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Sends and waits; what is late is not in the list."""
        names = [self._push(message, timeout) for message in messages]
        with self._lock:
            futures = [self._pending[name] for name in names]
        wait(futures, timeout=timeout)
        replies = list(self.pull_messages(names))
        with self._lock:
            for name in names:
                late = self._pending.pop(name, None)
                if late is not None:
                    late.cancel()
        return replies

    def _push(self, message: Message, timeout: float | None) -> str:
        name = str(uuid.uuid4())
        message.metadata.__dict__["_message_id"] = name
        with self._lock:
            self._pending[name] = self._pool.submit(self._carry, message, timeout)
        return name

    def _carry(self, message: Message, timeout: float | None) -> Message | None:
        node_id = message.metadata.dst_node_id
        wire = message_to_proto(message).SerializeToString()
        # From here on only its metadata are needed; whoever waits for all replies holds all messages.
        message.content = RecordDict()
        self._count(node_id, sent=len(wire))
        try:
            answer = self.deliver(node_id, wire, timeout)
        except UnansweredError:
            return None
        except UndeliveredError as failure:
            return Message(Error(failure.code, failure.reason), reply_to=message)
        self._count(node_id, received=len(answer))
        try:
            reply = message_from_proto(ProtoMessage.FromString(answer))
        except Exception as malformed:  # Flower's readers raise whatever a malformed field leads them to
            _LOG.info("reply-unreadable", count=node_id, type=type(malformed).__name__)
            return Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "an unreadable reply"), reply_to=message)
        if reply.metadata.reply_to_message_id != message.metadata.message_id:
            return Message(Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "a reply to another message"), reply_to=message)
        return reply

    def _count(self, node_id: int, *, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            traffic = self.traffic.setdefault(node_id, Traffic())
            traffic.sent += sent
            traffic.received += received
            traffic.trips += bool(received)
