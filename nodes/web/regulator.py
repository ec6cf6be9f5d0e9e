"""The regulator's pages at the witness's own agent: they show only what the witness has verified itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from models.web.access import needs
from models.web.listing import Column, Ident, Link, Moment, State, Term, arrange
from models.web.pages import NavItem, Pages, PagesOf
from models.web.people import Person
from models.web.rights import Right
from nodes.services import Services
from nodes.web import (
    regulator_approvals,
    regulator_checkpoints,
    regulator_inspection,
    regulator_log,
    regulator_merchant,
    regulator_reconciliation,
)
from nodes.web.regulator_desk import DeskOf, RegulatorDesk
from nodes.witness.comparing import MAX_JOURNAL_BYTES
from nodes.witness.openings import MAX_RECORD_BYTES
from nodes.witness.overview import CampaignLine, DayLine, NodeSpending

router = APIRouter(prefix="/regulator", include_in_schema=False)

ROUTERS: tuple[APIRouter, ...] = (
    router,
    regulator_log.router,
    regulator_checkpoints.router,
    regulator_merchant.router,
    regulator_reconciliation.router,
    regulator_approvals.router,
    regulator_inspection.router,
)
_ROLES = frozenset({"regulator", "inspector"})
NAV: tuple[NavItem, ...] = tuple(
    NavItem(text, path, _ROLES, order)
    for order, (text, path) in enumerate(
        (
            ("Overview", "/regulator"),
            ("Audit log", "/regulator/log"),
            ("Checkpoints", "/regulator/checkpoints"),
            ("A merchant's entries", "/regulator/merchant"),
            ("Reconciliation", "/regulator/reconciliation"),
            ("Parties", "/regulator/parties"),
            ("Models", "/regulator/models"),
            ("Inspection file", "/regulator/inspection"),
        )
    )
)
UPLOADS = {"/regulator/merchant": MAX_RECORD_BYTES + (64 << 10), "/regulator/reconciliation": MAX_JOURNAL_BYTES}
"""Pages that take files, and how many bytes."""

CAMPAIGNS = (
    Column[CampaignLine](
        "id", "Campaign", lambda row: Link(row.campaign_id, f"/regulator/log?campaign={row.campaign_id}")
    ),
    Column[CampaignLine]("name", "Name", lambda row: row.name, key=lambda row: row.name),
    Column[CampaignLine](
        "state", "State", lambda row: State(row.status or "running"), key=lambda row: row.status or ""
    ),
    Column[CampaignLine](
        "started", "Started", lambda row: Moment(row.started_at), key=lambda row: row.started_at, first="desc"
    ),
    Column[CampaignLine]("stated", "ε as stated", lambda row: row.stated, numeric=True),
    Column[CampaignLine](
        "cost", "ε charged here", lambda row: row.cost, key=lambda row: row.cost, numeric=True, first="desc"
    ),
    Column[CampaignLine](
        "attempts", "Attempts released", lambda row: row.attempts, key=lambda row: row.attempts, numeric=True
    ),
    Column[CampaignLine]("refunded", "refunded", lambda row: row.refunded, key=lambda row: row.refunded, numeric=True),
)
NODES = (
    Column[NodeSpending](
        "party",
        "Node",
        lambda row: Link(row.party_id, f"/regulator/log?party={row.party_id}"),
        key=lambda row: row.party_id,
    ),
    Column[NodeSpending]("kind", "Kind", lambda row: Term(row.kind), key=lambda row: row.kind),
    Column[NodeSpending]("year", "ε this year", lambda row: row.this_year, key=lambda row: row.this_year, numeric=True),
    Column[NodeSpending](
        "total", "ε in all", lambda row: row.total, key=lambda row: row.total, numeric=True, first="desc"
    ),
    Column[NodeSpending]("limit", "Limit", lambda row: row.limit, numeric=True),
    Column[NodeSpending]("attempts", "Attempts", lambda row: row.attempts, key=lambda row: row.attempts, numeric=True),
)
DAYS = (
    Column[DayLine]("day", "Day", lambda row: row.day),
    Column[DayLine]("queries", "Queries", lambda row: row.queries, numeric=True),
    Column[DayLine]("refusals", "Refusals", lambda row: row.refusals, numeric=True),
    Column[DayLine]("consents", "Consents", lambda row: row.consents, numeric=True),
    Column[DayLine]("revocations", "Revocations", lambda row: row.revocations, numeric=True),
)


def install(app: FastAPI, pages: Pages, services: Services) -> None:
    """Put the regulator's pages on the application of a witness's pages; ConfigError at any other node."""
    install_desk(app, pages, RegulatorDesk.of(services))


def install_desk(app: FastAPI, pages: Pages, desk: RegulatorDesk) -> None:
    """The same over a desk that was put together elsewhere."""
    app.state.regulator = desk
    pages.alarms = desk.alarms
    pages.nav.extend(NAV)
    for each in ROUTERS:
        app.include_router(each)


@router.get("")
def overview(request: Request, pages: PagesOf, desk: DeskOf, _: Annotated[Person, needs(Right.OVERSEE)]) -> Response:
    """The first page."""
    waiting_models = sum(each.state == "pending" for each in desk.models.list()) if desk.by_hand else 0
    waiting_parties = sum(each.proposed is not None for each in desk.approvals.list())
    found = desk.overviews.overview(waiting_models=waiting_models, waiting_parties=waiting_parties)
    params = request.query_params
    return pages.render(
        request,
        "regulator/overview.html.j2",
        of=found,
        campaigns=arrange(found.campaigns, CAMPAIGNS, params, prefix="c-", page_size=20),
        nodes=arrange(found.nodes, NODES, params, prefix="n-", page_size=30),
        days=arrange(found.days, DAYS, params, prefix="d-"),
        parties=[(each.party_id, Term(each.kind), each.region, each.title) for each in found.parties],
        root=Ident(found.progress.root.hex()),
    )
