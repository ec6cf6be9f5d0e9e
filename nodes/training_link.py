"""Training messages over the node's link; the framework is loaded by the first of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from nodes.training_context import TrainingContext
from nodes.witness_stage import WitnessContext


class TrainingDesk:
    """The handler of `flower` frames.

    Args:
        context: who answers; at a node or at the witness.
    """

    def __init__(self, context: TrainingContext | WitnessContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._handle: Callable[[bytes], bytes] | None = None

    def answer(self, body: bytes) -> bytes:
        """One serialised message in, its serialised reply out.

        Raises:
            LinkError: the message cannot be read. What a step refuses is a signed record inside the reply.
        """
        with self._lock:
            if self._handle is None:
                from nodes.training import serve_link  # noqa: PLC0415

                self._handle = serve_link(self._context)
        return self._handle(body)
