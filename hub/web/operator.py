"""The operator's pages of parties, models and the audit log's head; those of campaigns are beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from crypto.checkpoint import parse_note
from hub.alarms import Refusal
from hub.api.dependencies import HubOf
from hub.clock import seconds
from hub.log_reading import latest_checkpoint
from hub.models import ModelSummary
from hub.node_overview import NodeView, nodes_view
from hub.services import Hub
from hub.spending import Spending
from models.web.access import needs
from models.web.formats import significant
from models.web.headers import DOCUMENT_POLICY
from models.web.language import language_of_reader
from models.web.listing import Choice, Column, Ident, Link, Moment, State, arrange
from models.web.pages import NavItem, PagesOf
from models.web.people import Person
from models.web.rights import Right, Role

router = APIRouter(prefix="/operator", include_in_schema=False)
Watcher = Annotated[Person, needs(Right.WATCH_HUB)]
OPERATORS = frozenset({Role.OPERATOR.value})
NAV = (
    NavItem("Nodes", "/operator/nodes", OPERATORS, 10),
    NavItem("Campaigns", "/operator/campaigns", OPERATORS, 20),
    NavItem("Budget plan", "/operator/budget", OPERATORS, 30),
    NavItem("Models", "/operator/models", OPERATORS, 40),
    NavItem("Audit log", "/operator/log", OPERATORS, 50),
)


def campaign_path(campaign_id: str) -> str:
    """Where a campaign's page is; ids hold no character that paths escape."""
    return f"/operator/campaigns/{campaign_id}"


def card_path(model_id: str) -> str:
    """Where a model's card is, for the operator."""
    return f"/operator/models/{model_id}/card"


def model_path(model_id: str) -> str:
    """Where a model's page is."""
    return f"/operator/models/{model_id}"


def campaign_link(campaign_id: str | None) -> Link | None:
    """A cell that leads to a campaign."""
    return None if campaign_id is None else Link(campaign_id, campaign_path(campaign_id))


def model_state(model: ModelSummary) -> str:
    """What a list says of a model: its state, that it is the one to use, or that a release waits for the regulator."""
    if model.waiting:
        return "waiting for the regulator"
    return "current" if model.current else model.status


NODES = (
    Column[NodeView]("party", "Party", lambda node: node.party_id, key=lambda node: node.party_id),
    Column[NodeView]("title", "Title", lambda node: node.title, key=lambda node: node.title),
    Column[NodeView]("kind", "Kind", lambda node: node.kind, key=lambda node: node.kind),
    Column[NodeView]("region", "Region", lambda node: node.region, key=lambda node: node.region),
    Column[NodeView](
        "link",
        "Connection",
        lambda node: State("connected" if node.connected else "disconnected"),
        key=lambda node: not node.connected,
    ),
    Column[NodeView]("since", "Since", lambda node: Moment(node.since), key=lambda node: node.since, first="desc"),
    Column[NodeView]("software", "Software", lambda node: node.software, key=lambda node: node.software),
    Column[NodeView]("lag", "Feed lag", lambda node: node.lag, key=lambda node: node.lag, numeric=True, first="desc"),
    Column[NodeView]("approval", "Witness", lambda node: State(node.approval), key=lambda node: node.approval),
    Column[NodeView](
        "undelivered",
        "Decisions not heard",
        lambda node: node.undelivered,
        key=lambda node: node.undelivered,
        numeric=True,
        first="desc",
    ),
    Column[NodeView](
        "campaign",
        "Last campaign",
        lambda node: campaign_link(node.last_campaign),
        key=lambda node: node.last_campaign,
    ),
)
LINKED = Choice("link", "Connection", (("connected", "connected"), ("disconnected", "disconnected")))

