"""Scores for the owner's own systems: by identifier, which never leaves this node (docs/protocol.md, 7).

Identifier → pseudonym → the merchant's newest consent that names this node → one signed request, or, for a model of
this node's own kind alone, its own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crypto.identifiers import normalise
from crypto.wire.consent import ConsentRecord, Purpose
from crypto.wire.scoring import ScoreAnswer
from models.reasons import reason_texts
from models.scorecard import band_of
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore, HeldConsent
from nodes.encoder_models import score_of_probability
from nodes.errors import PolicyRefusal, ScoreUnavailable
from nodes.journal import Journal
from nodes.model_book import BookedModel, ModelBook
from nodes.points import PointsDesk
from nodes.policy import STATE_CODES
from nodes.pseudonyms import PseudonymMap
from nodes.requester import MAX_ITEMS, Query, Requester

Progress = Callable[[int, int], None]


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
        journal: Journal,
        clock: Clock = system_clock,
    ) -> None:
        self._party_id = party_id
        self._pseudonyms = pseudonyms
        self._consents = consents
        self._models = models
        self._requester = requester
        self._points = points
        self._journal = journal
        self._clock = clock

    def score(
        self, enquiry: Enquiry, *, purpose: Purpose = "credit-scoring", model_id: str | None = None
    ) -> ScoreAnswer:
        """The score of one merchant.

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
        else:
            query = self._query(merchant, enquiry, purpose)
            (answer,) = self._requester.ask([query], purpose=purpose, model=model)
        if answer.score is None:
            refused = ", ".join(f"{party}: {code}" for party, code in answer.refusals.items())
            raise ScoreUnavailable(
                dict(answer.refusals),
                f"there is no score: {refused or 'this node has no record of the merchant'}",
                field="id",
                remedy="a score needs every source; see each one's code",
            )
        return answer

    def score_all(
        self,
        enquiries: Sequence[Enquiry],
        *,
        purpose: Purpose = "credit-scoring",
        model_id: str | None = None,
        progress: Progress = lambda done, of: None,
    ) -> list[Outcome]:
        """Scores of many merchants, in requests of up to 500; each outcome stands for itself.

        Raises:
            IdentifierError, PolicyRefusal: an identifier is malformed, or there is no model.
            PeerError: the hub refused a request as a whole, or is out of reach.
            ProofError: queries are not proved to be logged.
        """
        model = self._model(model_id)
        merchants = self._resolve([enquiry.id for enquiry in enquiries], model)
        outcomes: dict[int, Outcome] = {}
        for start in range(0, len(enquiries), MAX_ITEMS):
            places = range(start, min(start + MAX_ITEMS, len(enquiries)))
            if model.artefact.encoder is not None:
                local = self._local([merchants[place] for place in places], model)
                for place, answer in zip(places, local, strict=True):
                    outcomes[place] = Outcome(enquiries[place].id, answer)
            else:
                outcomes.update(self._ask(places, enquiries, merchants, purpose, model))
            progress(min(start + MAX_ITEMS, len(enquiries)), len(enquiries))
        return [outcomes[place] for place in range(len(enquiries))]

    def consents_of(self, identifier: str) -> list[HeldConsent]:
        """A merchant's consents that name this node, newest first, under any type of identifier that is known here."""
        merchant = self._pseudonyms.merchant_of(identifier)
        return [] if merchant is None else self._consents.of_merchant(merchant, self._clock())

    def reason_texts(self, answer: ScoreAnswer, lang: str) -> list[str]:
        """Sentences for an answer's reasons, in Chinese or English."""
        model = self._models.get(answer.model_id)
        return [] if model is None else reason_texts(model.schema, answer.reasons, lang)

    def _ask(
        self,
        places: range,
        enquiries: Sequence[Enquiry],
        merchants: Sequence[bytes],
        purpose: Purpose,
        model: BookedModel,
    ) -> dict[int, Outcome]:
        found: dict[int, Outcome] = {}
        queries: dict[int, Query] = {}
        for place in places:
            try:
                query = self._query(merchants[place], enquiries[place], purpose)
                self._requester.check(query, model)
            except PolicyRefusal as refusal:
                found[place] = Outcome(enquiries[place].id, None, refusal.reason, refusal.message)
            else:
                queries[place] = query
        if queries:
            answers = self._requester.ask(list(queries.values()), purpose=purpose, model=model)
            for place, answer in zip(queries, answers, strict=True):
                found[place] = Outcome(enquiries[place].id, answer)
        return found

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
        self._pseudonyms.ensure(normalised, id_type=id_type)
        data = self._pseudonyms.pseudonyms(normalised, id_type=id_type).tobytes()
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def _query(self, merchant: bytes, enquiry: Enquiry, purpose: Purpose) -> Query:
        return Query(merchant, self._consent(merchant, enquiry.consent_id, purpose))

    def _consent(self, merchant: bytes, consent_id: str | None, purpose: Purpose) -> ConsentRecord:
        """The consent that is named, whatever its state: its sources decide; else the newest that is active."""
        now = self._clock()
        if consent_id is not None:
            held = self._consents.get(consent_id, now)
            if held is not None and held.record.pii_principal_id == merchant:
                return held.record
            raise _no_consent("consent-unknown")
        found = self._consents.find(merchant, purpose=purpose, now=now)
        if found is not None:
            return found.record
        suitable = (
            held
            for held in self._consents.of_merchant(merchant, now)
            if self._party_id in held.record.recipients and purpose in held.record.purposes
        )
        newest = next(suitable, None)
        raise _no_consent("consent-unknown" if newest is None else STATE_CODES[newest.state])

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


def _no_consent(code: str) -> PolicyRefusal:
    return PolicyRefusal(
        code,
        "there is no active consent of this merchant that names this node for this purpose",
        field="consent_id",
        remedy="ask the merchant for its consent",
    )
