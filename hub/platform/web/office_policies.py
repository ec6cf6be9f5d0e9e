"""The programme office's page of insurance: all policies that insurers reported, and what of them is subsidised."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.policy_book import MAX_PAGE
from hub.platform.web import policy_table
from hub.platform.web.office import OFFICERS, Officer
from models.web.language import language_of_reader
from models.web.listing import Cell, Ident
from models.web.pages import NavItem, PagesOf

router = APIRouter(prefix="/office", include_in_schema=False)
NAV = (NavItem("Insurance policies", "/office/policies", OFFICERS, 50),)


@router.get("/policies")
def read_policies(
    request: Request,
    _member: Officer,
    platform: PlatformOf,
    pages: PagesOf,
    after: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
) -> Response:
    """List policies in the order of their reporting, a page at a time."""
    found = platform.policies.listed(after=after)
    rows: list[list[Cell]] = [
        [*row, Ident(policy.account_id), Ident(policy.policy_id)]
        for policy, row in zip(found, policy_table.rows_of(platform, found, language_of_reader(request)), strict=True)
    ]
    return pages.render(
        request,
        "office/policies.html.j2",
        rows=rows,
        table=policy_table,
        next=found[-1].policy_id if len(found) == MAX_PAGE else None,
    )
