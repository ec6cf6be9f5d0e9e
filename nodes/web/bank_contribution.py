"""What the page of the contribution shows: campaigns that this node took part in, what it sent, and what its data tell.

The weight of a feature is read from public models: the span of its points, and its share of the spans of all features.
What it says on the node's own rows by itself (information value) is computed here, from own labels, and stays here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from sqlalchemy import func, select

from models.artefact import ModelArtefact
from models.divergence import Divergence
from models.evidence import evidence_of
from models.schema import Schema
from models.scorecard import Scorecard
from models.tables import OpenedTable, encoder_feature, feature_bins
from nodes.charges import stage_of
from nodes.frozen_counts import CampaignRows, FrozenCounts
from nodes.model_book import BookedModel
from nodes.services import Services
from nodes.settled_tables import SettledTables
from nodes.tables.ledger import SentRow
from nodes.training_context import TrainingData
from nodes.web.bank_words import listed, moment, say


@dataclass(frozen=True)
class CampaignLine:
    """What this node brought to one campaign.

    Attributes:
        rows: own rows in it; None where it was accepted before such notes were kept.
        cohort: merchants of all nodes together; None while no model of it was released.
        kinds: the kinds whose data its model uses.
    """

    campaign: str
    stages: str
    rows: int | None
    cohort: int | None
    share: str
    kinds: str
    sends: int
    size: int
    first: str
    last: str


@dataclass(frozen=True)
class FeatureWeight:
    """A feature of this node's kind in one model.

    Attributes:
        span: between its best and its worst points.
        share: of the spans of all features of the model (0 to 100).
        information: its information value on this node's own labelled rows, less what chance adds, with its 95 %
            interval; None where it has no labels, or too few.
    """

    title: str
    low: int
    high: int
    span: int
    share: float
    information: Divergence | None


@dataclass(frozen=True)
class ModelWeights:
    """The own features in one model in use."""

    model_id: str
    released: str
    share: float
    features: tuple[FeatureWeight, ...]


@dataclass(frozen=True)
class ContributionSheet:
    """Everything that this node brought."""

    campaigns: tuple[CampaignLine, ...]
    size: int
    models: tuple[ModelWeights, ...]


@dataclass(frozen=True)
class _Sent:
    stages: tuple[str, ...]
    sends: int
    size: int
    first: int
    last: int


class ContributionDesk:
    """Adds up what this node brought.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, lang: str) -> ContributionSheet:
        """Campaigns, the newest first, and models in use."""
        sent = self._sent()
        brought = {each.campaign_id: each for each in FrozenCounts(self._services.runtime.store).campaigns()}
        models = {
            listed.campaign_id: listed.artefact
            for listed in self._services.models.list()
            if listed.artefact is not None and listed.artefact.model_type == "scorecard"
        }
        names = sorted({*sent, *brought}, key=lambda name: -_newest(sent.get(name), brought.get(name)))
        campaigns = tuple(
            campaign_line(name, sent.get(name), brought.get(name), models.get(name), lang) for name in names
        )
        return ContributionSheet(campaigns, sum(each.size for each in campaigns), tuple(self._models(lang)))

    def _sent(self) -> dict[str, _Sent]:
        columns = (SentRow.campaign_id, SentRow.attempt, SentRow.sent_at, func.length(SentRow.payload))
        with self._services.runtime.store.reading() as session:
            rows = session.execute(select(*columns).order_by(SentRow.sent_at)).all()
        found: dict[str, _Sent] = {}
        for campaign, attempt, at, size in rows:
            known = found.get(campaign, _Sent((), 0, 0, at, at))
            stage = stage_of(campaign, attempt)
            stages = known.stages if stage is None else (*known.stages, stage)
            found[campaign] = _Sent(tuple(dict.fromkeys(stages)), known.sends + 1, known.size + size, known.first, at)
        return found

    def _models(self, lang: str) -> Iterable[ModelWeights]:
        kind, runtime = self._services.runtime.config.kind, self._services.runtime
        tables = SettledTables(runtime.training_data, kind)
        for line in self._services.models.list():
            if not line.usable or line.artefact is None or line.artefact.scorecard is None:
                continue
            model = self._services.models.get(line.model_id)
            if model is None or kind not in model.card.kinds:
                continue
            data = tables.under(model.artefact.schema_sha256, model.artefact.schema_of)
            yield model_weights(model, kind, data, lang)


