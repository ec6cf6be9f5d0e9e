"""The terms of the rights table: sites, roles, callers, rights, and what a row is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Site = Literal["hub", "gateway", "bank", "witness", "platform"]
"""The hub; a node's gateway for its owner's systems; a node's pages, which at the witness are the regulator's; the Two
Small platform."""
SITES: tuple[Site, ...] = ("hub", "gateway", "bank", "witness", "platform")
PAGE_SITES: tuple[Site, ...] = ("hub", "bank", "witness", "platform")


class Role(StrEnum):
    """What a person is; one may be several."""

    OPERATOR = "operator"
    OWNER = "owner"
    RISK_OFFICER = "risk-officer"
    DATA_STEWARD = "data-steward"
    COUNTER_CLERK = "counter-clerk"
    REGULATOR = "regulator"
    INSPECTOR = "inspector"
    MERCHANT = "merchant"
    BANK = "bank"
    GOVERNMENT = "government"


ROLES_AT: dict[Site, tuple[Role, ...]] = {
    "hub": (Role.OPERATOR,),
    "gateway": (),
    "bank": (Role.OWNER, Role.RISK_OFFICER, Role.DATA_STEWARD, Role.COUNTER_CLERK),
    "witness": (Role.OWNER, Role.REGULATOR, Role.INSPECTOR),
    "platform": (Role.MERCHANT, Role.BANK, Role.GOVERNMENT, Role.OPERATOR, Role.REGULATOR),
}
"""Roles that exist at a site; a person's account is at one site."""


class Caller(StrEnum):
    """What a machine, or somebody without an account, shows instead of a sign-in."""

    ANYONE = "anyone"
    MERCHANT = "merchant-signature"
    PARTY = "party-signature"
    WITNESS = "witness-signature"
    ADMIN = "admin-token"
    INTERNAL = "internal-token"
    COLLECTOR = "metrics-token"
    GATEWAY = "gateway-token"
    INVITED = "one-time-token"
    API_KEY = "api-key"


Who = Role | Caller


class Right(StrEnum):
    """What endpoints ask for."""

    # Anybody
    READ_PUBLIC = "read-public"
    SIGN_IN = "sign-in"
    MERCHANT_PAGES = "merchant-pages"
    # Machines
    ENROL = "enrol"
    JOIN = "join"
    PARTY_REQUESTS = "party-requests"
    MERCHANT_REQUESTS = "merchant-requests"
    ADMINISTER = "administer"
    READ_ASSESSMENTS = "read-assessments"
    HUB_PROCESSES = "hub-processes"
    READ_METRICS = "read-metrics"
    USE_GATEWAY = "use-gateway"
    # All people
    OWN_ACCOUNT = "own-account"
    # The hub's operator
    WATCH_HUB = "watch-hub"
    ORDER_CAMPAIGN = "order-campaign"
    ABORT_CAMPAIGN = "abort-campaign"
    # A bank, or another party
    ASK_SCORES = "ask-scores"
    READ_CONSENTS = "read-consents"
    TAKE_CONSENTS = "take-consents"
    READ_USAGE = "read-usage"
    READ_LEDGER = "read-ledger"
    CHECK_DATA = "check-data"
    ANSWER_TICKETS = "answer-tickets"
    # The witness
    OVERSEE = "oversee"
    OPEN_COMMITMENTS = "open-commitments"
    INSPECTION_FILE = "inspection-file"
    RECONCILE = "reconcile"
    APPROVE = "approve"
    # The Two Small platform
    USE_PLATFORM = "use-platform"
    REGISTER = "register"
    ADMIT_MERCHANTS = "admit-merchants"
    OWN_BUSINESS = "own-business"
    BANK_DESK = "bank-desk"
    OFFICE_DESK = "office-desk"
    READ_RECORD = "read-record"
    KEEP_REGISTER = "keep-register"
    # Those who watch the watchers
    READ_LOOKS = "read-looks"


@dataclass(frozen=True)
class Grant:
    """One row.

    Attributes:
        right: what is granted.
        allows: what that is, a sentence.
        who: whom it is granted to.
        endpoints: `(site, "METHOD /path")` of every route that asks for it; `WS` for a WebSocket.
    """

    right: Right
    allows: str
    who: frozenset[Who]
    endpoints: tuple[tuple[Site, str], ...]


def at(sites: Site | Iterable[Site], *routes: str) -> tuple[tuple[Site, str], ...]:
    """Routes as endpoints of one site or of several."""
    places: tuple[Site, ...] = (sites,) if isinstance(sites, str) else tuple(sites)
    return tuple((site, route) for site in places for route in routes)
