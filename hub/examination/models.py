"""Models and campaigns: made again from what was published, and let out by the witness alone.

V1  An artefact has the hash of its id and keeps the published bounds.
V2  A scorecard is fitted again from the opened table, as the witness did, and gives the same points. Encoders are
    replayed by the witness alone, which has its own terms of the rounds; here they are counted.
V3  Every signature about a model is the witness's.
V4  Terms are signed by the hub, decisions by the witness, and what was opened was released.
V5  ε is computed anew from the mechanisms of the terms, and is not above what they state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from crypto.dated import verify_any
from crypto.errors import CryptoError
from crypto.wire.campaign import Decision, MechanismTerms, ModelRelease, ModelWithdrawal, TablesMechanism, Terms
from hub.model_words import WITHDRAWAL
from hub.opened_tables import table_of
from hub.parties import Witness
from hub.services import Hub
from hub.tables.campaigns import CampaignAttemptRow, OpenedTableRow
from hub.tables.models import ModelRow, ModelSignatureRow
from models.accounting import epsilon_of, in_parallel, usable_delta
from models.artefact import ModelArtefact, ScorecardEntry
from models.errors import BudgetError, ModelsError
from models.findings import Finding, Findings
from models.fit_options import FitOptions
from models.mechanisms import DiscreteGaussianCells, GaussianRounds, Mechanism
from models.pooling import pooled
from models.said import Said, said
from models.scorecard_fit import train
from models.tables import OpenedTable

UNREADABLE = (CryptoError, ModelsError, ValueError)
"""What a stored table, or the terms beside it, raise that cannot be opened."""
AGREEMENT = 0.01
REMEDY = said("withdraw the model, keep the database, and have the witness's owner propose what it signed")
LEDGER_REMEDY = said("keep the database; compare with the witness's ledger (digua-node witness ledger) and log")


def examine_models(hub: Hub) -> Iterator[Finding]:
    """V1 to V3."""
    found = Findings("models", hub.config.hub_id)
    fitted, unfitted, faulty = 0, 0, False
    with hub.db.reading() as session:
        for model_id in session.scalars(select(ModelRow.model_id).order_by(ModelRow.registered_at)).all():
            row = session.get_one(ModelRow, model_id)
            what, made = _model_fault(hub, session, row)
            fitted, unfitted = fitted + made, unfitted + (not made)
            if what is not None:
                faulty = True
                yield found.fault(said("model {id}: {what}", id=model_id, what=what), REMEDY)
        for signature in session.scalars(select(ModelSignatureRow)):
            if (who := _signature_fault(signature, hub.parties.witness())) is not None:
                faulty = True
                yield found.fault(said("model {id}: {what}", id=signature.model_id, what=who), REMEDY)
    if not faulty:
        yield found.ok(
            said(
                "{fitted} models fitted again from their published tables; {others} more have the right bytes",
                fitted=fitted,
                others=unfitted,
            )
        )


def _model_fault(hub: Hub, session: Session, row: ModelRow) -> tuple[Said | None, bool]:
    """What is wrong, and whether it was fitted again."""
    if row.model_id != f"sha256:{hashlib.sha256(row.artefact).hexdigest()}":
        return said("its bytes are not those of its id"), False
    try:
        artefact = ModelArtefact.from_bytes(row.artefact)
    except ModelsError as problem:
        return Said(problem.message), False
    if (artefact.campaign, artefact.model_type) != (row.campaign_id, row.model_type):
        return said("the row names another campaign or sort than the artefact"), False
    if artefact.scorecard is None or row.attempt is None:
        return None, False
    try:
        table = _opened(hub, session, row.attempt)
    except UNREADABLE:
        return said("its published table cannot be read"), False
    if table is None:
        return None, False
    return _refitted(hub, session, artefact, table), True


def _refitted(hub: Hub, session: Session, artefact: ModelArtefact, table: OpenedTable) -> Said | None:
    """V2."""
    if table.digest() != artefact.table_digest:
        return said("its published table is not the one that it states")
    before: list[OpenedTable] = []
    for each in artefact.earlier:
        row = session.get(ModelRow, each.model_id)
        try:
            earlier = None if row is None or row.attempt is None else _opened(hub, session, row.attempt)
        except UNREADABLE:
            earlier = None
        if earlier is None or earlier.digest() != each.table_digest:
            return said("an earlier table that it counts is not stored as it was")
        before.append(earlier)
    try:
        total, _ = pooled(table, tuple(before))
        card = train(total, FitOptions(**artefact.fit_options))
    except (ModelsError, TypeError):
        return said("its published table cannot be fitted with the stated options")
    if ScorecardEntry.of(card) != artefact.scorecard:
        return said("the fit on its published table gives other points")
    return None


def _opened(hub: Hub, session: Session, attempt: str) -> OpenedTable | None:
    """The table that an attempt published, None where it published none; raises what `UNREADABLE` names."""
    counts, row = session.get(OpenedTableRow, attempt), session.get(CampaignAttemptRow, attempt)
    if counts is None or row is None or row.stage != "scorecard":
        return None
    return table_of(_terms(hub, row), np.frombuffer(counts.counts, dtype="<f8").astype(np.float64))


def _terms(hub: Hub, row: CampaignAttemptRow) -> Terms:
    return verify_any(row.terms, hub.keys.identity.line, Terms, typ="terms", kid=hub.config.hub_id)


def _signature_fault(row: ModelSignatureRow, witness: Witness | None) -> Said | None:
    """V3."""
    wrong = said("its {kind} is not signed by the witness", kind=row.kind)
    if witness is None:
        return wrong
    try:
        if row.kind == WITHDRAWAL:
            taken = witness.stored(row.token, ModelWithdrawal, typ="model-withdrawal")
            return None if taken.model_id == row.model_id else wrong
        release = witness.stored(row.token, ModelRelease, typ="model-release")
    except CryptoError:
        return wrong
    return None if (release.model_id, release.scope) == (row.model_id, row.kind) else wrong


def examine_campaigns(hub: Hub) -> Iterator[Finding]:
    """V4 and V5."""
    found = Findings("campaigns", hub.config.hub_id)
    number, faulty = 0, False
    witness = hub.parties.witness()
    with hub.db.reading() as session:
        opened = set(session.scalars(select(OpenedTableRow.attempt)))
        for attempt in session.scalars(select(CampaignAttemptRow.attempt).order_by(CampaignAttemptRow.attempt)).all():
            number += 1
            row = session.get_one(CampaignAttemptRow, attempt)
            for what in _attempt_faults(hub, row, witness, is_opened=attempt in opened):
                faulty = True
                yield found.fault(said("attempt {attempt}: {what}", attempt=attempt, what=what), LEDGER_REMEDY)
    if not faulty:
        yield found.ok(
            said(
                "{number} attempts: terms and decisions are signed, and epsilon, computed anew, is as stated",
                number=number,
            )
        )


def _attempt_faults(hub: Hub, row: CampaignAttemptRow, witness: Witness | None, *, is_opened: bool) -> Iterator[Said]:
    try:
        terms = _terms(hub, row)
    except CryptoError:
        yield said("its terms are not signed by the hub")
        return
    if (terms.attempt, terms.campaign_id, terms.stage) != (row.attempt, row.campaign_id, row.stage):
        yield said("its terms are of another attempt")
    if row.decision is not None and witness is not None:
        try:
            decision = witness.stored(row.decision, Decision, typ="decision")
        except CryptoError:
            yield said("its decision is not signed by the witness")
        else:
            if (decision.attempt, decision.h) != (row.attempt, row.h):
                yield said("its decision is of another attempt or manifest")
            if is_opened and decision.decision != "released":
                yield said("it was opened, and the witness never released it")
    if terms.privacy.noise == "on":
        epsilon = recomputed(terms)
        if not epsilon <= terms.privacy.epsilon * (1 + AGREEMENT):
            yield said(
                "its terms state epsilon {stated}, and its mechanisms cost {due}",
                stated=f"{terms.privacy.epsilon:.4f}",
                due=f"{epsilon:.4f}",
            )


def recomputed(terms: Terms) -> float:
    """ε of a campaign's mechanisms at its δ, less what the noise shares' distance uses up; infinite if that is all."""
    privacy = terms.privacy
    training = [_accounted(each) for each in privacy.mechanisms if each.stage != "evaluation"]
    evaluation = [_accounted(each) for each in privacy.mechanisms if each.stage == "evaluation"]
    try:
        delta = usable_delta(privacy.epsilon, privacy.delta, privacy.delta_sum)
    except BudgetError:
        return math.inf
    return epsilon_of(in_parallel(training, evaluation), delta)


def _accounted(mechanism: MechanismTerms) -> Mechanism:
    if isinstance(mechanism, TablesMechanism):
        return DiscreteGaussianCells(sigma=mechanism.sigma, count=mechanism.count, scale=mechanism.scale)
    return GaussianRounds(
        sigma_over_sensitivity=mechanism.sigma_over_sensitivity,
        rounds=mechanism.rounds,
        sampling_rate=mechanism.sampling_rate,
    )
