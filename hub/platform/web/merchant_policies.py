"""The merchant's page of its insurance: policies as insurers reported them, and what of each premium is subsidised."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from hub.platform.api.dependencies import PlatformOf
from hub.platform.web import policy_table
from hub.platform.web.merchant_parts import MERCHANTS, Owner
from models.web.language import language_of_reader
from models.web.pages import NavItem, PagesOf

router = APIRouter(prefix="/merchant", include_in_schema=False)
NAV = (NavItem("Insurance", "/merchant/policies", MERCHANTS, 35),)


@router.get("/policies")
def read_policies(request: Request, owner: Owner, platform: PlatformOf, pages: PagesOf) -> Response:
    """List the merchant's policies, the newest first."""
    found = platform.policies.listed(account_id=owner.party)[::-1]
    rows = policy_table.rows_of(platform, found, language_of_reader(request))
    return pages.render(request, "merchant/policies.html.j2", rows=rows, table=policy_table)
