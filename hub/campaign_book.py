"""What the database knows of campaigns: their orders, how far they are, what was decided.

Each fact and its entry in the audit log are one transaction. All that a restarted hub needs to take a campaign up again
can be read from here.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from crypto.wire.campaign import Stage
from hub.campaign_errors import CampaignStateError
from hub.campaign_plan import EncoderCheckpoint, Progress
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import NotFoundError
from hub.log import AuditLog
from hub.problem_details import Problem
from hub.tables.campaigns import (
    CampaignAttemptRow,
    CampaignEventRow,
    CampaignRefusalRow,
    CampaignRow,
    EncoderCheckpointRow,
    OpenedTableRow,
    UndeliveredDecisionRow,
)
from models.campaign_file import CampaignFile
from models.encoder_step import StepState
from models.schema import Schema

Status: TypeAlias = Literal["queued", "running", "succeeded", "failed", "aborted"]
UNFINISHED: tuple[Status, ...] = ("queued", "running")
SALT_BYTES = 32


@dataclass(frozen=True)
class Campaign:
    """A campaign as it was ordered, and where it stands."""

    campaign_id: str
    order: CampaignFile
    schema: Schema
    status: Status
    holdout_salt: bytes
    created_at: int
    ended_at: int | None
    failure: Problem | None
    encoder_model: str | None
    scorecard_model: str | None
    run_by: str | None

    @property
    def model_id(self) -> str | None:
        """The campaign's final model."""
        return self.scorecard_model if "scorecard" in self.order.stages else self.encoder_model


@dataclass(frozen=True)
class Refusal:
    """Who ended which attempt, with the code and the numbers that it gave."""

    attempt: str
    party_id: str
    reason: str


@dataclass(frozen=True)
class OpenAttempt:
    """A cosigned attempt, by its signed terms and its root."""

    attempt: str
    campaign_id: str
    terms: str
    h: bytes


@dataclass(frozen=True)
class OpenedAttempt:
    """An attempt whose counts were opened: signed terms, the witness's decision, and the counts as they are kept."""

    attempt: str
    terms: str
    decision: str | None
    counts: bytes


