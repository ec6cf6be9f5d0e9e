"""The witness signs which released model of a line is in use (docs/protocol.md, 7).

Z2  All models that the hub names were released here for scoring, and none was withdrawn. So nothing comes into use that
    did not pass W1–W9; that is why the owner's word is not asked for again, and a line can be rolled back at once.
Z3  Every rollback gets the next number, on disk before it leaves. The newest one, proposed again, gets the same bytes.
"""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.errors import SignatureError
from crypto.jws import sign_model
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRollback
from crypto.wire.link import RollbackProposal
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.rollbacks import facts_of
from nodes.store import Store
from nodes.tables.witness import SignedReleaseRow, SignedRollbackRow
from nodes.witness.release import WITHDRAWN
from nodes.witness_stage import WitnessContext


class RollbackDesk:
    """Handles `rollback-model`.

    Args:
        store, context, journal: the witness's.
    """

    def __init__(self, store: Store, context: WitnessContext, journal: Journal) -> None:
        self._store = store
        self._context = context
        self._journal = journal

    def roll_back(self, body: bytes) -> bytes:
        """JSON of `RollbackProposal` in, a JWS `model-rollback` out.

        Raises:
            PolicyRefusal: `model-not-released` or `model-withdrawn`, by Z2.
            SignatureError: the proposal is malformed.
        """
        try:
            proposal = RollbackProposal.model_validate_json(body)
            asked = ModelRollback(
                suite=SUITE,
                serial=1,
                line=proposal.line,
                model_id=proposal.model_id,
                over=proposal.over,
                reason=proposal.reason,
                issued_at=self._context.clock(),
            )
        except ValidationError as problem:
            raise SignatureError("the proposal is malformed", field="proposal", remedy="propose again") from problem
        named = (asked.model_id, *asked.over)
        if len(set(named)) < len(named):
            raise SignatureError("the proposal names a model twice", field="over", remedy="propose again")
        with self._store.session() as session:
            newest = session.scalar(select(SignedRollbackRow).order_by(SignedRollbackRow.serial.desc()).limit(1))
            if newest is not None and newest.proposal == body:
                return newest.token.encode()
            for model_id in named:
                _require_released(session, model_id)
            rollback = asked.model_copy(update={"serial": 1 if newest is None else newest.serial + 1})
            token = sign_model(rollback, self._context.identity, typ="model-rollback", kid=self._context.party_id)
            session.add(SignedRollbackRow(serial=rollback.serial, proposal=body, token=token))
            self._journal.note("model-rollback", facts_of(rollback), session=session)
        return token.encode()


def _require_released(session: Session, model_id: str) -> None:
    """Z2."""
    if session.get(SignedReleaseRow, (model_id, WITHDRAWN)) is not None:
        raise PolicyRefusal(
            "model-withdrawn",
            f"{model_id} was withdrawn; that is final",
            field="model_id",
            remedy="roll back to another version, or train a new one",
        )
    if session.get(SignedReleaseRow, (model_id, "release")) is None:
        raise PolicyRefusal(
            "model-not-released",
            f"{model_id} was never released for scoring here",
            field="model_id",
            remedy="roll back to a released version, or have this one released first",
        )
