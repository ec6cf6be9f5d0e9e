"""Model cards from what the hub has stored: artefact, terms and opened table, the witness's signatures, evaluations."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from crypto.dated import verify_any
from crypto.errors import CryptoError
from crypto.keys import Signer
from crypto.wire.campaign import ModelRelease, ModelWithdrawal, Terms
from hub.assessments import Assessments
from hub.campaign_book import CampaignBook
from hub.errors import NotFoundError
from hub.model_evaluations import ModelEvaluations
from hub.models import ModelRegistry
from hub.opened_tables import table_of
from hub.parties import PartyBook
from models.artefact import ModelArtefact
from models.card import Format, render_card
from models.card_content import Assessment, CardFacts, Release, Training
from models.comparison import ModelComparison, compare
from models.fit_options import FitOptions
from models.points_table import PointsFormat, points_csv, points_table
from models.pooling import pooled
from models.published_table import PublishedTable
from models.stability import NoiseStability, stability_of
from models.tables import OpenedTable


class ModelCards:
    """Makes the cards of the hub's models.

    Args:
        models, book, evaluations, parties, assessments: the hub's.
        hub_key: the hub's signing key, under whose line terms are signed.
    """

    def __init__(
        self,
        models: ModelRegistry,
        book: CampaignBook,
        evaluations: ModelEvaluations,
        parties: PartyBook,
        assessments: Assessments,
        *,
        hub_key: Signer,
    ) -> None:
        self._models = models
        self._book = book
        self._evaluations = evaluations
        self._parties = parties
        self._assessments = assessments
        self._hub_key = hub_key
        self._computing = threading.Lock()
        self._stabilities: dict[str, NoiseStability | None] = {}

    def card(self, model_id: str, language: str, form: Format, *, unreleased: bool = False) -> str:
        """A model's card in Markdown or HTML.

        Raises:
            NotFoundError: no such model.
            ModelNotReleasedError: the witness has not signed for it, and `unreleased` does not let it pass.
        """
        facts = self.facts(model_id, unreleased=unreleased)
        return render_card(replace(facts, stability=self.stability_or_none(facts)), language, form)

    def stability(self, model_id: str, *, unreleased: bool = False) -> NoiseStability:
        """What other noise would have made of a scorecard.

        Raises:
            NotFoundError: no such model, or the hub has no noisy table of it.
            ModelNotReleasedError: as `card`.
        """
        found = self.stability_or_none(self.facts(model_id, unreleased=unreleased))
        if found is None:
            raise NotFoundError(
                "The hub has no noisy table of this model, or noise dominates it: nothing can be said of stability.",
                field="model_id",
                remedy="Take a scorecard that was trained here, with noise.",
            )
        return found

    def stability_or_none(self, facts: CardFacts) -> NoiseStability | None:
        """Computed once for a model, one model at a time: it takes seconds."""
        if facts.artefact.scorecard is None:
            return None
        key = facts.artefact.model_id
        with self._computing:
            if key not in self._stabilities:
                table = self._fitted_table(facts)
                options = FitOptions(**facts.artefact.fit_options)
                self._stabilities[key] = None if table is None else stability_of(table, facts.artefact.card(), options)
            return self._stabilities[key]

    def _fitted_table(self, facts: CardFacts) -> OpenedTable | None:
        """What the scorecard was fitted on: its own table, and the earlier ones that were counted with it."""
        if facts.table is None:
            return None
        before: list[OpenedTable] = []
        for each in facts.artefact.earlier:
            terms = self._terms(each.model_id)
            table = None if terms is None else self._table(terms)
            if table is None:
                return None
            before.append(table)
        return pooled(facts.table, before)[0]

    def compare(self, before: str, after: str, language: str, *, unreleased: bool = False) -> ModelComparison:
        """Two models beside each other. Raises as `card`."""
        one, two = (self.facts(each, unreleased=unreleased) for each in (before, after))
        return compare(one, two, language)

    def points(self, model_id: str, language: str, form: PointsFormat, *, unreleased: bool = False) -> bytes:
        """A scorecard's table of points for a spreadsheet.

        Raises:
            NotFoundError, ModelNotReleasedError: as `card`.
            ArtefactError: the model is no scorecard.
        """
        table = points_table(self.facts(model_id, unreleased=unreleased), language)
        if form == "csv":
            return points_csv(table)
        from models.points_workbook import points_workbook  # noqa: PLC0415  (only where one is made)

        return points_workbook(table)

    def table(self, model_id: str, *, unreleased: bool = False) -> PublishedTable:
        """The noisy table that a scorecard was fitted on.

        Raises:
            NotFoundError: no such model, or the hub did not open its table.
            ModelNotReleasedError: as `card`.
        """
        table = self.facts(model_id, unreleased=unreleased).table
        if table is None:
            raise NotFoundError(
                "The hub has no table of this model.",
                field="model_id",
                remedy="Take a scorecard that was trained here.",
            )
        return PublishedTable.of(table)

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
            return verify_any(token, self._hub_key.line, Terms, typ="terms", kid=self._book.hub_id)
        except CryptoError:
            return None  # signed with a key that the hub lost: the card does without

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
            taken = witness.stored(token, ModelWithdrawal, typ="model-withdrawal")
            return replace(release, signed_at=taken.issued_at, witness=witness.party_id, reason=taken.reason)
        signed = witness.stored(token, ModelRelease, typ="model-release")
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
