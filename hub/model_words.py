"""What the witness signed about models, as far as its signature holds (R3, R4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, cast

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from crypto.dated import verify_any
from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.wire.assessment import ImpactAssessment
from crypto.wire.campaign import ModelRelease, ModelRollback, ModelWithdrawal
from hub.model_errors import ReleaseError
from hub.parties import Witness
from hub.tables.models import ModelRollbackRow, ModelRow, ModelSignatureRow
from models.artefact import ModelArtefact

Scope: TypeAlias = Literal["evaluation", "release"]
Status: TypeAlias = Literal["registered", "evaluation", "release", "rolled-back", "withdrawn"]
WITHDRAWAL = "withdrawal"
_VERIFIED = 256
_Row: TypeAlias = Row[*tuple[Any, ...]]
_SIGNED = select(
    ModelSignatureRow.model_id, ModelSignatureRow.kind, ModelSignatureRow.token, ModelSignatureRow.received_at
).where(ModelSignatureRow.model_id == bindparam("of"))
_ROLLBACKS = (
    select(
        ModelRollbackRow.serial,
        ModelRollbackRow.line,
        ModelRollbackRow.model_id,
        ModelRollbackRow.token,
        ModelRollbackRow.received_at,
    )
    .where(ModelRollbackRow.line == select(ModelRow.line).where(ModelRow.model_id == bindparam("of")).scalar_subquery())
    .order_by(ModelRollbackRow.serial)
)


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


def word_on(session: Session, model_id: str, witness: Witness | None) -> Word:
    """R4: what counts of the witness's signatures on a model; nothing without a witness."""
    if witness is None:
        return Word("registered")
    session.flush()
    connection, about = session.connection(), {"of": model_id}
    rows = {row.kind: row for row in connection.execute(_SIGNED, about) if _valid(row, witness)}
    if WITHDRAWAL in rows:
        return Word("withdrawn")
    if "release" not in rows:
        return Word("evaluation" if "evaluation" in rows else "registered")
    since, over = rows["release"].received_at, None
    for row in connection.execute(_ROLLBACKS, about):
        signed = _rollback(row, witness)
        if signed is None:
            continue
        if model_id == signed.model_id:
            since, over = max(since, row.received_at), None
        elif model_id in signed.over:
            over = signed
    return Word("release", since) if over is None else Word("rolled-back", 0, over)


def check_release(
    token: str, witness: Witness, row: ModelRow, scope: Scope, assessment: ImpactAssessment | None = None
) -> None:
    """R3: the signature is the witness's and over this model, campaign, scope, table and impact assessment.

    Raises:
        SignatureError: it is not the witness's.
        ReleaseError: it is over something else.
    """
    signed = witness.dated(token, ModelRelease, typ="model-release")
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


# Whether exact bytes verify under a line of keys never changes: what was verified is remembered under both, and
# another line of the witness is another question. What counts at a moment is read from the database each time.
@lru_cache(maxsize=_VERIFIED)
def _release(token: str, keys: KeyLine, kid: str) -> ModelRelease:
    return verify_any(token, keys, ModelRelease, typ="model-release", kid=kid)


@lru_cache(maxsize=_VERIFIED)
def _withdrawal(token: str, keys: KeyLine, kid: str) -> ModelWithdrawal:
    return verify_any(token, keys, ModelWithdrawal, typ="model-withdrawal", kid=kid)


@lru_cache(maxsize=_VERIFIED)
def _rollback_of(token: str, keys: KeyLine, kid: str) -> ModelRollback:
    return verify_any(token, keys, ModelRollback, typ="model-rollback", kid=kid)


def _valid(row: _Row, witness: Witness) -> bool:
    try:
        if row.kind == WITHDRAWAL:
            return bool(_withdrawal(row.token, witness.keys, witness.party_id).model_id == row.model_id)
        release = _release(row.token, witness.keys, witness.party_id)
        return (release.model_id, release.scope) == (row.model_id, cast(Scope, row.kind))
    except CryptoError:
        return False


def _rollback(row: _Row, witness: Witness) -> ModelRollback | None:
    try:
        signed = _rollback_of(row.token, witness.keys, witness.party_id)
    except CryptoError:
        return None
    held = (row.serial, row.line, row.model_id)
    return signed if (signed.serial, signed.line, signed.model_id) == held else None
