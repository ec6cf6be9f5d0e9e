"""The witness releases models: only what it could make again itself (docs/protocol.md, 7).

W1  The artefact is parsed strictly; its features are the schema's and its points span at most 550.
W2  Scorecards: the attempt's shares are those of the nodes' receipts, and open, with the witness's own term, to the
    table whose digest the artefact states.
W3  The fit on that table, with the options that the artefact states, gives the same scorecard to the last point. Points
    of free choice could spell a merchant's bins in one score.
    The same holds of earlier tables that were counted with it: each is opened again, was that of a model which this
    witness released and did not withdraw, which the terms name, and whose bins are the same.
W4  Encoders: every round opens again, from shares that the nodes receipted and the witness's own terms, and the steps
    from the first parameters, maybe those of a model that it released, give the same weights. Else a hub could choose a
    function of its own as a feature.
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
from crypto.wire.link import EarlierTable, ReleaseProposal, WithdrawalProposal
from models.artefact import CellsEntry, ModelArtefact, RoundsEntry, ScorecardEntry
from models.errors import DataError, ModelsError
from models.fit_options import FitOptions
from models.pooling import check_same_bins, pooled
from models.tables import OpenedTable, feature_bins, from_vector
from nodes.encoder_models import ReleasedEncoder
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.store import Store
from nodes.tables.witness import SignedReleaseRow
from nodes.terms_check import CheckedTerms, read_terms
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
                terms = self._check_scorecard(artefact, proposal.attempt, proposal)
            else:
                terms = self._check_encoder(artefact, proposal.attempt, proposal)
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

    def _check_scorecard(self, artefact: ModelArtefact, attempt: str, proposal: ReleaseProposal) -> Terms:
        """W2, W3."""
        from models.scorecard_fit import train  # noqa: PLC0415  (every agent imports this module, the witness alone fits)

        opened = open_attempt(self._context, attempt, dict(proposal.shares))
        table = opened_table(opened)
        if table.digest() != artefact.table_digest:
            raise not_reproduced("the artefact states another table than the opened one", "table")
        before = self._earlier_tables(artefact, opened.checked, proposal.earlier)
        try:
            total, agreements = pooled(table, before)
            card = train(total, FitOptions(**artefact.fit_options))
        except (ModelsError, TypeError) as problem:
            raise not_reproduced(
                "the opened table cannot be fitted with the stated options", "fit_options"
            ) from problem
        if [each.weight for each in artefact.earlier] != [float(f"{each.weight:.10g}") for each in agreements]:
            raise not_reproduced("earlier tables were counted at other weights than they give", "earlier")
        if ScorecardEntry.of(card) != artefact.scorecard:
            raise not_reproduced("the fit on the opened table gives other points", "scorecard")
        terms = opened.checked.terms
        if dict(terms.encoders_used) != artefact.encoders_used:
            raise not_reproduced("the artefact uses other encoders than its terms", "encoders_used")
        return terms

    def _earlier_tables(
        self, artefact: ModelArtefact, checked: CheckedTerms, brought: Sequence[EarlierTable]
    ) -> tuple[OpenedTable, ...]:
        """W3: the earlier tables that an artefact names, each opened again."""
        named = [each.model_id for each in artefact.earlier]
        if named != [model_id for model_id in checked.terms.earlier if model_id in named]:
            raise not_reproduced("the artefact counts other earlier models than its terms name", "earlier")
        if len(brought) != len(named):
            raise not_reproduced(f"{len(brought)} of {len(named)} earlier tables were brought", "earlier")
        tables: list[OpenedTable] = []
        for entry, given in zip(artefact.earlier, brought, strict=True):
            model = ModelArtefact.from_bytes(given.artefact.encode())
            if model.model_id != entry.model_id or model.encoders_used:
                raise not_reproduced(f"{entry.model_id} is not the earlier model that was brought", "earlier")
            self._require_released(model.model_id, "earlier")
            try:
                check_same_bins(checked.schema, model.schema_of())
            except DataError as problem:
                raise not_reproduced(f"{model.model_id}: {problem.message}", "earlier") from problem
            table = opened_table(open_attempt(self._context, given.attempt, dict(given.shares)))
            if not table.digest() == model.table_digest == entry.table_digest:
                raise not_reproduced(f"attempt {given.attempt} opened another table than {model.model_id}", "earlier")
            tables.append(table)
        return tuple(tables)

    def _check_encoder(self, artefact: ModelArtefact, attempt: str, proposal: ReleaseProposal) -> Terms:
        """W4."""
        encoder = ReleasedEncoder.of(artefact)
        record = load_record(self._context, attempt)
        checked = read_terms(record.terms, self._context.roster)
        stage = checked.terms.encoder
        if stage is None or artefact.encoder is None:
            raise not_reproduced(f"attempt {attempt} trained no encoder", "attempt")
        if (stage.kind, stage.spec) != (encoder.kind, artefact.encoder.spec):
            raise not_reproduced("the encoder is not the one of the terms", "encoder")
        if encoder.spec.start is not None:
            self._require_released(encoder.spec.start, "start")
        start = None if proposal.start is None else proposal.start.encode()
        due = replay_encoder(self._context.attempts, record, checked, proposal.rounds, start)
        if not same_weights(encoder.parameters, due):
            raise not_reproduced("the rounds that were run give other parameters", "encoder")
        return checked.terms

    def _require_released(self, model_id: str, field: str) -> None:
        """W3, W4: an earlier model that this one is made with."""
        self._require_not_withdrawn(model_id)
        with self._store.reading() as session:
            scopes = [session.get(SignedReleaseRow, (model_id, scope)) for scope in ("evaluation", "release")]
        if not any(scopes):
            raise _refused("model-unknown", f"{model_id} was never released here", field)

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
