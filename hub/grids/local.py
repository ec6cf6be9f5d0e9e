"""Flower in one process: every node is a `ClientApp` with its own context, messages are bytes in between."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

import structlog
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from hub.grids.base import RequestGrid, UndeliveredError

_LOG = structlog.get_logger("hub.grids.local")
_WORKERS = max(2, min(8, os.cpu_count() or 1))


class LocalGrid(RequestGrid):
    """Threads in one process; for simulations and tests.

    Args:
        nodes: node id → app and context. A context's state lives on between messages.
        workers: nodes that work at once; arrays of all of them are in memory together.
    """

    def __init__(self, nodes: Mapping[int, tuple[ClientApp, Context]], *, workers: int = _WORKERS) -> None:
        super().__init__(nodes, workers=min(workers, len(nodes)))
        self._nodes = dict(nodes)
        self._busy = {node_id: threading.Lock() for node_id in nodes}

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        """Runs the node's app on the message; one message at a time per node."""
        if node_id not in self._nodes:
            raise UndeliveredError(ErrorCode.NODE_UNAVAILABLE, f"no node {node_id}")
        app, context = self._nodes[node_id]
        message = message_from_proto(ProtoMessage.FromString(wire))
        with self._busy[node_id]:
            try:
                reply = app(message, context)
            except Exception as failure:
                _LOG.debug("node-failed", count=node_id, exc_info=True)
                raise UndeliveredError(
                    ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(failure).__name__}: {failure}"
                ) from failure
        return bytes(message_to_proto(reply).SerializeToString())
