"""Parties that die in mid-step and come back from what is on their disks.

A party dies by an exception that nothing catches. What it had in memory is gone; its store is opened anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hub.grids.base import UnansweredError
from hub.grids.local import LocalGrid
from hub.simulation import WITNESS_ID, Budget
from nodes.attempts import AttemptStore
from nodes.campaign_rules import CampaignRules
from nodes.journal import Journal
from nodes.ledger import Ledger
from nodes.points_book import AssumedUses
from nodes.store import Store
from nodes.witness.release import ReleaseDesk
from nodes.witness_attempts import WitnessAttemptStore
from tests.federation import World


class Killed(BaseException):
    """The process is gone; nothing in it may handle that."""


class MortalGrid(LocalGrid):
    """A LocalGrid on which a party that dies gives no answer, and is there again for the next message.

    Args:
        world: whose parties.
        budget: of every party.
        patient: the message that killed a party is brought to it once more, when it is back.
    """

    def __init__(self, world: World, budget: Budget, *, patient: bool = False) -> None:
        super().__init__(world.federation.apps())
        self._world = world
        self._budget = budget
        self._patient = patient
        self._names = {number: party for party, number in world.federation.node_ids.items()}
        self.deaths: list[str] = []

    def deliver(self, node_id: int, wire: bytes, timeout: float | None) -> bytes:
        try:
            return super().deliver(node_id, wire, timeout)
        except Killed as death:
            party = self._names[node_id]
            self.deaths.append(party)
            restart(self._world, party, self._budget)
            self._nodes[node_id] = self._world.federation.apps()[node_id]
            if self._patient:
                return super().deliver(node_id, wire, timeout)
            raise UnansweredError(party) from death


def restart(world: World, party: str, budget: Budget) -> None:
    """Everything that the party knows comes from its store again."""
    federation = world.federation
    path = federation.stores[party].path
    federation.stores[party].close()
    store = federation.stores[party] = Store.open(path)
    ledger, rules = Ledger(store, budget.epsilon, budget.delta), CampaignRules(store)
    if party == WITNESS_ID:
        federation.witness_context = replace(
            federation.witness_context, ledger=ledger, attempts=WitnessAttemptStore(store), campaigns=rules
        )
        context = federation.witness_context
        federation.desk = ReleaseDesk(store, context, Journal(store, WITNESS_ID, clock=context.clock))
    else:
        attempts = AttemptStore(store)
        federation.contexts[party] = replace(
            federation.contexts[party], ledger=ledger, attempts=attempts, campaigns=rules, points=AssumedUses(attempts)
        )


def die(target: Any, method: str, nth: int, *, after: bool) -> None:
    """The nth call of a method kills the caller, before or after it took effect."""
    honest: Callable[..., Any] = getattr(target, method)
    calls = 0

    def mortal(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            raise Killed
        result = honest(*given, **named)
        if calls == nth:
            raise Killed
        return result

    setattr(target, method, mortal)