def campaign_line(
    name: str, sent: _Sent | None, brought: CampaignRows | None, model: ModelArtefact | None, lang: str
) -> CampaignLine:
    """One campaign in words."""
    cohort = None if model is None else model.cohort_size
    rows = None if brought is None else brought.rows
    accepted = "" if brought is None else moment(brought.accepted_at)
    return CampaignLine(
        campaign=name,
        stages="" if sent is None else listed([say(lang, f"stage {stage}") for stage in sent.stages], lang),
        rows=rows,
        cohort=cohort,
        share="" if not rows or not cohort else f"{rows / cohort:.1%}",
        kinds="" if model is None else listed([say(lang, kind) for kind in model.card().kinds], lang),
        sends=0 if sent is None else sent.sends,
        size=0 if sent is None else sent.size,
        first=accepted if sent is None else moment(sent.first),
        last=accepted if sent is None else moment(sent.last),
    )


def model_weights(model: BookedModel, kind: str, data: TrainingData | None, lang: str) -> ModelWeights:
    """The spans of a kind's features, the greatest first."""
    spans = [max(entry.points) - min(entry.points) for entry in model.card.features]
    total = max(sum(spans), 1)
    values = information_values(model.schema, model.card, kind, data)
    found = [
        FeatureWeight(
            title=_title(model.schema, kind, entry.feature.name, lang),
            low=min(entry.points),
            high=max(entry.points),
            span=span,
            share=round(100 * span / total, 1),
            information=values.get(entry.feature.name),
        )
        for entry, span in zip(model.card.features, spans, strict=True)
        if entry.feature.kind == kind
    ]
    found.sort(key=lambda each: -each.span)
    return ModelWeights(
        model.model_id, moment(model.issued_at), round(sum(each.share for each in found), 1), tuple(found)
    )


def information_values(schema: Schema, card: Scorecard, kind: str, data: TrainingData | None) -> dict[str, Divergence]:
    """Information values of a kind's own features on own labelled rows; empty without labels of both sorts.

    Own rows are exact and never leave the node, so no noise is in them; encoders' outputs are left out.
    """
    if data is None or data.outcome is None or min(np.bincount(data.outcome, minlength=2)[:2]) == 0:
        return {}
    blocks = [each for each in feature_bins(schema) if each.kind == kind]
    counts = []
    for column, block in enumerate(blocks):
        codes = data.codes[:, column].astype(np.int64)
        both = [np.bincount(codes[data.outcome == which], minlength=block.width) for which in (0, 1)]
        counts.append(np.stack(both, axis=1).astype(np.float64))
    labelled = int((data.outcome < 2).sum())
    table = OpenedTable(
        features=tuple(blocks),
        classes=tuple(counts),
        pairs={},
        cohort_size=labelled,
        kind_totals={kind: labelled},
        pair_totals={},
        sigma_class=0.0,
        sigma_pair=0.0,
    )
    found = zip(blocks, evidence_of(table), strict=True)
    return {block.name: each.information for block, each in found if each.information is not None}


def _title(schema: Schema, kind: str, name: str, lang: str) -> str:
    if name == encoder_feature(kind):
        return say(lang, "Overall assessment of the source's own model")
    return schema.feature(name).spec.title.text(lang)


def _newest(sent: _Sent | None, brought: CampaignRows | None) -> float:
    if sent is not None:
        return float(sent.last)
    return 0.0 if brought is None else brought.accepted_at.timestamp()
