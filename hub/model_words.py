"""What the witness signed about models, as far as its signature holds (R3, R4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.wire.assessment import ImpactAssessment
from crypto.wire.campaign import ModelRelease, ModelRollback, ModelWithdrawal
from crypto.wire.party import Party
from hub.errors import ReleaseError
from hub.tables.models import ModelRollbackRow, ModelRow, ModelSignatureRow
from models.artefact import ModelArtefact

Scope: TypeAlias = Literal["evaluation", "release"]
Status: TypeAlias = Literal["registered", "evaluation", "release", "rolled-back", "withdrawn"]
WITHDRAWAL = "withdrawal"


@dataclass(frozen=True)
class Word:
    """Where the witness's signatures leave a model.

    Attributes:
        since: when the hub got the release, or the newest rollback to it, in seconds; 0 where it is not in use.
        rollback: the rollback over it that is in force.
    """

    status: Status
    since: int = 0
    rollback: ModelRollback | None = None


def signature_row(session: Session, model_id: str, kind: str) -> ModelSignatureRow | None:
    """What the witness signed of this kind about a model, verified or not."""
    query = select(ModelSignatureRow).where(ModelSignatureRow.model_id == model_id, ModelSignatureRow.kind == kind)
    return session.scalar(query)


def word_on(session: Session, model_id: str, witness: Party | None) -> Word:
    """R4: what counts of the witness's signatures on a model; nothing without a witness."""
    if witness is None:
        return Word("registered")
    query = select(ModelSignatureRow).where(ModelSignatureRow.model_id == model_id)
    rows = {row.kind: row for row in session.scalars(query) if _valid(row, witness)}
    if WITHDRAWAL in rows:
        return Word("withdrawn")
    if "release" not in rows:
        return Word("evaluation" if "evaluation" in rows else "registered")
    since, over = rows["release"].received_at, None
    line = select(ModelRow.line).where(ModelRow.model_id == model_id).scalar_subquery()
    rollbacks = select(ModelRollbackRow).where(ModelRollbackRow.line == line).order_by(ModelRollbackRow.serial)
    for row in session.scalars(rollbacks):
        signed = _rollback(row, witness)
        if signed is None:
            continue
        if model_id == signed.model_id:
            since, over = max(since, row.received_at), None
        elif model_id in signed.over:
            over = signed
    return Word("release", since) if over is None else Word("rolled-back", 0, over)


def check_release(
    token: str, witness: Party, row: ModelRow, scope: Scope, assessment: ImpactAssessment | None = None
) -> None:
    """R3: the signature is the witness's and over this model, campaign, scope, table and impact assessment.

    Raises:
        SignatureError: it is not the witness's.
        ReleaseError: it is over something else.
    """
    signed = verify_model(token, witness.sign_key, ModelRelease, typ="model-release", kid=witness.party_id)
    digest = ModelArtefact.from_bytes(row.artefact).table_digest
    expected = (
        row.model_id,
        row.campaign_id,
        scope,
        None if digest is None else bytes.fromhex(digest),
        None if assessment is None else bytes.fromhex(assessment.sha256),
    )
    found = (signed.model_id, signed.campaign_id, signed.scope, signed.table_sha256, signed.assessment_sha256)
    if found != expected:
        raise ReleaseError(
            "The witness signed another release than was proposed.",
            party=witness.party_id,
            remedy="Look at the witness's own log; the model stays unreleased.",
        )


def _valid(row: ModelSignatureRow, witness: Party) -> bool:
    try:
        if row.kind == WITHDRAWAL:
            withdrawal = verify_model(
                row.token, witness.sign_key, ModelWithdrawal, typ="model-withdrawal", kid=witness.party_id
            )
            return withdrawal.model_id == row.model_id
        release = verify_model(row.token, witness.sign_key, ModelRelease, typ="model-release", kid=witness.party_id)
        return (release.model_id, release.scope) == (row.model_id, cast(Scope, row.kind))
    except CryptoError:
        return False


def _rollback(row: ModelRollbackRow, witness: Party) -> ModelRollback | None:
    try:
        signed = verify_model(row.token, witness.sign_key, ModelRollback, typ="model-rollback", kid=witness.party_id)
    except CryptoError:
        return None
    held = (row.serial, row.line, row.model_id)
    return signed if (signed.serial, signed.line, signed.model_id) == held else None
