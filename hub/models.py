"""The registry of models: exact bytes by their hash, released and withdrawn by the witness's signature alone (7).

R1  A campaign registers its artefact with the nodes' exact shares, so that the witness can make it again. Those of an
    encoder's rounds are kept as the rounds are opened.
R2  The hub proposes a release over the witness's link; the witness opens what the nodes sent, makes the model again,
    compares, and signs. Where its owner decides by hand, the hub asks again once the owner has approved the model.
R3  The hub verifies that signature and what it is over, stores and logs it, and tells every party's feed.
R4  What has no valid signature of the enrolled witness is not served as released, whatever the database says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, TypeAlias

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from crypto.canonical import canonical_bytes
from crypto.wire.campaign import ModelWithdrawal
from crypto.wire.link import EarlierTable, ReleaseProposal, RoundShares, WithdrawalProposal
from hub.assessments import Assessments
from hub.clock import Clock, seconds
from hub.db import Database
from hub.errors import NotFoundError, PeerError, PeerRefused
from hub.feed import Feed
from hub.log import AuditLog, Fact
from hub.model_errors import (
    ApprovalPendingError,
    ApprovalRefusedError,
    ModelNotReleasedError,
    ModelStateError,
    ReleaseError,
)
from hub.model_lines import line_of, next_version
from hub.model_words import WITHDRAWAL, Scope, Status, Word, check_release, signature_row, word_on
from hub.parties import PartyBook, Witness, witness_of
from hub.peers import PeerLinks
from hub.tables.campaigns import EncoderRoundRow, EncoderShareRow
from hub.tables.feed import FeedItemRow
from hub.tables.models import ModelRollbackRow, ModelRow, ModelShareRow, ModelSignatureRow
from models.artefact import ModelArtefact
from models.encoder_spec import EncoderSpec

Event: TypeAlias = Literal["model-release", "model-withdrawal", "model-rollback"]
RELEASED: frozenset[Status] = frozenset({"evaluation", "release"})
WITNESS_TIMEOUT_S = 120.0
"""Opening and fitting a large table again takes the witness seconds; its machine may be slow."""


@dataclass(frozen=True)
class ModelSummary:
    """What lists show of a model.

    Attributes:
        line, version: all models of campaigns of one name are a line, numbered from 1.
        current: the one of its line to use: what was released, or rolled back to, last.
        waiting: a release was asked for, and waits for the word of the witness's owner.
        epsilon: as the artefact states it; None without noise.
    """

    model_id: str
    model_type: str
    campaign_id: str
    line: str
    version: int
    status: Status
    current: bool
    waiting: bool
    epsilon: float | None
    registered_at: datetime


class ModelRegistry:
    """The hub's models.

    Args:
        db, log, feed, parties, assessments, clock: the hub's.
        hub_id: the actor of registrations in the log.
        links: gives the links when they are needed.
    """

    def __init__(
        self,
        db: Database,
        log: AuditLog,
        feed: Feed,
        parties: PartyBook,
        assessments: Assessments,
        *,
        hub_id: str,
        clock: Clock,
        links: Callable[[], PeerLinks],
    ) -> None:
        self._db = db
        self._log = log
        self._feed = feed
        self._parties = parties
        self._assessments = assessments
        self._hub_id = hub_id
        self._clock = clock
        self._links = links
        self._proposing = threading.Lock()

    def register(
        self, artefact: bytes, *, campaign_id: str, attempt: str | None, shares: Mapping[str, bytes] | None = None
    ) -> str:
        """R1: store an artefact and return its id; the same bytes again change nothing.

        Args:
            artefact: canonical bytes of a `ModelArtefact`.
            campaign_id: where it comes from.
            attempt: whose opened sum it was made from.
            shares: party → exact share bytes of that attempt.

        Raises:
            ArtefactError: the bytes are no artefact, or its points break the bounds.
            ModelStateError: it says that it comes from another campaign.
        """
        model = ModelArtefact.from_bytes(artefact)
        if model.campaign != campaign_id:
            raise ModelStateError(
                f"The artefact is of campaign {model.campaign}.", field="campaign", remedy="Register it there."
            )
        with self._db.session() as session:
            if session.get(ModelRow, model.model_id) is not None:
                return model.model_id
            line = line_of(session, campaign_id, model.model_type)
            session.add(
                ModelRow(
                    model_id=model.model_id,
                    model_type=model.model_type,
                    campaign_id=campaign_id,
                    attempt=attempt,
                    artefact=artefact,
                    registered_at=seconds(self._clock()),
                    line=line,
                    version=next_version(session, line),
                    epsilon=model.privacy.epsilon,
                )
            )
            session.flush()
            if shares:
                rows = [{"model_id": model.model_id, "party_id": p, "share": share} for p, share in shares.items()]
                session.execute(insert(ModelShareRow), rows)
            facts: dict[str, Fact] = {
                "model_id": model.model_id,
                "model_type": model.model_type,
                "campaign_id": campaign_id,
                "attempt": attempt,
                "table_sha256": model.table_digest,
            }
            self._log.append(session, "model-registered", self._hub_id, facts=facts)
        return model.model_id

    def release(self, model_id: str, scope: Scope) -> str:
        """R2, R3: have the witness release a model and return its JWS `model-release`.

        Raises:
            NotFoundError: no such model.
            ModelStateError: it was withdrawn, or is released already and only its evaluation is asked for.
            AssessmentMissingError: an impact assessment is demanded for scope `release`, and none lets the model out.
            ApprovalPendingError, ApprovalRefusedError: the witness's owner has not decided yet, or against it.
            PeerError: the witness cannot be asked, or refuses, e.g. as its fit gives other points.
            ReleaseError, SignatureError: it signed something else, or did not sign.
        """
        with self._proposing, self._db.alone("model-words"):
            row = self._row(model_id)
            status = self.status(model_id)
            if status == scope:
                return self._token(model_id, scope)
            if status in ("withdrawn", "rolled-back") or (status, scope) == ("release", "evaluation"):
                raise ModelStateError(
                    f"The model is in state {status}.",
                    field="scope",
                    remedy="A withdrawn model stays withdrawn; one that was rolled back comes back by a rollback to it;"
                    " a released one needs no evaluation scope.",
                )
            assessment = self._assessments.for_release(row.campaign_id) if scope == "release" else None
            witness = self._witness()
            proposal = ReleaseProposal(
                artefact=row.artefact.decode(),
                attempt=row.attempt,
                scope=scope,
                assessment=assessment,
                shares=self._shares(model_id),
                rounds=self._rounds(row.attempt),
                earlier=self._earlier(row.artefact),
                start=self._start(row.artefact),
            )
            body = canonical_bytes(proposal)
            try:
                answer = self._links().request(witness.party_id, "release-model", body, WITNESS_TIMEOUT_S)
            except PeerRefused as refused:
                self._refused(model_id, refused)
                raise
            token = answer.decode("ascii", "replace")
            check_release(token, witness, row, scope, assessment)
            self._adopt(model_id, scope, token, witness)
        return token

    def _refused(self, model_id: str, refused: PeerRefused) -> None:
        """R2: the witness's owner decides on releases by hand. That a model waits for it is logged once."""
        problem = refused.problem
        if problem.code == ApprovalRefusedError.code:
            raise ApprovalRefusedError(
                problem.detail, field="model_id", remedy=problem.remedy, party=refused.party
            ) from refused
        if problem.code != ApprovalPendingError.code:
            return
        with self._db.session() as session:
            row = session.get_one(ModelRow, model_id)
            if row.waits_since is None:
                row.waits_since = seconds(self._clock())
                self._log.append(session, "model-proposed", self._hub_id, facts={"model_id": model_id})
        raise ApprovalPendingError(
            problem.detail, field="model_id", remedy=problem.remedy, party=refused.party
        ) from refused

    def withdraw(self, model_id: str, reason: str) -> str:
        """R2, R3: have the witness withdraw a model and return its JWS `model-withdrawal`.

        Raises:
            NotFoundError: no such model.
            ModelStateError: it was never released.
            PeerError, ReleaseError, SignatureError: as in `release`.
        """
        with self._proposing, self._db.alone("model-words"):
            self._row(model_id)
            status = self.status(model_id)
            if status == "withdrawn":
                return self._token(model_id, WITHDRAWAL)
            if status == "registered":
                raise ModelStateError(
                    "The model was never released.", field="model_id", remedy="There is nothing to withdraw."
                )
            witness = self._witness()
            body = canonical_bytes(WithdrawalProposal(model_id=model_id, reason=reason))
            answer = self._links().request(witness.party_id, "withdraw-model", body, WITNESS_TIMEOUT_S)
            token = answer.decode("ascii", "replace")
            signed = witness.dated(token, ModelWithdrawal, typ="model-withdrawal")
            if (signed.model_id, signed.reason) != (model_id, reason):
                raise ReleaseError("The witness signed another withdrawal.", party=witness.party_id)
            self._adopt(model_id, WITHDRAWAL, token, witness)
        return token

    def _adopt(self, model_id: str, kind: str, token: str, witness: Witness) -> None:
        everybody = [party.party_id for party in self._parties.all()]
        event: Event = "model-withdrawal" if kind == WITHDRAWAL else "model-release"
        with self._db.session() as session:
            now = seconds(self._clock())
            found = signature_row(session, model_id, kind)
            if found is None:
                session.add(ModelSignatureRow(model_id=model_id, kind=kind, token=token, received_at=now))
            else:  # by a witness whose key counts no more
                found.token, found.received_at = token, now
            facts: dict[str, Fact] = {"model_id": model_id}
            if kind != WITHDRAWAL:
                facts["scope"] = kind
            self._log.append(session, event, witness.party_id, facts=facts)
            self._feed.publish(session, everybody, event, token=token, model_id=model_id)
        self._links().notify_feed(everybody)

    def tell(self, session: Session, party_id: str) -> None:
        """R3, for a party that joined later: put what the witness signed before, and it was not told, into its feed."""
        signed: list[tuple[Event, str, str]] = [
            ("model-withdrawal" if row.kind == WITHDRAWAL else "model-release", row.model_id, row.token)
            for row in session.scalars(select(ModelSignatureRow).order_by(ModelSignatureRow.id))
        ]
        for rollback in session.scalars(select(ModelRollbackRow).order_by(ModelRollbackRow.serial)):
            signed.append(("model-rollback", rollback.model_id, rollback.token))
        told = select(FeedItemRow.token).where(FeedItemRow.party_id == party_id, FeedItemRow.model_id.is_not(None))
        known = set(session.scalars(told))
        for event, model_id, token in signed:
            if token not in known:
                self._feed.publish(session, [party_id], event, token=token, model_id=model_id)

    def status(self, model_id: str, *, session: Session | None = None) -> Status:
        """R4: say what the witness signed about a model; a withdrawal is final. In the caller's view, if given."""
        if session is not None:
            return word_on(session, model_id, witness_of(session)).status
        return self.word(model_id).status

    def word(self, model_id: str) -> Word:
        """R4: its status, with the rollback that it is under."""
        with self._db.reading() as session:
            return word_on(session, model_id, self._parties.witness())

    def all(self) -> tuple[ModelSummary, ...]:
        """Return all models, the newest first."""
        columns = (
            ModelRow.model_id,
            ModelRow.model_type,
            ModelRow.campaign_id,
            ModelRow.line,
            ModelRow.version,
            ModelRow.epsilon,
            ModelRow.waits_since,
            ModelRow.registered_at,
        )
        query = select(*columns).order_by(ModelRow.registered_at.desc(), ModelRow.version.desc(), ModelRow.model_id)
        with self._db.reading() as session:
            rows = session.execute(query).all()
            witness = self._parties.witness()
            words = {row.model_id: word_on(session, row.model_id, witness) for row in rows}
        statuses = {model_id: word.status for model_id, word in words.items()}
        current: dict[str, tuple[int, int]] = {}
        for row in rows:
            if statuses[row.model_id] == "release":
                current[row.line] = max((words[row.model_id].since, row.version), current.get(row.line, (0, 0)))
        return tuple(
            ModelSummary(
                model_id=row.model_id,
                model_type=row.model_type,
                campaign_id=row.campaign_id,
                line=row.line,
                version=row.version,
                status=statuses[row.model_id],
                current=current.get(row.line) == (words[row.model_id].since, row.version),
                waiting=row.waits_since is not None and statuses[row.model_id] in ("registered", "evaluation"),
                epsilon=row.epsilon,
                registered_at=datetime.fromtimestamp(row.registered_at, UTC),
            )
            for row in rows
        )

    def artefact(self, model_id: str, *, unreleased: bool = False) -> bytes:
        """Return a model's exact bytes. Withdrawn ones stay readable: they were published.

        Args:
            model_id: its hash.
            unreleased: hand it out without the witness's signature, to the administrator.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it.
        """
        row = self._row(model_id)
        if not unreleased and self.status(model_id) == "registered":
            raise _not_released(model_id)
        return row.artefact

    def release_token(self, model_id: str) -> str:
        """Return the witness's newest word on a model: its withdrawal, release or release for evaluation. Rollbacks
        stand beside it.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it.
        """
        self._row(model_id)
        status = self.status(model_id)
        if status == "registered":
            raise _not_released(model_id)
        kind = {"withdrawn": WITHDRAWAL, "rolled-back": "release"}.get(status, status)
        return self._token(model_id, kind)

    def attempt_of(self, model_id: str) -> str | None:
        """Return the attempt that a model came from; NotFoundError where there is no such model."""
        return self._row(model_id).attempt

    def summary(self, model_id: str) -> ModelSummary:
        """Return what lists show of one model; NotFoundError where there is none."""
        self._row(model_id)
        return next(each for each in self.all() if each.model_id == model_id)

    def _row(self, model_id: str) -> ModelRow:
        with self._db.reading() as session:
            row = session.get(ModelRow, model_id)
        if row is None:
            raise NotFoundError("There is no such model.", field="model_id", remedy="See GET /v1/models.")
        return row

    def _shares(self, model_id: str) -> dict[str, bytes]:
        query = select(ModelShareRow.party_id, ModelShareRow.share).where(ModelShareRow.model_id == model_id)
        with self._db.reading() as session:
            return {row.party_id: row.share for row in session.execute(query)}

    def _earlier(self, artefact: bytes) -> tuple[EarlierTable, ...]:
        """What the witness opens the earlier tables again from that a scorecard was fitted with."""
        found: list[EarlierTable] = []
        for each in ModelArtefact.from_bytes(artefact).earlier:
            row = self._row(each.model_id)
            if row.attempt is None:
                raise ModelStateError(
                    f"Model {each.model_id} has no attempt whose table could be opened again.",
                    field="earlier",
                    remedy="Train without it.",
                )
            found.append(
                EarlierTable(artefact=row.artefact.decode(), attempt=row.attempt, shares=self._shares(each.model_id))
            )
        return tuple(found)

    def _start(self, artefact: bytes) -> str | None:
        """The artefact of the model that an encoder started from."""
        encoder = ModelArtefact.from_bytes(artefact).encoder
        start = None if encoder is None else EncoderSpec.model_validate_json(encoder.spec).start
        return None if start is None else self._row(start).artefact.decode()

    def _rounds(self, run: str | None) -> tuple[RoundShares, ...]:
        """What the rounds of an encoder run were opened from, in order; nothing for other attempts."""
        query = (
            select(EncoderRoundRow, EncoderShareRow)
            .join(EncoderShareRow, EncoderShareRow.attempt == EncoderRoundRow.attempt)
            .where(EncoderRoundRow.run == run)
            .order_by(EncoderRoundRow.round)
        )
        with self._db.reading() as session:
            rows = session.execute(query).all()
        rounds = (list(group) for _, group in groupby(rows, key=lambda row: row.EncoderRoundRow.attempt))
        return tuple(
            RoundShares(
                attempt=each[0].EncoderRoundRow.attempt,
                parameters=each[0].EncoderRoundRow.parameters,
                shares={row.EncoderShareRow.party_id: row.EncoderShareRow.share for row in each},
                receipts={row.EncoderShareRow.party_id: row.EncoderShareRow.receipt for row in each},
            )
            for each in rounds
        )

    def _token(self, model_id: str, kind: str) -> str:
        with self._db.reading() as session:
            row = signature_row(session, model_id, kind)
        if row is None:
            raise _not_released(model_id)
        return row.token

    def _witness(self) -> Witness:
        witness = self._parties.witness()
        if witness is None:
            raise PeerError("No witness is enrolled.", remedy="Enrol the regulator's witness first.")
        return witness


def _not_released(model_id: str) -> ModelNotReleasedError:
    return ModelNotReleasedError(
        f"The witness has not released {model_id}.",
        field="model_id",
        remedy="The hub's operator asks for it with `digua-hub model release`.",
    )