MODELS = (
    Column[ModelSummary]("model", "Model", lambda model: Ident(model.model_id, card_path(model.model_id)), key=None),
    Column[ModelSummary](
        "line",
        "Line",
        lambda model: Link(model.line, model_path(model.model_id)),
        key=lambda model: (model.line, model.version),
    ),
    Column[ModelSummary](
        "version", "Version", lambda model: model.version, key=lambda model: model.version, numeric=True
    ),
    Column[ModelSummary]("state", "State", lambda model: State(model_state(model)), key=model_state),
    Column[ModelSummary](
        "epsilon",
        "Epsilon",
        lambda model: "∞" if model.epsilon is None else significant(model.epsilon),
        key=lambda model: model.epsilon,
        numeric=True,
    ),
    Column[ModelSummary](
        "campaign",
        "Campaign",
        lambda model: campaign_link(model.campaign_id),
        key=lambda model: model.campaign_id,
    ),
    Column[ModelSummary](
        "registered",
        "Registered",
        lambda model: Moment(model.registered_at),
        key=lambda model: model.registered_at,
        first="desc",
    ),
)


@dataclass(frozen=True)
class HeadView:
    """The audit log's head.

    Attributes:
        size: entries that have their place.
        cosigned: entries under the witness's signature.
        age_s: of the newest cosigned checkpoint; None before the first.
        at: when it was made.
        note: its text.
    """

    size: int
    cosigned: int
    age_s: int | None
    at: datetime | int | None
    note: str | None


def spending_of(hub: Hub) -> Spending:
    """The hub's reader of costs."""
    return Spending(hub.db, hub_id=hub.config.hub_id, hub_keys=hub.keys.identity.line)


def head_view(hub: Hub) -> HeadView:
    """Return the audit log's head."""
    with hub.db.reading() as session:
        row = latest_checkpoint(session, cosigned=True)
    size = hub.log.reader.size()
    if row is None:
        return HeadView(size, 0, None, None, None)
    return HeadView(
        size,
        parse_note(row.note)[0].size,
        max(0, seconds(hub.clock()) - row.created_at),
        row.created_at,
        row.note,
    )


@router.get("")
def read_start(_person: Watcher) -> Response:
    """Lead to the nodes."""
    return RedirectResponse("/operator/nodes", 303)


@router.get("/nodes")
def read_nodes(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher) -> Response:
    """Show all parties."""
    spending = spending_of(hub)
    costs = spending.campaigns()
    view = nodes_view(hub, costs, spending.by_node(costs))
    listing = arrange(
        view.nodes,
        NODES,
        request.query_params,
        text=_words_of_node,
        choices={LINKED: lambda node, chosen: node.connected == (chosen == "connected")},
    )
    running = sum(each.status == "running" for each in hub.campaigns.book.all())
    return pages.render(
        request, "operator/nodes.html.j2", view=view, listing=listing, running=running, head=head_view(hub)
    )


@router.get("/models")
def read_models(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher) -> Response:
    """Show all models and where their release stands."""
    listing = arrange(
        hub.models.all(),
        MODELS,
        request.query_params,
        text=lambda model: (model.model_id, model.line, model.campaign_id),
    )
    return pages.render(request, "operator/models.html.j2", listing=listing)


@router.get("/models/{model_id}/card")
def read_card(request: Request, hub: HubOf, _person: Watcher, model_id: str) -> Response:
    """Show a model's card, released or not; NotFoundError where there is no such model."""
    language = language_of_reader(request)
    text = hub.cards.card(model_id, language, "html", unreleased=True)
    return HTMLResponse(text, headers={"Content-Language": language, "Content-Security-Policy": DOCUMENT_POLICY})


@router.get("/log")
def read_log(request: Request, hub: HubOf, pages: PagesOf, _person: Watcher) -> Response:
    """Show the audit log's head and when the witness refused."""
    return pages.render(
        request,
        "operator/log.html.j2",
        head=head_view(hub),
        refusals=_refusals(hub.log_alarms.refusals()),
        origin=hub.config.log_origin,
        witness=hub.parties.witness(),
    )


def _words_of_node(node: NodeView) -> Iterable[str]:
    return (node.party_id, node.title, node.kind, node.region, node.software or "")


def _refusals(refusals: Iterable[Refusal]) -> list[list[object]]:
    return [
        [
            Moment(each.since, seconds=True),
            Moment(each.ended, seconds=True),
            each.code,
            each.size,
            each.cosigned_size,
            each.detail,
        ]
        for each in refusals
    ]
