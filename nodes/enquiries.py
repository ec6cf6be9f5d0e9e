"""Scores for the owner's own systems: by identifier, which never leaves this node (docs/protocol.md, 7).

Identifier → pseudonym → the merchant's newest consent that names this node → one signed request, or, for a model of
this node's own kind alone, its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from crypto.errors import IdentifierError
from crypto.identifiers import normalise
from crypto.jws import peek_payload
from crypto.wire.consent import Purpose
from crypto.wire.scoring import ScoreAnswer, ScoreRequest
from models.reasons import reason_texts
from models.scorecard import band_of
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore, HeldConsent
from nodes.counting_consents import asked_under
from nodes.encoder_models import score_of_probability
from nodes.errors import PolicyRefusal, ScoreUnavailable
from nodes.journal import Journal
from nodes.kept_answers import KeptAnswers
from nodes.model_book import BookedModel, ModelBook
from nodes.points import PointsDesk
from nodes.policy import STATE_CODES
from nodes.pseudonyms import PseudonymMap
from nodes.requester import Prepared, Query, Requester


@dataclass(frozen=True)
class Enquiry:
    """One merchant to score; the newest suitable consent where none is named."""

    id: str
    consent_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one enquiry: an answer, or the code of the refusal before anything was asked."""

    id: str
    answer: ScoreAnswer | None
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Plan:
    """Outcomes that nobody need be asked for, by place, and signed requests whose `places` are those of the rest."""

    outcomes: dict[int, Outcome]
    requests: tuple[Prepared, ...]