class CampaignBook:
    """The hub's campaigns.

    Args:
        db, log, clock: the hub's.
        hub_id: the actor of entries in the log.
    """

    def __init__(self, db: Database, log: AuditLog, *, hub_id: str, clock: Clock) -> None:
        self.db = db
        self.log = log
        self.hub_id = hub_id
        self.clock = clock

    def create(self, order: CampaignFile, schema: Schema, campaign_id: str) -> None:
        """Store an order, queued, with a hold-out salt of its own; the same order under its id changes nothing.

        Raises:
            CampaignStateError: the id is another order's.
        """
        text = order.model_dump_json(by_alias=True)
        with self.db.session() as session:
            known = session.get(CampaignRow, campaign_id)
            if known is not None:
                if known.order != text:
                    raise CampaignStateError(
                        f"Campaign {campaign_id} was ordered otherwise.",
                        field="Idempotency-Key",
                        remedy="Use a fresh key for each order.",
                    )
                return
            session.add(
                CampaignRow(
                    campaign_id=campaign_id,
                    order=text,
                    schema_document=schema.canonical_json().decode(),
                    status="queued",
                    abort_asked=False,
                    holdout_salt=secrets.token_bytes(SALT_BYTES),
                    created_at=seconds(self.clock()),
                )
            )
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": campaign_id,
                "name": order.name,
                "schema_sha256": schema.hash(),
                "stages": ",".join(order.stages),
                "epsilon": f"{order.epsilon:g}",
                "delta": f"{order.delta:g}",
                "noise": order.noise,
            }
            self.log.append(session, "campaign-started", self.hub_id, facts=facts)

    def get(self, campaign_id: str) -> Campaign:
        """Return a campaign; NotFoundError where there is none."""
        with self.db.reading() as session:
            return _campaign(_row(session, campaign_id))

    def all(self) -> tuple[Campaign, ...]:
        """Return all campaigns, the newest first."""
        with self.db.reading() as session:
            rows = session.scalars(select(CampaignRow).order_by(CampaignRow.created_at.desc(), CampaignRow.campaign_id))
            return tuple(_campaign(row) for row in rows)

    def unfinished(self) -> tuple[str, ...]:
        """Return the ids of campaigns that have not ended, the oldest first."""
        with self.db.reading() as session:
            query = select(CampaignRow.campaign_id).where(CampaignRow.status.in_(UNFINISHED))
            return tuple(session.scalars(query.order_by(CampaignRow.created_at, CampaignRow.campaign_id)))

    def begin(self, campaign_id: str, run_by: str) -> None:
        """Say that the campaign runs, and in which process."""
        with self.db.session() as session:
            row = _row(session, campaign_id)
            row.status = "running"
            row.run_by = run_by

    def ask_abort(self, campaign_id: str) -> None:
        """Note the operator's wish; CampaignStateError where the campaign has ended."""
        with self.db.session() as session:
            row = _row(session, campaign_id)
            if row.status not in UNFINISHED:
                raise CampaignStateError(
                    f"Campaign {campaign_id} has ended ({row.status}).", field="campaign_id", remedy="Nothing is left."
                )
            row.abort_asked = True

    def abort_asked(self, campaign_id: str) -> bool:
        """Say whether the operator wants the campaign to end."""
        with self.db.reading() as session:
            return _row(session, campaign_id).abort_asked

    def end(self, campaign_id: str, status: Status, *, failure: Problem | None = None) -> None:
        """Say how the campaign ended; what it kept for a restart is deleted."""
        with self.db.session() as session:
            row = _row(session, campaign_id)
            row.status = status
            row.ended_at = seconds(self.clock())
            row.failure = None if failure is None else failure.model_dump_json(exclude_none=True)
            session.execute(delete(EncoderCheckpointRow).where(EncoderCheckpointRow.campaign_id == campaign_id))
            facts: dict[str, str | int | bool | None] = {
                "campaign_id": campaign_id,
                "status": status,
                "code": None if failure is None else failure.code,
                "party": None if failure is None else failure.party,
            }
            self.log.append(session, "campaign-ended", self.hub_id, facts=facts)

    def set_model(self, campaign_id: str, stage: Stage, model_id: str) -> None:
        """Name the model that a stage gave."""
        with self.db.session() as session:
            row = _row(session, campaign_id)
            if stage == "encoder":
                row.encoder_model = model_id
            else:
                row.scorecard_model = model_id

    def note(self, campaign_id: str, event: Progress) -> None:
        """Keep a step of the campaign for whoever watches."""
        with self.db.session() as session:
            session.add(
                CampaignEventRow(
                    campaign_id=campaign_id,
                    at=seconds(self.clock()),
                    stage=event.stage,
                    attempt=event.attempt,
                    step=event.step,
                    done=event.done,
                    total=event.total,
                    seconds=event.seconds,
                    detail=event.detail,
                )
            )

    def events(self, campaign_id: str, *, after: int = 0) -> list[tuple[int, Progress]]:
        """Return the campaign's steps that follow number `after`, with their numbers."""
        query = select(CampaignEventRow).where(CampaignEventRow.campaign_id == campaign_id, CampaignEventRow.id > after)
        with self.db.reading() as session:
            return [(row.id, _progress(row)) for row in session.scalars(query.order_by(CampaignEventRow.id))]

    def last_step(self, campaign_id: str) -> int:
        """Return the number of the campaign's newest step; 0 where there is none."""
        with self.db.reading() as session:
            query = select(func.max(CampaignEventRow.id)).where(CampaignEventRow.campaign_id == campaign_id)
            return session.scalar(query) or 0

    def refusals(self, campaign_id: str) -> tuple[Refusal, ...]:
        """Return who ended attempts of the campaign."""
        query = select(CampaignRefusalRow).where(CampaignRefusalRow.campaign_id == campaign_id)
        with self.db.reading() as session:
            rows = session.scalars(query.order_by(CampaignRefusalRow.attempt, CampaignRefusalRow.party_id))
            return tuple(Refusal(row.attempt, row.party_id, row.reason) for row in rows)

    def attempts_before(self, campaign_id: str) -> dict[str, int]:
        """Return by stage the highest number that an attempt had, cosigned or not: its id may be known elsewhere."""
        highest: dict[str, int] = {}
        query = select(CampaignEventRow.stage, CampaignEventRow.attempt).distinct()
        with self.db.reading() as session:
            for stage, attempt in session.execute(query.where(CampaignEventRow.campaign_id == campaign_id)):
                number = attempt.rpartition("/")[2]
                if number.isdigit():
                    highest[stage] = max(highest.get(stage, 0), int(number))
        return highest

    def undecided(self, campaign_id: str | None = None) -> tuple[OpenAttempt, ...]:
        """Return the attempts at tables and other counts that the witness cosigned and has not decided.

        Args:
            campaign_id: a campaign; without one, all campaigns that have ended.
        """
        query = select(CampaignAttemptRow).where(
            CampaignAttemptRow.stage.in_(("bins", "scorecard", "evaluation", "statistics")),
            CampaignAttemptRow.decision.is_(None),
        )
        if campaign_id is None:
            ended = select(CampaignRow.campaign_id).where(CampaignRow.status.not_in(UNFINISHED))
            query = query.where(CampaignAttemptRow.campaign_id.in_(ended))
        else:
            query = query.where(CampaignAttemptRow.campaign_id == campaign_id)
        with self.db.reading() as session:
            rows = session.scalars(query.order_by(CampaignAttemptRow.attempt))
            return tuple(OpenAttempt(row.attempt, row.campaign_id, row.terms, row.h) for row in rows)

    def checkpoint(self, campaign_id: str) -> EncoderCheckpoint | None:
        """Return where the campaign's encoder run stands."""
        query = (
            select(EncoderCheckpointRow, CampaignAttemptRow)
            .join(CampaignAttemptRow, CampaignAttemptRow.attempt == EncoderCheckpointRow.attempt)
            .where(EncoderCheckpointRow.campaign_id == campaign_id)
            .order_by(CampaignAttemptRow.created_at.desc(), EncoderCheckpointRow.attempt.desc())
        )
        with self.db.reading() as session:
            found = session.execute(query).first()
        if found is None:
            return None
        row, attempt = found
        return EncoderCheckpoint(
            attempt=row.attempt,
            terms=attempt.terms,
            h=attempt.h,
            acceptances=row.acceptances,
            parameters=_vector(row.parameters),
            state=StepState(row.step, _vector(row.velocity), _vector(row.tail_sum)),
            retries=row.retries,
            lost={each.party_id: each.reason for each in self.refusals(campaign_id) if each.attempt != row.attempt},
        )

    def undelivered(self) -> dict[str, list[str]]:
        """Return party → attempts whose decision it has not heard."""
        waiting: dict[str, list[str]] = {}
        with self.db.reading() as session:
            for row in session.scalars(select(UndeliveredDecisionRow)):
                waiting.setdefault(row.party_id, []).append(row.attempt)
        return waiting

    def decision(self, attempt: str) -> str | None:
        """Return the witness's decision on an attempt."""
        with self.db.reading() as session:
            row = session.get(CampaignAttemptRow, attempt)
            return None if row is None else row.decision

    def renew_decision(self, attempt: str, token: str) -> None:
        """Keep the same decision under a newer key of the witness's."""
        with self.db.session() as session:
            session.get_one(CampaignAttemptRow, attempt).decision = token

    def terms(self, attempt: str) -> str | None:
        """Return the signed terms of a cosigned attempt."""
        with self.db.reading() as session:
            row = session.get(CampaignAttemptRow, attempt)
            return None if row is None else row.terms

    def last_terms(self, campaign_id: str) -> str | None:
        """Return the signed terms of the campaign's newest cosigned attempt, decided or not."""
        query = select(CampaignAttemptRow.terms).where(CampaignAttemptRow.campaign_id == campaign_id)
        newest = query.order_by(CampaignAttemptRow.created_at.desc(), CampaignAttemptRow.attempt.desc())
        with self.db.reading() as session:
            return session.scalar(newest.limit(1))

    def opened_counts(self, attempt: str) -> NDArray[np.float64] | None:
        """Return the noisy counts that an attempt opened, or None."""
        with self.db.reading() as session:
            row = session.get(OpenedTableRow, attempt)
            return None if row is None else _vector(row.counts)

    def opened(self, campaign_id: str, stage: Stage) -> OpenedAttempt | None:
        """Return what a campaign opened of a stage, without the nodes' shares; None where it has not."""
        query = (
            select(CampaignAttemptRow, OpenedTableRow.counts)
            .join(OpenedTableRow, OpenedTableRow.attempt == CampaignAttemptRow.attempt)
            .where(OpenedTableRow.campaign_id == campaign_id, CampaignAttemptRow.stage == stage)
        )
        with self.db.reading() as session:
            found = session.execute(query).first()
            if found is None:
                return None
            row, counts = found
            return OpenedAttempt(row.attempt, row.terms, row.decision, bytes(counts))

    def delivered(self, attempt: str, party_id: str) -> None:
        """Note that a party has heard the decision."""
        with self.db.session() as session:
            session.execute(
                delete(UndeliveredDecisionRow).where(
                    UndeliveredDecisionRow.attempt == attempt, UndeliveredDecisionRow.party_id == party_id
                )
            )


