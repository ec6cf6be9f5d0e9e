"""The operator's pages of campaigns: all of them, one with its progress, an order with what it would cost, abort."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.responses import RedirectResponse, Response

from crypto.errors import CryptoError
from hub.api.dependencies import HubOf
from hub.budget_plan import budget_plan
from hub.campaign_errors import CampaignStateError
from hub.errors import HubError
from hub.plan_warnings import COUNTS
from hub.services import Hub
from hub.spending import CampaignCost
from hub.web.operator import Watcher, campaign_link, campaign_path, card_path, spending_of
from hub.web.operator_views import CampaignLine, CampaignView, campaign_lines, campaign_view, stages_said
from hub.web.order_upload import CAMPAIGN, MAX_BYTES, SCHEMA, UploadProblem, UploadRefused, read_order, refused_order
from models.errors import ModelsError
from models.web.access import needs
from models.web.formats import significant
from models.web.listing import Choice, Column, Ident, Moment, State, arrange
from models.web.pages import Pages, PagesOf
from models.web.people import Person
from models.web.problems import PageProblem, page_problem, problem_of
from models.web.rights import Right

router = APIRouter(prefix="/operator", include_in_schema=False)
Orderer = Annotated[Person, needs(Right.ORDER_CAMPAIGN)]
OrdererNow = Annotated[Person, needs(Right.ORDER_CAMPAIGN, fresh=True)]
"""What an order spends is never given back."""
Aborter = Annotated[Person, needs(Right.ABORT_CAMPAIGN, fresh=True)]
UPLOADS = {"/operator/campaigns": 3 * MAX_BYTES}
"""Paths that take files → bytes of a whole form."""
TONES = {"waits for a worker": "warn"}

CAMPAIGNS = (
    Column[CampaignLine](
        "campaign",
        "Campaign",
        lambda line: campaign_link(line.campaign_id),
        key=lambda line: line.campaign_id,
    ),
    Column[CampaignLine](
        "state", "State", lambda line: State(line.state, TONES.get(line.state)), key=lambda line: line.state
    ),
    Column[CampaignLine]("stages", "Stages", lambda line: stages_said(line.stages), key=lambda line: line.stages),
    Column[CampaignLine](
        "epsilon",
        "Epsilon",
        lambda line: significant(line.epsilon) if line.noise == "on" else "∞",
        key=lambda line: line.epsilon,
        numeric=True,
    ),
    Column[CampaignLine](
        "ordered", "Ordered", lambda line: Moment(line.created_at), key=lambda line: line.created_at, first="desc"
    ),
    Column[CampaignLine](
        "ended", "Ended", lambda line: Moment(line.ended_at), key=lambda line: line.ended_at, first="desc"
    ),
    Column[CampaignLine](
        "model",
        "Model",
        lambda line: None if line.model_id is None else Ident(line.model_id, card_path(line.model_id)),
    ),
)
STATES = ("queued", "running", "succeeded", "failed", "aborted")
STATE = Choice("state", "State", tuple((each, each) for each in STATES))

COSTS = (
    Column[CampaignCost](
        "campaign",
        "Campaign",
        lambda cost: campaign_link(cost.campaign_id),
        key=lambda cost: cost.campaign_id,
    ),
    Column[CampaignCost]("at", "Time", lambda cost: Moment(cost.at), key=lambda cost: cost.at, first="desc"),
    Column[CampaignCost](
        "epsilon",
        "Epsilon",
        lambda cost: significant(cost.epsilon) if cost.noise == "on" else "∞",
        key=lambda cost: cost.epsilon,
        numeric=True,
        first="desc",
    ),
    Column[CampaignCost](
        "delta", "Delta", lambda cost: significant(cost.delta), key=lambda cost: cost.delta, numeric=True
    ),
    Column[CampaignCost](
        "merchants",
        "Merchants",
        lambda cost: cost.merchants,
        key=lambda cost: cost.merchants,
        numeric=True,
        first="desc",
    ),
    Column[CampaignCost](
        "nodes", "Nodes", lambda cost: len(cost.parties), key=lambda cost: len(cost.parties), numeric=True, first="desc"
    ),
    Column[CampaignCost](
        "published",
        "Result",
        lambda cost: State("published", "info") if cost.published else State("nothing published", "neutral"),
        key=lambda cost: cost.published,
    ),
)


@router.get("/campaigns")
def read_campaigns(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher) -> Response:
    """Show all campaigns, the newest first."""
    listing = arrange(
        campaign_lines(hub),
        CAMPAIGNS,
        request.query_params,
        text=lambda line: (line.campaign_id, line.name, line.model_id or ""),
        choices={STATE: lambda line, chosen: (line.state if line.state in STATES else "queued") == chosen},
    )
    return pages.render(request, "operator/campaigns.html.j2", listing=listing)


@router.get("/campaigns/new")
def read_order_form(request: Request, hub: HubOf, pages: PagesOf, _person: Orderer) -> Response:
    """Ask for the two files of an order."""
    return _order_form(request, pages, ())


@router.post("/campaigns/plan")
def plan_order(
    request: Request,
    hub: HubOf,
    pages: PagesOf,
    _person: Orderer,
    campaign_file: Annotated[UploadFile | None, File()] = None,
    schema_file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Show what the uploaded order would cost; nothing is ordered yet."""
    try:
        campaign_text, schema_text = _text(CAMPAIGN, campaign_file), _text(SCHEMA, schema_file)
        return _planned(request, hub, pages, campaign_text, schema_text)
    except UploadRefused as refused:
        return _order_form(request, pages, refused.problems)


