"""Which released models are in use: the witness may roll a line back to an older one, and forward again (7).

Z5  The rollback is signed by the pinned witness key.
Z6  Its serial is greater than any that this node has taken: an older rollback, played again, changes nothing.
Z7  It names one model, which is in use from then on, and those that it is used instead of, which nodes refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crypto.dated import verify_dated
from crypto.wire.campaign import ModelRollback
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.models import ModelRollbackRow

_PLACES = select(ModelRollbackRow.model_id, ModelRollbackRow.in_use, ModelRollbackRow.issued_at)
_PLACES = _PLACES.order_by(ModelRollbackRow.serial)


@dataclass(frozen=True)
class Place:
    """Where rollbacks left a model.

    Attributes:
        rolled_back: another of its line is used instead.
        chosen_at: when the newest rollback to it was signed, in seconds; 0 where there was none since.
    """

    rolled_back: bool = False
    chosen_at: int = 0


def facts_of(rollback: ModelRollback) -> dict[str, str | int | bool | None]:
    """What a journal keeps of a rollback."""
    return {
        "serial": rollback.serial,
        "line": rollback.line,
        "model_id": rollback.model_id,
        "over": ", ".join(rollback.over),
        "reason": rollback.reason,
    }


class Rollbacks:
    """Rollbacks in the node's store."""

    def __init__(self, store: Store, roster: RosterBook, journal: Journal) -> None:
        self._store = store
        self._roster = roster
        self._journal = journal

    def take(self, token: str) -> None:
        """Take a JWS `model-rollback`; one that was taken before changes nothing.

        Raises:
            SignatureError: Z5.
            PolicyRefusal: Z6, `rollback-replayed`; or `feed-item-invalid`, it replaces a model by itself.
        """
        signed = verify_dated(
            token, self._roster.arriving_witness_keys, ModelRollback, typ="model-rollback", kid=self._roster.witness_id
        )
        if signed.model_id in signed.over or len(set(signed.over)) < len(signed.over):
            raise PolicyRefusal(
                "feed-item-invalid",
                f"rollback {signed.serial} names a model twice",
                field="over",
                remedy="ask the witness",
            )
        moment = int(signed.issued_at.timestamp())
        with self._store.session() as session:
            known = session.get(ModelRollbackRow, (signed.serial, signed.model_id))
            if known is not None and known.token == token:
                return
            newest = session.scalar(select(func.max(ModelRollbackRow.serial))) or 0
            if signed.serial <= newest:
                raise PolicyRefusal(
                    "rollback-replayed",
                    f"rollback {signed.serial} is not newer than {newest}, which this node has taken",
                    field="serial",
                    remedy="the newer one stays in force; ask the hub's operator why the older one came again",
                )
            for model_id in (signed.model_id, *signed.over):
                session.add(
                    ModelRollbackRow(
                        serial=signed.serial,
                        model_id=model_id,
                        in_use=model_id == signed.model_id,
                        issued_at=moment,
                        token=token,
                    )
                )
            self._journal.note("model-rollback", facts_of(signed), session=session)

    def places(self, session: Session | None = None) -> dict[str, Place]:
        """Where rollbacks left models, by id; one that none names is not in it.

        Args:
            session: the caller's transaction, where there is one.
        """
        if session is None:
            with self._store.reading() as own:
                return self.places(own)
        session.flush()
        rows = session.connection().execute(_PLACES).all()
        return {row.model_id: Place(False, row.issued_at) if row.in_use else Place(True) for row in rows}