class Enquiries:
    """Scores by identifier."""

    def __init__(
        self,
        *,
        party_id: str,
        pseudonyms: PseudonymMap,
        consents: ConsentStore,
        models: ModelBook,
        requester: Requester,
        points: PointsDesk,
        kept: KeptAnswers,
        journal: Journal,
        clock: Clock = system_clock,
    ) -> None:
        self._party_id = party_id
        self._pseudonyms = pseudonyms
        self._consents = consents
        self._models = models
        self._requester = requester
        self._points = points
        self.kept = kept
        self._journal = journal
        self._clock = clock

    def score(
        self,
        enquiry: Enquiry,
        *,
        purpose: Purpose = "credit-scoring",
        model_id: str | None = None,
        keep: Callable[[str], None] = lambda _: None,
    ) -> ScoreAnswer:
        """The score of one merchant.

        Args:
            keep: given the signed request before it is sent, so that `score_of` can go on with it after a crash.

        Raises:
            IdentifierError: the identifier is malformed.
            PolicyRefusal: no consent, no model, or too few sources.
            ScoreUnavailable: a source refused or failed; `refusals` names it and its code.
            PeerError: the hub refused, or is out of reach.
            ProofError: the query is not proved to be logged.
        """
        model = self._model(model_id)
        (merchant,) = self._resolve([enquiry.id], model)
        if model.artefact.encoder is not None:
            (answer,) = self._local([merchant], model)
            return scored(answer)
        (query,) = self._queries([merchant], [enquiry], purpose)
        if isinstance(query, PolicyRefusal):
            raise query
        (prepared,) = self._requester.prepare([query], purpose=purpose, model=model)
        keep(prepared.token)
        (answer,) = self.send_prepared(prepared, model)
        return scored(answer)

    def score_of(self, token: str) -> ScoreAnswer:
        """The score that a kept request of one merchant gets, sent again as it is; raises as `score`."""
        request = ScoreRequest.model_validate_json(peek_payload(token))
        (answer,) = self.send(token, self._model(request.model_id))
        return scored(answer)

    def open_model(self, model_id: str | None) -> BookedModel:
        """The model that is named, else the newest usable scorecard.

        Raises:
            PolicyRefusal: there is none, or it is not released.
        """
        return self._model(model_id)

    def normalised(self, ids: Sequence[str], model: BookedModel, *, first: int = 1) -> list[str]:
        """Identifiers as they are pseudonymised.

        Args:
            ids: as the owner has them.
            model: its schema says of which type they are.
            first: number of the first row, for the message.

        Raises:
            IdentifierError: one is malformed; the message names its row.
        """
        id_type = model.schema.id.type
        found = []
        for row, each in enumerate(ids, start=first):
            try:
                found.append(normalise(id_type, each))
            except IdentifierError as problem:
                raise IdentifierError(
                    f"row {row}, column id: {problem.message}", field=problem.field, remedy=problem.remedy
                ) from problem
        return found

    def plan(self, enquiries: Sequence[Enquiry], *, purpose: Purpose, model: BookedModel) -> Plan:
        """What is to be asked about up to 500 merchants, signed and not yet sent.

        Raises:
            IdentifierError: an identifier is malformed.
            PeerError: hub or witness evaluate no pseudonyms now.
        """
        merchants = self._resolve([enquiry.id for enquiry in enquiries], model)
        if model.artefact.encoder is not None:
            local = self._local(merchants, model)
            return Plan({at: Outcome(enquiries[at].id, answer) for at, answer in enumerate(local)}, ())
        found: dict[int, Outcome] = {}
        queries: dict[int, Query] = {}
        for at, query in enumerate(self._queries(merchants, enquiries, purpose)):
            try:
                if isinstance(query, PolicyRefusal):
                    raise query
                self._requester.check(query, model)
            except PolicyRefusal as refusal:
                found[at] = Outcome(enquiries[at].id, None, refusal.reason, refusal.message)
            else:
                queries[at] = query
        if not queries:
            return Plan(found, ())
        order = list(queries)
        prepared = self._requester.prepare(list(queries.values()), purpose=purpose, model=model)
        requests = [replace(each, places=tuple(order[place] for place in each.places)) for each in prepared]
        return Plan(found, tuple(requests))

    def send(self, token: str, model: BookedModel) -> list[ScoreAnswer]:
        """Send a signed request, for the first time or again; raises as `nodes.requester.Requester.send`."""
        return self._requester.send(token, model, received=self.kept.received)

    def send_prepared(self, prepared: Prepared, model: BookedModel) -> list[ScoreAnswer]:
        """Send a request that was signed just now; raises as `send`."""
        return self._requester.send_prepared(prepared, model, received=self.kept.received)

    def consents_of(self, identifier: str) -> list[HeldConsent]:
        """A merchant's consents that name this node, newest first, under any type of identifier that is known here."""
        merchant = self._pseudonyms.merchant_of(identifier)
        return [] if merchant is None else self._consents.of_merchant(merchant, self._clock())

    def reason_texts(self, answer: ScoreAnswer, lang: str) -> list[str]:
        """Sentences for an answer's reasons, in Chinese or English."""
        model = self._models.opened(answer.model_id) if answer.reasons else None
        return [] if model is None else reason_texts(model.schema, answer.reasons, lang)

    def _model(self, model_id: str | None) -> BookedModel:
        if model_id is not None:
            return self._models.require(model_id)
        model = self._models.newest()
        if model is None:
            raise PolicyRefusal(
                "model-unknown",
                "the witness has released no scorecard yet",
                field="model_id",
                remedy="wait for the first model, or name one",
            )
        return model

    def _resolve(self, ids: Sequence[str], model: BookedModel) -> list[bytes]:
        """Pseudonyms; identifiers that are new here are evaluated by hub and witness, blinded."""
        id_type = model.schema.id.type
        normalised = [normalise(id_type, each) for each in ids]
        return self._pseudonyms.obtain(normalised, id_type=id_type)

    def _queries(
        self, merchants: Sequence[bytes], enquiries: Sequence[Enquiry], purpose: Purpose
    ) -> list[Query | PolicyRefusal]:
        """Under the consent that is named, whatever its state (its sources decide), else the newest that is active."""
        now = self._clock()
        named = [each.consent_id for each in enquiries if each.consent_id is not None]
        held = self._consents.get_all(named, now) if named else {}
        free = [merchant for merchant, each in zip(merchants, enquiries, strict=True) if each.consent_id is None]
        consents = self._consents.of_merchants(free, now) if free else {}
        found: list[Query | PolicyRefusal] = []
        for merchant, each in zip(merchants, enquiries, strict=True):
            if each.consent_id is None:
                found.append(self._newest(merchant, consents.get(merchant, []), purpose))
                continue
            consent = held.get(each.consent_id)
            known = consent is not None and consent.record.pii_principal_id == merchant
            found.append(Query(merchant, consent.record) if consent and known else _no_consent("consent-unknown"))
        return found

    def _newest(self, merchant: bytes, consents: Sequence[HeldConsent], purpose: Purpose) -> Query | PolicyRefusal:
        held = asked_under(consents, self._party_id, purpose)
        if held is not None and held.state == "active":
            return Query(merchant, held.record)
        return _no_consent("consent-unknown" if held is None else STATE_CODES[held.state])

    def _local(self, merchants: Sequence[bytes], model: BookedModel) -> list[ScoreAnswer]:
        """A model of one kind is scored by whoever holds the rows: nothing is asked of anyone (5, 7)."""
        self._journal.note("scored-locally", {"model_id": model.model_id, "items": len(merchants)})
        answers: list[ScoreAnswer] = []
        for pd in self._points.default_probabilities(model, merchants):
            answers.append(
                ScoreAnswer(
                    score=None if pd is None else score_of_probability(pd),
                    pd=pd,
                    band=None if pd is None else str(band_of(pd)),
                    reasons=(),
                    model_id=model.model_id,
                    epsilon=model.artefact.privacy.epsilon,
                    refusals={},
                    proof=None,
                )
            )
        return answers


def scored(answer: ScoreAnswer) -> ScoreAnswer:
    """The answer, where it has a score; ScoreUnavailable where a source refused or failed."""
    if answer.score is None:
        refused = ", ".join(f"{party}: {code}" for party, code in answer.refusals.items())
        raise ScoreUnavailable(
            dict(answer.refusals),
            f"there is no score: {refused or 'this node has no record of the merchant'}",
            field="id",
            remedy="a score needs every source; see each one's code",
        )
    return answer


def _no_consent(code: str) -> PolicyRefusal:
    return PolicyRefusal(
        code,
        "there is no active consent of this merchant that names this node for this purpose",
        field="consent_id",
        remedy="ask the merchant for its consent",
    )
