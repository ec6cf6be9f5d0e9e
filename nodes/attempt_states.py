"""How the states of attempts are written, at a node and at the witness alike (docs/protocol.md, 3).

`crypto.attempts` says what may follow what. Here one SQL statement compares and writes, so that of two steps that
read the same state only one goes on: an attempt that was released is never void, nor the other way round, and a try is
opened on one set of parameters.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import ColumnElement, CursorResult, Result, and_, or_, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from crypto.attempts import NodeAttempt, WitnessAttempt
from nodes.errors import LedgerError
from nodes.tables.base import AttemptStateColumns

State = TypeVar("State", NodeAttempt, WitnessAttempt)


def read_state(sort: type[State], row: AttemptStateColumns) -> State:
    """The state that a row holds.

    Raises:
        LedgerError: it cannot be read; the attempt must not go on.
    """
    try:
        return sort.model_validate_json(row.state)
    except ValidationError as problem:
        raise LedgerError(
            f"the stored state of attempt {row.attempt} cannot be read",
            field="attempt",
            remedy="restore the store from its backup; let the hub start a new attempt",
        ) from problem


def write_state(session: Session, table: type[AttemptStateColumns], state: NodeAttempt | WitnessAttempt) -> None:
    """Write a state over those that it may replace, or as the attempt's first.

    Raises:
        LedgerError: what is stored is not to be replaced by it.
    """
    values = state_columns(state)
    statement = insert(table).values(attempt=state.attempt, **values)
    statement = statement.on_conflict_do_update(
        index_elements=["attempt"], set_=values, where=_replaced(table, state, values)
    )
    _demand(session.execute(statement), state)


def replace_state(
    session: Session, table: type[AttemptStateColumns], state: NodeAttempt | WitnessAttempt, **further: object
) -> None:
    """As `write_state`, where the attempt must be on record; `further` columns are set along.

    Raises:
        LedgerError: it is not on record, or what is stored is not to be replaced by it.
    """
    values = state_columns(state)
    statement = update(table).where(table.attempt == state.attempt, _replaced(table, state, values))
    _demand(session.execute(statement.values(**values, **further)), state)


def state_columns(state: NodeAttempt | WitnessAttempt) -> dict[str, Any]:
    """The columns of a state."""
    return {"phase": state.phase, "progress": state.progress, "state": state.model_dump_json().encode()}


def _replaced(
    table: type[AttemptStateColumns], state: NodeAttempt | WitnessAttempt, values: dict[str, Any]
) -> ColumnElement[bool]:
    further = and_(table.phase == state.phase, table.progress < state.progress)
    return or_(table.phase.in_(state.replaces), further, table.state == values["state"])


def _demand(written: Result[Any], state: NodeAttempt | WitnessAttempt) -> None:
    if isinstance(written, CursorResult) and written.rowcount == 1:
        return
    raise LedgerError(
        f"attempt {state.attempt} is not on record, or has gone on: it cannot become {state.phase}",
        field="attempt",
        remedy="ask for its state anew; of released and void, the first that was written stands",
    )
