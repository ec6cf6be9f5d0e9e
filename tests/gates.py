"""Holding a party at a training step, to look at the federation or to disturb it just then."""

from __future__ import annotations

import threading

from nodes import training
from nodes.link_session import Handler
from tests.served_world import Agent


class Gate:
    """Holds a party's training step, or its reply, until it is opened, or loses the message or its reply; once."""

    def __init__(self, agent: Agent, step: str, *, skip: int = 0, lose: str = "", answer_first: bool = False) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self._handlers = agent.runtime.handlers
        self._handler: Handler = self._handlers["flower"]
        self._step, self._skip, self._lose, self._answer_first = step, skip, lose, answer_first

    def __enter__(self) -> Gate:
        self._handlers["flower"] = self._answer
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self._handlers["flower"] = self._handler

    def _answer(self, body: bytes) -> bytes:
        message = training.message_from_proto(training.ProtoMessage.FromString(body))
        if message.metadata.message_type != self._step or self._skip != 0 or self.reached.is_set():
            self._skip -= message.metadata.message_type == self._step
            return self._handler(body)
        reply = self._handler(body) if self._lose == "reply" or self._answer_first else None
        self.reached.set()
        if self._lose:
            raise RuntimeError(f"the {self._lose} is lost")
        assert self.opened.wait(240)
        return self._handler(body) if reply is None else reply
