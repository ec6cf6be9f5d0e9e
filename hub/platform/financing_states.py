"""A financing's states and what leads from one to the next: one table, and nothing else changes a state.

    applied → scored → offered → contracted → disbursed → closed
                                                   └────→ defaulted (what is paid after that recovers it)

Before the contract it may be withdrawn by the merchant, refused by the bank, or expire; a contract that was not paid
out may still be withdrawn or expire.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from hub.platform.lending_errors import FinancingStateError


class State(StrEnum):
    """Where a financing stands."""

    APPLIED = "applied"
    SCORED = "scored"
    OFFERED = "offered"
    CONTRACTED = "contracted"
    DISBURSED = "disbursed"
    CLOSED = "closed"
    DEFAULTED = "defaulted"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    EXPIRED = "expired"


class Step(StrEnum):
    """What happens to a financing."""

    SCORE = "score"
    OFFER = "offer"
    CONTRACT = "contract"
    DISBURSE = "disburse"
    REPAY = "repay"
    CLOSE = "close"
    DEFAULT = "default"
    RECOVER = "recover"
    WITHDRAW = "withdraw"
    REFUSE = "refuse"
    EXPIRE = "expire"


_S = State
TRANSITIONS: Mapping[State, Mapping[Step, State]] = {
    _S.APPLIED: {
        Step.SCORE: _S.SCORED,
        Step.WITHDRAW: _S.WITHDRAWN,
        Step.REFUSE: _S.REFUSED,
        Step.EXPIRE: _S.EXPIRED,
    },
    _S.SCORED: {
        Step.OFFER: _S.OFFERED,
        Step.WITHDRAW: _S.WITHDRAWN,
        Step.REFUSE: _S.REFUSED,
        Step.EXPIRE: _S.EXPIRED,
    },
    _S.OFFERED: {
        Step.OFFER: _S.OFFERED,  # a better offer takes the place of the last
        Step.CONTRACT: _S.CONTRACTED,
        Step.WITHDRAW: _S.WITHDRAWN,
        Step.REFUSE: _S.REFUSED,
        Step.EXPIRE: _S.EXPIRED,
    },
    _S.CONTRACTED: {Step.DISBURSE: _S.DISBURSED, Step.WITHDRAW: _S.WITHDRAWN, Step.EXPIRE: _S.EXPIRED},
    _S.DISBURSED: {Step.REPAY: _S.DISBURSED, Step.CLOSE: _S.CLOSED, Step.DEFAULT: _S.DEFAULTED},
    _S.DEFAULTED: {Step.RECOVER: _S.DEFAULTED},
    _S.CLOSED: {},
    _S.WITHDRAWN: {},
    _S.REFUSED: {},
    _S.EXPIRED: {},
}
"""State → step → next state; what is not here cannot happen."""

OPEN = frozenset({State.APPLIED, State.SCORED, State.OFFERED, State.CONTRACTED})
"""States before any money was paid out."""
FINAL = frozenset(state for state, steps in TRANSITIONS.items() if not steps)


def after(state: State, step: Step) -> State:
    """Return the state that a step leads to.

    Raises:
        FinancingStateError: the step is not open from this state.
    """
    following = TRANSITIONS[state].get(step)
    if following is None:
        open_steps = ", ".join(TRANSITIONS[state]) or "none"
        raise FinancingStateError(
            f"The financing is {state}: it cannot {step} now.",
            field="state",
            remedy=f"Read the financing again; steps open from {state}: {open_steps}.",
        )
    return following
