"""Single scores that are asked for at the same time travel together (docs/protocol.md, 7).

J1  At most `LANES` requests are under way for single scores. Whoever comes while fewer are goes at once; whoever comes
    while all are taken waits for the next, with all others who wait: one signature, one frame to each source, one
    commit at each store for all of them. So under light load nothing waits, and the more come, the less each costs.
J2  Only merchants whose consents name the same sources share a request (A1), each merchant once.
J3  What is wrong with one merchant's enquiry is no other's matter: whoever cannot go with the others is asked for
    alone, and learns its own refusal. A request that the hub may have taken is never made anew.
J4  A request whose source is away is tried again for some seconds. It gives up its lane meanwhile, so that merchants
    of other sources need not wait for it.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from crypto.errors import CryptoError
from crypto.identifiers import normalise
from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer
from models.errors import ModelsError
from nodes.enquiries import Enquiries, Enquiry, scored
from nodes.errors import NodeError, PeerError
from nodes.model_book import BookedModel
from nodes.requester import Prepared

LANES = 3
"""Who waits, waits for a third of a request's time. More lanes only take each other's time: with all parties on one
machine, half of the scores took 126 and 139 ms at 80 and 160 a second; where up to 16 were used, 152 and 220."""
LANE_S = 1.0
"""A request that takes longer gives up its lane (J4)."""
MOST = 100
"""Merchants in one request; a batch's may hold 500."""
SENDERS = 16
"""Requests that are under way at a time, those without a lane among them."""
REFUSED_UNSEEN = frozenset(
    {
        "consent-unknown",
        "mixed-sources",
        "query-refused",
        "recipient-not-consented",
        "source-not-consented",
        "too-few-sources",
    }
)
"""The hub's refusals of a whole request for one merchant's sake, before it was logged and any source saw it."""


@dataclass(eq=False)
class _Waiting:
    enquiry: Enquiry
    purpose: Purpose
    model_id: str | None
    answer: Future[ScoreAnswer] = field(default_factory=Future)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


_Work: TypeAlias = Callable[[Sequence[_Waiting]], None]


class JointScores:
    """Asks for single scores, together where they come together. Safe to use from several threads."""

    def __init__(
        self,
        enquiries: Enquiries,
        *,
        lanes: int = LANES,
        lane_s: float = LANE_S,
        most: int = MOST,
    ) -> None:
        """Args:
        enquiries: the node's.
        lanes: requests under way at a time (J1).
        lane_s: for how many seconds one has its lane (J4).
        most: merchants in one of them.
        """
        self._enquiries = enquiries
        self._lanes = lanes
        self._lane_s = lane_s
        self._most = most
        self._mutex = threading.Lock()
        self._queue: list[_Waiting] = []
        self._running = 0
        self._workers = ThreadPoolExecutor(lanes, "scores")
        self._senders = ThreadPoolExecutor(SENDERS, "score-request")

    def ask(self, enquiry: Enquiry, *, purpose: Purpose, model_id: str | None) -> Future[ScoreAnswer]:
        """The score of one merchant, to be; it raises as `nodes.enquiries.Enquiries.score`."""
        waiting = _Waiting(enquiry, purpose, model_id)
        with self._mutex:
            self._queue.append(waiting)
            starts = self._running < self._lanes
            self._running += starts
        if starts:
            self._workers.submit(self._work)
        return waiting.answer

    def _work(self) -> None:
        """J1: one lane, until nobody waits."""
        while group := self._next():
            try:
                # The log's lines of a request that serves several go by the id of the first.
                group[0].context.run(self._carry, group)
            except BaseException as error:
                for each in group:
                    if not each.answer.done():
                        each.answer.set_exception(error)

    def _next(self) -> list[_Waiting]:
        """Who goes next: those who want the same as the first who waits; the lane ends where there is nobody."""
        with self._mutex:
            while self._queue:
                group: list[_Waiting] = []
                left: list[_Waiting] = []
                first = self._queue[0]
                for each in self._queue:
                    fits = (each.purpose, each.model_id) == (first.purpose, first.model_id)
                    (group if fits and len(group) < self._most else left).append(each)
                self._queue = left
                group = [each for each in group if each.answer.set_running_or_notify_cancel()]
                if group:
                    return group  # else all of them gave up: those who want something else are next
            self._running -= 1
            return []

    def _carry(self, group: Sequence[_Waiting]) -> None:
        """J1, J4: start what the group needs, and keep the lane for it for a while."""
        started = [
            self._senders.submit(contextvars.copy_context().run, self._do, work, of) for work, of in self._plan(group)
        ]
        wait(started, timeout=self._lane_s)

    def _plan(self, group: Sequence[_Waiting]) -> list[tuple[_Work, Sequence[_Waiting]]]:
        """J2, J3: requests, each with those whom it is for; the others alone, one after another."""
        if len(group) == 1:
            return [(self._each_alone, group)]
        try:
            model = self._enquiries.open_model(group[0].model_id)
            jointly = _once_each(group, model)
            enquiries = [each.enquiry for each in jointly]
            plan = self._enquiries.plan(enquiries, purpose=group[0].purpose, model=model)
        except (CryptoError, ModelsError, NodeError) as problem:
            if isinstance(problem, PeerError) and problem.peer_code == "hub-unreachable":
                raise  # it is so for all of them
            return [(self._each_alone, group)]
        planned: list[tuple[_Work, Sequence[_Waiting]]] = []
        left = dict.fromkeys(group)
        for prepared in plan.requests:
            of = [jointly[place] for place in prepared.places]
            planned.append((partial(self._send, prepared, model), of))
            for each in of:
                del left[each]
        return [*planned, (self._each_alone, list(left))] if left else planned

    @staticmethod
    def _do(work: _Work, of: Sequence[_Waiting]) -> None:
        """Whoever asked gets an answer or an error, whatever happens."""
        try:
            work(of)
        except BaseException as error:
            for each in of:
                if not each.answer.done():
                    each.answer.set_exception(error)

    def _send(self, prepared: Prepared, model: BookedModel, of: Sequence[_Waiting]) -> None:
        try:
            answers = self._enquiries.send_prepared(prepared, model)
        except PeerError as problem:
            if problem.peer_code not in REFUSED_UNSEEN:
                raise
            self._each_alone(of)
            return
        for each, answer in zip(of, answers, strict=True):
            _settle(each, partial(scored, answer))

    def _each_alone(self, of: Sequence[_Waiting]) -> None:
        for each in of:
            self._alone(each)

    def _alone(self, each: _Waiting) -> None:
        """J3."""
        asked = self._enquiries
        _settle(each, lambda: asked.score(each.enquiry, purpose=each.purpose, model_id=each.model_id))


def _settle(each: _Waiting, find: Callable[[], ScoreAnswer]) -> None:
    try:
        answer = find()
    except Exception as problem:
        each.answer.set_exception(problem)
    else:
        each.answer.set_result(answer)


def _once_each(group: Sequence[_Waiting], model: BookedModel) -> list[_Waiting]:
    """J2: a merchant's uses of its consent are counted request by request, so none is twice in one.

    Raises:
        IdentifierError: one is malformed.
    """
    first: dict[str, _Waiting] = {}
    for each in group:
        first.setdefault(normalise(model.schema.id.type, each.enquiry.id), each)
    return list(first.values())
