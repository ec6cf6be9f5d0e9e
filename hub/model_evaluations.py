"""What evaluation stages found, kept beside the models: it comes after the artefact, whose bytes never change."""

from __future__ import annotations

from sqlalchemy import select

from crypto.canonical import digest
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import NotFoundError
from hub.log import AuditLog
from hub.tables.models import ModelEvaluationRow, ModelRow
from models.evaluation_result import EvaluationResult


class ModelEvaluations:
    """Evaluations in the hub's database.

    Args:
        db, log, clock: the hub's.
        hub_id: the actor of entries in the log.
    """

    def __init__(self, db: Database, log: AuditLog, *, hub_id: str, clock: Clock) -> None:
        self._db = db
        self._log = log
        self._hub_id = hub_id
        self._clock = clock

    def keep(self, result: EvaluationResult) -> None:
        """Store and log a result; a second one of the same attempt changes nothing.

        Raises:
            NotFoundError: the hub has no such model.
        """
        text = result.model_dump_json()
        with self._db.session() as session:
            if session.get(ModelEvaluationRow, result.attempt) is not None:
                return
            if session.get(ModelRow, result.model_id) is None:
                raise NotFoundError("There is no such model.", field="model_id", remedy="See GET /v1/models.")
            session.add(
                ModelEvaluationRow(
                    attempt=result.attempt,
                    model_id=result.model_id,
                    result=text,
                    received_at=seconds(self._clock()),
                )
            )
            facts: dict[str, str | int | bool | None] = {
                "model_id": result.model_id,
                "campaign_id": result.campaign,
                "attempt": result.attempt,
                "result_sha256": digest(text.encode()).hex(),
            }
            self._log.append(session, "model-evaluated", self._hub_id, facts=facts)

    def newest(self, model_id: str) -> EvaluationResult | None:
        """The result that came last for a model, or None."""
        query = (
            select(ModelEvaluationRow.result)
            .where(ModelEvaluationRow.model_id == model_id)
            .order_by(ModelEvaluationRow.received_at.desc(), ModelEvaluationRow.attempt.desc())
        )
        with self._db.reading() as session:
            text = session.scalars(query.limit(1)).first()
        return None if text is None else EvaluationResult.model_validate_json(text)

    def all(self) -> dict[str, EvaluationResult]:
        """The newest result of each model that has one."""
        query = select(ModelEvaluationRow.model_id, ModelEvaluationRow.result)
        with self._db.reading() as session:
            rows = session.execute(query.order_by(ModelEvaluationRow.received_at, ModelEvaluationRow.attempt)).all()
        newest = {row.model_id: row.result for row in rows}
        return {model_id: EvaluationResult.model_validate_json(text) for model_id, text in newest.items()}
