"""The evaluation stage of a campaign in the hub: what it is about, and where its result goes (docs/protocol.md, 6).

It can be taken up again after a restart like the other stages: an attempt that was under way is voided first, and a
histogram that was opened is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from crypto.wire.campaign import Terms
from hub.campaign_book import Campaign
from hub.campaign_errors import CampaignError
from hub.campaign_plan import CampaignPlan, ReleasedTable
from hub.campaign_record import CampaignRecord
from hub.cohort import Cohort
from hub.evaluation_cohort import evaluation_cohort
from hub.evaluation_model import ScoreBands, make_evaluation, score_bands
from hub.evaluation_stage import EvaluationTask
from hub.model_evaluations import ModelEvaluations
from hub.models import ModelRegistry
from hub.training_consents import TrainingMerchants
from models.artefact import ModelArtefact


@dataclass(frozen=True)
class CampaignEvaluation:
    """What the evaluation of one campaign's model needs of the hub.

    Attributes:
        models, evaluations, record: the hub's.
        terms_of: attempt → its terms, of those that this hub signed.
        merchants: who consents to training now, and who of them to a score for their bank.
    """

    models: ModelRegistry
    evaluations: ModelEvaluations
    record: CampaignRecord
    terms_of: Callable[[str], Terms | None]
    merchants: Callable[[], TrainingMerchants]

    def task(
        self, campaign: Campaign, plan: CampaignPlan, release: Callable[[bytes], str]
    ) -> tuple[EvaluationTask, CampaignPlan]:
        """V0: the campaign's model, released by the witness for its evaluation, and the plan with its encoder.

        Args:
            campaign: whose model is there.
            plan: as its other stages had it.
            release: artefact → the witness's JWS `model-release`.
        """
        model_id, artefact = self._model(campaign)
        trained = self._trained(model_id)
        data = self.models.artefact(model_id, unreleased=True)
        bands = self._bands(artefact, plan.bands)
        encoders = {kind: self.models.artefact(used, unreleased=True) for kind, used in artefact.encoders_used.items()}
        tokens = tuple(self.models.release_token(used) for used in artefact.encoders_used.values())
        here = {entry.party_id for entry in plan.cohort.nodes}
        roster = [entry for entry in trained.roster if entry.party_id in here]

        def form(lost: Collection[str]) -> Cohort:
            now = self.merchants()
            return evaluation_cohort(
                [entry for entry in roster if entry.party_id not in lost],
                tuple(each.kind for each in trained.kinds),
                trained.label_kind,
                now.pseudonyms,
                now.sources,
                scorable=now.scorable,
                salt=plan.holdout_salt,
                fraction=plan.holdout_fraction,
            )

        task = EvaluationTask(data, release(data), trained, bands.edges, form)
        return task, replace(plan, encoders=encoders, encoder_releases=tokens)

    def keep(self, campaign: Campaign, opened: ReleasedTable) -> None:
        """Works out the figures and keeps them beside the model; the same histogram again changes nothing."""
        _, artefact = self._model(campaign)
        edges = opened.terms.evaluation.edges if opened.terms.evaluation else ()
        self.evaluations.keep(make_evaluation(opened, self._bands(artefact, len(edges) + 1, edges).pds))

    def _bands(self, artefact: ModelArtefact, bands: int, edges: tuple[int, ...] | None = None) -> ScoreBands:
        table = None if artefact.encoder is not None else self.record.released()
        return score_bands(artefact, table, bands, edges=edges)

    def _model(self, campaign: Campaign) -> tuple[str, ModelArtefact]:
        model_id = campaign.model_id
        if model_id is None:
            raise _gone(campaign.campaign_id)
        return model_id, ModelArtefact.from_bytes(self.models.artefact(model_id, unreleased=True))

    def _trained(self, model_id: str) -> Terms:
        attempt = self.models.attempt_of(model_id)
        terms = None if attempt is None else self.terms_of(attempt)
        if terms is None:
            raise _gone(model_id)
        return terms


def _gone(what: str) -> CampaignError:
    return CampaignError(
        f"The model of {what}, or the terms that it came from, are gone.",
        field="model_id",
        remedy="Start a new campaign.",
    )
