"""Training messages over the node's connections; the framework is loaded by the first of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from nodes.training_context import TrainingContext
from nodes.witness_stage import WitnessContext

if TYPE_CHECKING:
    from flwr.app import Message


class TrainingDesk:
    """Answers training messages, one at a time, whether they come over the link or from a SuperLink.

    Args:
        context: who answers; at a node or at the witness.
        ready: called before each message; what it raises is the answer.
    """

    def __init__(self, context: TrainingContext | WitnessContext, *, ready: Callable[[], None] = lambda: None) -> None:
        self._context = context
        self._ready = ready
        self._lock = threading.Lock()
        self._reply: Callable[[Message], Message] | None = None
        self._handle: Callable[[bytes], bytes] | None = None

    def answer(self, body: bytes) -> bytes:
        """One serialised message in, its serialised reply out: the handler of `flower` frames.

        Raises:
            LinkError: the message cannot be read. What a step refuses is a signed record inside the reply.
        """
        self._ready()
        self._load()
        if self._handle is None:
            from nodes.training import serve_link  # noqa: PLC0415

            self._handle = serve_link(self.reply)
        return self._handle(body)

    def reply(self, message: Message) -> Message:
        """One message in, its reply out."""
        self._ready()
        return self._load()(message)

    def _load(self) -> Callable[[Message], Message]:
        with self._lock:
            if self._reply is None:
                from nodes.training import serve_messages  # noqa: PLC0415

                self._reply = serve_messages(self._context)
        return self._reply