@router.post("/campaigns")
def order_campaign(
    request: Request,
    hub: HubOf,
    pages: PagesOf,
    _person: OrdererNow,
    campaign_text: Annotated[str, Form(max_length=MAX_BYTES)],
    schema_text: Annotated[str, Form(max_length=MAX_BYTES)],
    key: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
) -> Response:
    """Order what was planned; the same form sent again is the same campaign."""
    try:
        order, schema = read_order(campaign_text, schema_text)
        campaign_id = hub.campaigns.order(order, schema, key=f"page:{key}")
    except UploadRefused as refused:
        return _order_form(request, pages, refused.problems)
    except (HubError, ModelsError) as error:
        return _order_form(request, pages, refused_order(error).problems)
    return RedirectResponse(f"{campaign_path(campaign_id)}?done=ordered", 303)


@router.get("/campaigns/{campaign_id}")
def read_campaign(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher, campaign_id: str) -> Response:
    """Show one campaign; scripts read its part `live` anew while it runs."""
    view = campaign_view(hub, campaign_id)
    return _campaign_page(request, pages, view)


@router.post("/campaigns/{campaign_id}/abort")
def abort_campaign(
    request: Request,
    hub: HubOf,
    pages: PagesOf,
    _person: Aborter,
    campaign_id: str,
    sure: Annotated[str, Form()] = "",
) -> Response:
    """End a campaign at its next step, where the operator ticked that this is meant."""
    view = campaign_view(hub, campaign_id)
    if sure != "yes":
        problem = PageProblem(
            pages.translate(request, "Nothing was aborted"),
            "The box was not ticked.",
            "Tick it, and send the form again.",
        )
        return _campaign_page(request, pages, view, problem, status=422)
    try:
        hub.campaigns.abort(campaign_id)
    except CampaignStateError as error:
        return _campaign_page(request, pages, view, problem_of(pages, request, error), status=error.status)
    return RedirectResponse(f"{campaign_path(campaign_id)}?done=aborted", 303)


@router.get("/budget")
def read_budget(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher) -> Response:
    """Show what campaigns cost so far, as far as the hub knows."""
    spending = spending_of(hub)
    costs = spending.campaigns()
    nodes = sorted(spending.by_node(costs).items())
    listing = arrange(costs, COSTS, request.query_params, text=lambda cost: (cost.campaign_id, *cost.parties))
    return pages.render(request, "operator/budget.html.j2", listing=listing, nodes=nodes)


def _campaign_page(
    request: Request, pages: Pages, view: CampaignView, problem: PageProblem | None = None, status: int = 200
) -> Response:
    failure = view.failure
    return pages.render(
        request,
        "operator/campaign.html.j2",
        status,
        view=view,
        own=campaign_path(view.line.campaign_id),
        reported=view.line.state == "succeeded" and "statistics" in view.line.stages,
        stages=stages_said(view.line.stages),
        tone=TONES.get(view.line.state),
        failure=None if failure is None else page_problem(pages, request, failure.model_dump(mode="json")),
        problem=problem,
        done=request.query_params.get("done"),
    )


def _planned(request: Request, hub: Hub, pages: Pages, campaign_text: str, schema_text: str) -> Response:
    order, schema = read_order(campaign_text, schema_text)
    try:
        plan = budget_plan(hub, order, schema)
    except (HubError, ModelsError, CryptoError) as error:
        raise refused_order(error) from error
    hindrance = None if plan.hindrance is None else problem_of(pages, request, plan.hindrance)
    return pages.render(
        request,
        "operator/plan.html.j2",
        order=order,
        schema=schema,
        stages=stages_said(order.stages),
        plan=plan,
        told=plan.forecast,
        counts_said=COUNTS,
        hindrance=hindrance,
        campaign_text=campaign_text,
        schema_text=schema_text,
        key=secrets.token_hex(16),
    )


def _order_form(request: Request, pages: Pages, problems: tuple[UploadProblem, ...]) -> Response:
    grouped: dict[str, list[Any]] = {CAMPAIGN: [], SCHEMA: []}
    for each in problems:
        grouped[each.file].append(each.problem)
    return pages.render(request, "operator/new.html.j2", 422 if problems else 200, problems=grouped)


def _text(name: str, file: UploadFile | None) -> str:
    """The text of an uploaded file."""
    content = b"" if file is None else file.file.read(MAX_BYTES + 1)
    if not content:
        raise UploadRefused.because(name, "the file is missing or empty", "choose the file")
    if len(content) > MAX_BYTES:
        raise UploadRefused.because(name, "the file is too large", "choose another file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UploadRefused.because(name, "cannot be read as YAML", "save the file as UTF-8 YAML") from error