def vector_bytes(vector: NDArray[np.float64]) -> bytes:
    """Return a vector as the tables hold it."""
    return np.ascontiguousarray(vector, dtype="<f8").tobytes()


def _vector(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, dtype="<f8").astype(np.float64)


def _row(session: Session, campaign_id: str) -> CampaignRow:
    row = session.get(CampaignRow, campaign_id)
    if row is None:
        raise NotFoundError("There is no such campaign.", field="campaign_id", remedy="See GET /v1/campaigns.")
    return row


def _campaign(row: CampaignRow) -> Campaign:
    status: Status = row.status  # type: ignore[assignment]  # written by this module alone
    return Campaign(
        campaign_id=row.campaign_id,
        order=CampaignFile.model_validate_json(row.order),
        schema=Schema.from_json(row.schema_document),
        status=status,
        holdout_salt=row.holdout_salt,
        created_at=row.created_at,
        ended_at=row.ended_at,
        failure=None if row.failure is None else Problem.model_validate(json.loads(row.failure)),
        encoder_model=row.encoder_model,
        scorecard_model=row.scorecard_model,
        run_by=row.run_by,
    )


def _progress(row: CampaignEventRow) -> Progress:
    return Progress(
        stage=row.stage,  # type: ignore[arg-type]
        attempt=row.attempt,
        step=row.step,  # type: ignore[arg-type]
        done=row.done,
        total=row.total,
        seconds=row.seconds,
        detail=row.detail,
    )
