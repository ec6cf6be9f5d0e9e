"""The witness releases models: only what it could make again itself (docs/protocol.md, 7).

W1  The artefact is parsed strictly; its features are the schema's and its points span at most 550.
W2  Scorecards: the attempt's shares are those of the nodes' receipts, and open, with the witness's own term, to the
    table whose digest the artefact states.
W3  The fit on that table, with the options that the artefact states, gives the same scorecard to the last point. Points
    of free choice could spell a merchant's bins in one score.
W4  Encoders: every round opens again, from shares that the nodes receipted and the witness's own terms, and the steps
    from the first parameters give the same weights. Else a hub could choose a function of its own as a feature.
W5  Schema, cohort and the stated privacy are those of the terms that it cosigned.
W6  The release is on disk before it leaves; a model that was withdrawn is not released again.
W7  A model whose terms promise an evaluation gets scope `release` once an evaluation of it was released.
W8  Scope `release` needs an impact assessment of this campaign's models that lets them out (PIPL 55), unless the
    witness's configuration says otherwise; its hash is signed with the release.
W9  Where the owner decides on releases by hand, scope `release` waits for that word.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import ValidationError

from crypto.errors import SignatureError
from crypto.jws import sign_model
from crypto.wire.assessment import ImpactAssessment
from crypto.wire.base import SUITE
from crypto.wire.campaign import ModelRelease, ModelWithdrawal, TablesMechanism, Terms
from crypto.wire.link import ReleaseProposal, RoundShares, WithdrawalProposal
from models.artefact import CellsEntry, ModelArtefact, RoundsEntry, ScorecardEntry
from models.errors import ModelsError
from models.fit import FitOptions
from models.scorecard import train
from models.tables import OpenedTable, feature_bins, from_vector
from nodes.encoder_models import ReleasedEncoder
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.tables.witness import SignedReleaseRow
from nodes.terms_check import read_terms
from nodes.witness.encoder_replay import not_reproduced, replay_encoder, same_weights
from nodes.witness.model_approvals import ModelApprovals
from nodes.witness_stage import OpenedAttempt, WitnessContext, load_record, open_attempt

WITHDRAWN = "withdrawn"


class ReleaseDesk:
    """Handles `release-model` and `withdraw-model`."""

    def __init__(
        self,
        store: Store,
        context: WitnessContext,
        journal: Journal,
        *,
        approvals: ModelApprovals | None = None,
        assessment_required: bool = True,
    ) -> None:
        """Args:
        store, context, journal: the witness's.
        assessment_required: no release for scoring without an impact assessment.
        approvals: the owner's decisions; None lets every model out that could be made again.
        """
        self._store = store
        self._context = context
        self._journal = journal
        self._approvals = approvals
        self._assessment_required = assessment_required
        self._lock = threading.Lock()

    def release(self, body: bytes) -> bytes:
        """JSON of `ReleaseProposal` in, a JWS `model-release` out.

        Raises:
            PolicyRefusal: `model-not-reproduced`, `model-withdrawn`, `assessment-missing`, `approval-pending`,
                `approval-refused`, or terms and artefact contradict each other.
            ArtefactError: the artefact is malformed or breaks the bounds.
            AttemptError: the attempt was not run here, or the shares are not those of its receipts.
            SignatureError: the proposal is malformed.
        """
        try:
            proposal = ReleaseProposal.model_validate_json(body)
        except ValidationError as problem:
            raise SignatureError("the proposal is malformed", field="proposal", remedy="propose again") from problem
        artefact = ModelArtefact.from_bytes(proposal.artefact.encode())  # W1
        with self._lock:
            self._require_not_withdrawn(artefact.model_id)
            with self._store.reading() as session:
                known = session.get(SignedReleaseRow, (artefact.model_id, proposal.scope))
            if known is not None:
                return known.token.encode()
            if proposal.attempt is None:
                raise _refused("attempt-missing", "a model comes with the attempt that it was trained in", "attempt")
            if artefact.model_type == "scorecard":
                terms = self._check_scorecard(artefact, proposal.attempt, dict(proposal.shares))
            else:
                terms = self._check_encoder(artefact, proposal.attempt, proposal.rounds)
            _check_terms(artefact, terms)
            assessment = None
            if proposal.scope == "release":
                self._require_evaluated(artefact.model_id, terms)
                assessment = self._assessed(proposal.assessment, terms.campaign_id)
                if self._approvals is not None:
                    self._approvals.require(artefact, assessment)  # W9
            release = ModelRelease(
                suite=SUITE,
                model_id=artefact.model_id,
                campaign_id=terms.campaign_id,
                scope=proposal.scope,
                table_sha256=None if artefact.table_digest is None else bytes.fromhex(artefact.table_digest),
                assessment_sha256=None if assessment is None else bytes.fromhex(assessment.sha256),
                issued_at=self._now(),
            )
            token = sign_model(release, self._context.identity, typ="model-release", kid=self._context.party_id)
            self._keep(artefact.model_id, proposal.scope, token)
        return token.encode()

    def withdraw(self, body: bytes) -> bytes:
        """JSON of `WithdrawalProposal` in, a JWS `model-withdrawal` out.

        Raises:
            PolicyRefusal: the model was never released here.
            SignatureError: the proposal is malformed.
        """
        try:
            proposal = WithdrawalProposal.model_validate_json(body)
            withdrawal = ModelWithdrawal(
                suite=SUITE, model_id=proposal.model_id, reason=proposal.reason, issued_at=self._now()
            )
        except ValidationError as problem:
            raise SignatureError("the proposal is malformed", field="proposal", remedy="propose again") from problem
        with self._lock:
            with self._store.reading() as session:
                known = session.get(SignedReleaseRow, (proposal.model_id, WITHDRAWN))
                scopes = [session.get(SignedReleaseRow, (proposal.model_id, s)) for s in ("evaluation", "release")]
            if known is not None:
                return known.token.encode()
            if not any(scopes):
                raise _refused("model-unknown", f"{proposal.model_id} was never released here", "model_id")
            token = sign_model(withdrawal, self._context.identity, typ="model-withdrawal", kid=self._context.party_id)
            self._keep(proposal.model_id, WITHDRAWN, token)
        return token.encode()

    def _check_scorecard(self, artefact: ModelArtefact, attempt: str, shares: dict[str, bytes]) -> Terms:
        """W2, W3."""
        opened = open_attempt(self._context, attempt, shares)
        table = opened_table(opened)
        if table.digest() != artefact.table_digest:
            raise not_reproduced("the artefact states another table than the opened one", "table")
        try:
            card = train(table, FitOptions(**artefact.fit_options))
        except (ModelsError, TypeError) as problem:
            raise not_reproduced(
                "the opened table cannot be fitted with the stated options", "fit_options"
            ) from problem
        if ScorecardEntry.of(card) != artefact.scorecard:
            raise not_reproduced("the fit on the opened table gives other points", "scorecard")
        terms = opened.checked.terms
        if dict(terms.encoders_used) != artefact.encoders_used:
            raise not_reproduced("the artefact uses other encoders than its terms", "encoders_used")
        return terms

    def _check_encoder(self, artefact: ModelArtefact, attempt: str, rounds: Sequence[RoundShares]) -> Terms:
        """W4."""
        encoder = ReleasedEncoder.of(artefact)
        record = load_record(self._context, attempt)
        checked = read_terms(record.terms, self._context.roster)
        stage = checked.terms.encoder
        if stage is None or artefact.encoder is None:
            raise not_reproduced(f"attempt {attempt} trained no encoder", "attempt")
        if (stage.kind, stage.spec) != (encoder.kind, artefact.encoder.spec):
            raise not_reproduced("the encoder is not the one of the terms", "encoder")
        due = replay_encoder(self._context.attempts, record, checked, rounds)
        if not same_weights(encoder.parameters, due):
            raise not_reproduced("the rounds that were run give other parameters", "encoder")
        return checked.terms

    def _require_evaluated(self, model_id: str, terms: Terms) -> None:
        """W7."""
        if not terms.evaluation_due:
            return
        for attempt in self._context.attempts.attempts(terms.campaign_id):
            record = self._context.attempts.load(attempt)
            if record is None or record.state.phase != "released":
                continue
            stage = read_terms(record.terms, self._context.roster).terms.evaluation
            if stage is not None and stage.model_id == model_id:
                return
        raise PolicyRefusal(
            "evaluation-missing",
            f"campaign {terms.campaign_id} promised an evaluation of {model_id}, and none was released",
            field="scope",
            remedy="run the evaluation stage; until then the model has scope evaluation",
        )

    def _assessed(self, assessment: ImpactAssessment | None, campaign_id: str) -> ImpactAssessment | None:
        """W8."""
        if assessment is None:
            if self._assessment_required:
                raise _unassessed(f"the models of campaign {campaign_id} have no impact assessment")
            return None
        if assessment.campaign_id != campaign_id:
            raise _unassessed(f"the impact assessment is of campaign {assessment.campaign_id}, not of {campaign_id}")
        if assessment.conclusion == "not-acceptable":
            raise _unassessed(f"the impact assessment of campaign {campaign_id} found its models not acceptable")
        if assessment.date > self._now().date() + timedelta(days=1):  # hub and witness may be in two days
            raise _unassessed("the impact assessment is dated in the future")
        return assessment

    def _require_not_withdrawn(self, model_id: str) -> None:
        with self._store.reading() as session:
            if session.get(SignedReleaseRow, (model_id, WITHDRAWN)) is not None:
                raise _refused("model-withdrawn", f"{model_id} was withdrawn; that is final", "model_id")

    def _keep(self, model_id: str, scope: str, token: str) -> None:
        """W6."""
        with self._store.session() as session:
            session.add(SignedReleaseRow(model_id=model_id, scope=scope, token=token))
            self._journal.note("model-signed", {"model_id": model_id, "scope": scope}, session=session)

    def _now(self) -> datetime:
        return self._context.clock()


def opened_table(opened: OpenedAttempt) -> OpenedTable:
    """The opened counts as a table, with the public membership numbers of the terms."""
    terms = opened.checked.terms
    encoders = {each.kind: each.widths[-1] for each in terms.kinds if each.kind in terms.encoders_used}
    return from_vector(
        opened.counts,
        feature_bins(opened.checked.schema, encoders),
        cohort_size=terms.cohort_size,
        kind_totals={each.kind: each.members for each in terms.kinds},
        pair_totals={(each.first, each.second): each.members for each in terms.pairs},
        sigma_class=0.0 if terms.tables is None else terms.tables.sigma_class,
        sigma_pair=0.0 if terms.tables is None else terms.tables.sigma_pair,
    )


def _check_terms(artefact: ModelArtefact, terms: Terms) -> None:
    """W5."""
    stated, due = artefact.privacy, terms.privacy
    on = due.noise == "on"
    numbers = (stated.epsilon, stated.delta, stated.epsilon_replace_one)
    expected = (due.epsilon, due.delta, due.epsilon_replace_one) if on else (None, None, None)
    mechanisms = tuple(
        CellsEntry(sigma=each.sigma, count=each.count, scale=each.scale)
        if isinstance(each, TablesMechanism)
        else RoundsEntry(
            sigma_over_sensitivity=each.sigma_over_sensitivity, rounds=each.rounds, sampling_rate=each.sampling_rate
        )
        for each in due.mechanisms
        if each.stage != "evaluation"
    )
    if (
        stated.noise != due.noise
        or stated.t_collude != due.t_collude
        or stated.mechanisms != mechanisms
        or any(not _same(a, b) for a, b in zip(numbers, expected, strict=True))
    ):
        raise not_reproduced("the stated privacy is not that of the terms", "privacy")
    if (artefact.campaign, artefact.schema_sha256, artefact.cohort_size) != (
        terms.campaign_id,
        terms.schema_sha256,
        terms.cohort_size,
    ):
        raise not_reproduced("campaign, schema or cohort are not those of the terms", "campaign")


def _same(stated: float | None, due: float | None) -> bool:
    # Floats of an artefact have ten digits.
    if stated is None or due is None:
        return stated is due
    return f"{stated:.10g}" == f"{due:.10g}"


def _unassessed(what: str) -> PolicyRefusal:
    return PolicyRefusal(
        "assessment-missing",
        what,
        field="assessment",
        remedy="the hub's operator registers an impact assessment of this campaign's models",
    )


def _refused(code: str, what: str, field: str) -> PolicyRefusal:
    return PolicyRefusal(code, what, field=field, remedy="the hub must propose the model exactly as it was trained")
