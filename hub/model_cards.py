"""Model cards from what the hub has stored: artefact, terms and opened table, the witness's signatures, evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from crypto.errors import CryptoError
from crypto.jws import verify_model
from crypto.wire.campaign import ModelRelease, ModelWithdrawal, Terms
from hub.assessments import Assessments
from hub.campaign_book import CampaignBook
from hub.model_evaluations import ModelEvaluations
from hub.models import ModelRegistry
from hub.parties import PartyBook
from hub.scorecard_model import table_of
from models.artefact import ModelArtefact
from models.card import Format, render_card
from models.card_content import Assessment, CardFacts, Release, Training
from models.comparison import ModelComparison, compare
from models.tables import OpenedTable


class ModelCards:
    """Makes the cards of the hub's models.

    Args:
        models, book, evaluations, parties, assessments: the hub's.
        hub_key: its public signing key, which terms are signed with.
    """

    def __init__(
        self,
        models: ModelRegistry,
        book: CampaignBook,
        evaluations: ModelEvaluations,
        parties: PartyBook,
        assessments: Assessments,
        *,
        hub_key: bytes,
    ) -> None:
        self._models = models
        self._book = book
        self._evaluations = evaluations
        self._parties = parties
        self._assessments = assessments
        self._hub_key = hub_key

    def card(self, model_id: str, language: str, form: Format, *, unreleased: bool = False) -> str:
        """A model's card in Markdown or HTML.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it, and `unreleased` does not let it pass.
        """
        return render_card(self.facts(model_id, unreleased=unreleased), language, form)

    def compare(self, before: str, after: str, language: str, *, unreleased: bool = False) -> ModelComparison:
        """Two models beside each other. Raises as `card`."""
        one, two = (self.facts(each, unreleased=unreleased) for each in (before, after))
        return compare(one, two, language)

    def facts(self, model_id: str, *, unreleased: bool = False) -> CardFacts:
        """All that the hub knows of a model. Raises as `card`."""
        artefact = ModelArtefact.from_bytes(self._models.artefact(model_id, unreleased=unreleased))
        terms = self._terms(model_id)
        return CardFacts(
            artefact,
            table=None if terms is None else self._table(terms),
            training=None if terms is None else self._training(terms),
            release=self._release(model_id),
            evaluation=self._evaluations.newest(model_id),
            assessment=self._assessment(artefact.campaign),
        )

    def _assessment(self, campaign_id: str) -> Assessment | None:
        found = self._assessments.newest(campaign_id)
        return None if found is None else Assessment(**found.model_dump(exclude={"campaign_id"}))

    def _terms(self, model_id: str) -> Terms | None:
        attempt = self._models.attempt_of(model_id)
        token = None if attempt is None else self._book.terms(attempt)
        if token is None:
            return None
        try:
            return verify_model(token, self._hub_key, Terms, typ="terms", kid=self._book.hub_id)
        except CryptoError:
            return None  # signed with a former key of the hub: the card does without

    def _table(self, terms: Terms) -> OpenedTable | None:
        counts = self._book.opened_counts(terms.attempt)
        return None if counts is None else table_of(terms, counts)

    def _training(self, terms: Terms) -> Training:
        lost = {
            each.party_id: each.reason.partition(":")[0]
            for each in self._book.refusals(terms.campaign_id)
            if all(each.party_id != entry.party_id for entry in terms.roster)
        }
        return training_of(terms, self._book.get(terms.campaign_id).order.name, lost=lost)

    def _release(self, model_id: str) -> Release:
        summary = self._models.summary(model_id)
        release = Release(summary.status, summary.line, summary.version, summary.current, waiting=summary.waiting)
        witness = self._parties.witness()
        if summary.status == "registered" or witness is None:
            return release
        rollback = self._models.word(model_id).rollback
        if rollback is not None:
            return replace(release, signed_at=rollback.issued_at, witness=witness.party_id, reason=rollback.reason)
        token = self._models.release_token(model_id)
        if summary.status == "withdrawn":
            taken = verify_model(token, witness.sign_key, ModelWithdrawal, typ="model-withdrawal")
            return replace(release, signed_at=taken.issued_at, witness=witness.party_id, reason=taken.reason)
        signed = verify_model(token, witness.sign_key, ModelRelease, typ="model-release")
        return replace(release, signed_at=signed.issued_at, witness=witness.party_id)


def training_of(terms: Terms, name: str, *, lost: Mapping[str, str], held_out: int | None = None) -> Training:
    """What signed terms tell of a training, under the name of its campaign."""
    kinds = [entry.kind for entry in terms.roster]
    return Training(
        name=name,
        nodes={each.kind: kinds.count(each.kind) for each in terms.kinds},
        members={each.kind: each.members for each in terms.kinds},
        attempts=int(terms.attempt.rpartition("/")[2]),
        lost=lost,
        held_out=held_out,
    )
