"""The operator's pages of one model: what it is, its files, and how it stands beside another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from hub.api.dependencies import HubOf
from hub.api.models import points_answer
from hub.commands.comparison import CHANGES, FIGURES, READINGS
from hub.errors import NotFoundError
from hub.models import ModelSummary
from hub.services import Hub
from hub.web.operator import Watcher, campaign_link, card_path, model_path, model_state
from models.artefact import ModelArtefact
from models.card_content import CardFacts
from models.comparison import FeatureChange, ModelComparison
from models.points_table import PointsFormat
from models.web.language import language_of_reader
from models.web.pages import PagesOf

router = APIRouter(prefix="/operator", include_in_schema=False)
TONES = {"stable": "good", "unclear": "neutral", "moved": "warn", "moved-much": "bad"}
"""Reading of a stability index → tone of its badge."""
VERDICT_TONES = {"promote": "good", "keep": "info", "evaluate": "warn", "recalibrate": "warn"}
_MOST_LINES = 40
"""Bins shown whose points changed; the rest is in `digua-hub model compare`."""


@router.get("/models/{model_id}")
def read_model(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher, model_id: str) -> Response:
    """Show one model: where it stands, its card and files, and which it can be compared with."""
    summary = hub.models.summary(model_id)
    facts = hub.cards.facts(model_id, unreleased=True)
    others = [
        each
        for each in hub.models.all()
        if each.model_id != model_id and each.model_type == "scorecard" == summary.model_type
    ]
    return pages.render(
        request,
        "operator/model.html.j2",
        summary=summary,
        state=model_state(summary),
        facts=facts,
        campaign=campaign_link(summary.campaign_id),
        card=card_path(model_id),
        own=model_path(model_id),
        others=others,
        stability=hub.cards.stability_or_none(facts),
    )


@router.get("/models/{model_id}/points")
def read_points(
    request: Request,
    hub: HubOf,
    _person: Watcher,
    model_id: str,
    form: Annotated[PointsFormat, Query(alias="format")] = "xlsx",
) -> Response:
    """Give a scorecard's table of points as a file."""
    language = language_of_reader(request)
    return points_answer(hub.cards.points(model_id, language, form, unreleased=True), model_id, form, language)


@router.get("/models/{model_id}/comparison")
def read_comparison(
    request: Request,
    hub: HubOf,
    pages: PagesOf,
    _person: Watcher,
    model_id: str,
    other: Annotated[str, Query(alias="with")] = "",
) -> Response:
    """Show a model beside another: which ranks better, how far scores and merchants have moved, what changed."""
    if not other:
        return RedirectResponse(model_path(model_id), 303)
    before, after = _in_order(hub, model_id, other)
    found = hub.cards.compare(before.model_id, after.model_id, language_of_reader(request), unreleased=True)
    lines = _changed(found)
    return pages.render(
        request,
        "operator/comparison.html.j2",
        before=before,
        after=after,
        paths=(model_path(before.model_id), model_path(after.model_id)),
        found=found,
        figures=FIGURES,
        readings=READINGS,
        tones=TONES,
        verdict_tone=VERDICT_TONES[found.advice.verdict],
        titles=_titles(hub.cards.facts(after.model_id, unreleased=True), language_of_reader(request)),
        lines=lines[:_MOST_LINES],
        left=max(len(lines) - _MOST_LINES, 0),
        changes=[(each, CHANGES[each.change]) for each in found.features if each.change != "points"],
    )


def _in_order(hub: Hub, one: str, two: str) -> tuple[ModelSummary, ModelSummary]:
    """The older one first."""
    found = sorted(
        (hub.models.summary(one), hub.models.summary(two)), key=lambda each: (each.registered_at, each.version)
    )
    if any(each.model_type != "scorecard" for each in found):
        raise NotFoundError(
            "Only scorecards have points to compare.",
            field="with",
            remedy="Take two scorecards from the list of models.",
        )
    return found[0], found[1]


def _changed(found: ModelComparison) -> list[tuple[FeatureChange, str, int, int]]:
    """(feature, bin, points before, after), the greatest change first."""
    lines = [
        (feature, each.label, each.before, each.after)
        for feature in found.features
        if feature.change == "points"
        for each in feature.bins
    ]
    return sorted(lines, key=lambda line: -abs(line[3] - line[2]))


def _titles(facts: CardFacts, lang: str) -> dict[tuple[str, str], str]:
    """(kind, feature) → its title; an encoder's output keeps its name."""
    artefact: ModelArtefact = facts.artefact
    return {(each.kind, each.name): each.spec.title.text(lang) for each in artefact.schema_of().all_features()}
