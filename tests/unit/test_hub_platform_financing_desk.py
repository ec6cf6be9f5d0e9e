"""A careless core system: whatever it sends, in whatever order, tables and audit record tell one story."""

from __future__ import annotations

import itertools
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hub.platform.errors import PlatformError
from hub.platform.financing_book import Standing
from hub.platform.financing_orders import Order, financing_id_of
from hub.platform.financing_states import State
from tests import lending_world  # by its name, a module runs on every database: many examples take too long for that
from tests.lending_world import ACTOR, BANK, DAY, apply, offer, order


class Desk(RuleBasedStateMachine):
    """Orders of a careless core system: repeated, out of order, half of them wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = lending_world.LendingWorld(Path(self.folder.name))
        self.day = DAY
        self.payments = 0

    def teardown(self) -> None:
        self.world.close()
        self.folder.cleanup()

    def _send(self, *orders: Order) -> None:
        before = self._tables()
        entries = len(self.world.audit_entries())
        try:
            self.world.book.execute(BANK, ACTOR, orders)
        except PlatformError:
            assert self._tables() == before
            assert len(self.world.audit_entries()) == entries

    def _tables(self) -> list[Standing]:
        return self.world.book.page()

    references = st.sampled_from(["L-1", "L-2"])

    @rule(days=st.integers(1, 45))
    def wait(self, days: int) -> None:
        self.day += timedelta(days)

    @rule(reference=references, amount=st.sampled_from([1_200_000, 2_400_000]))
    def apply(self, reference: str, amount: int) -> None:
        self._send(apply(reference, amount_fen=amount))

    @rule(reference=references, steps=st.lists(st.sampled_from(["score", "offer", "contract", "disburse"]), max_size=4))
    def go_on(self, reference: str, steps: list[str]) -> None:
        made = {
            "score": order("score", reference),
            "offer": offer(reference),
            "contract": order("contract", reference, on=self.day),
            "disburse": order("disburse", reference, on=self.day),
        }
        if steps:
            self._send(*(made[each] for each in steps))

    @rule(reference=references, principal=st.sampled_from([0, 100_000, 1_200_000]), fresh=st.booleans())
    def repay(self, reference: str, principal: int, fresh: bool) -> None:
        self.payments += fresh
        paid = {"principal_fen": principal, "interest_fen": 7, "payment": f"p{self.payments}"}
        self._send(order("repay", reference, on=self.day, **paid))

    @rule(reference=references, step=st.sampled_from(["withdraw", "refuse", "expire"]))
    def end(self, reference: str, step: str) -> None:
        self._send(order(step, reference, on=self.day))

    @rule(reference=references, cause=st.sampled_from(["overdue", "insolvency"]))
    def default(self, reference: str, cause: str) -> None:
        self._send(order("default", reference, on=self.day, cause=cause))

    @invariant()
    def the_audit_record_tells_every_state(self) -> None:
        told: dict[str, list[dict[str, Any]]] = {}
        for _, action, subject, what in self.world.audit_entries():
            if action.startswith("financing-"):
                told.setdefault(subject, []).append(what)
        found = self._tables()
        assert set(told) == {each.financing.financing_id for each in found}
        for each in found:
            entries = told[each.financing.financing_id]
            assert each.financing.financing_id == financing_id_of(BANK, each.reference)
            assert entries[0]["from"] is None
            assert [entry["version"] for entry in entries] == list(range(1, len(entries) + 1))
            for earlier, later in itertools.pairwise(entries):
                assert later["from"] == earlier["to"]
            assert (entries[-1]["to"], len(entries)) == (each.financing.state.value, each.financing.version)
            payments = [entry["order"]["payment"] for entry in entries if entry["order"]["step"] == "repay"]
            assert payments == [payment.reference for payment in each.financing.repayments]
            assert (each.financing.state == State.CLOSED) <= (each.financing.outstanding_fen == 0)


TestDesk = Desk.TestCase
TestDesk.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
