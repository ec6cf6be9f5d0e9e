"""Who may do what: one table over every endpoint of the hub, of a node's gateway and of a node's pages.

It is documentation (docs/rights.md is made from it), the check itself (`models.web.access.needs` asks it), and a test
(tests/integration/test_rights_*.py walk every route of every application for every role). Whoever adds a route adds it
to the row of the right that it needs; a row's `who` is the only place where a role gets a right.
"""

from __future__ import annotations

from collections.abc import Iterable

from models.web.rights_platform import PLATFORM_RIGHTS
from models.web.rights_terms import PAGE_SITES, ROLES_AT, SITES, Caller, Grant, Right, Role, Site, at

__all__ = [
    "PAGE_SITES",
    "RIGHTS",
    "ROLES_AT",
    "SITES",
    "Caller",
    "Grant",
    "Right",
    "Role",
    "Site",
    "grant_at",
    "grant_of",
    "may",
]

RIGHTS: tuple[Grant, ...] = (
    Grant(
        Right.READ_PUBLIC,
        "Read what is public: who the hub is, the roster, the audit log and its proofs, released models, published "
        "statistics, assets.",
        frozenset({Caller.ANYONE}),
        at(
            "hub",
            "GET /v1/openapi.json",
            "GET /v1/health",
            "GET /healthz",
            "GET /readyz",
            "GET /v1/info",
            "GET /v1/roster",
            "GET /v1/log/checkpoint",
            "GET /v1/log/tile/{path:path}",
            "GET /v1/log/tiles/checkpoint",
            "GET /v1/log/tiles/tile/{path:path}",
            "GET /v1/log/entries",
            "GET /v1/log/search",
            "GET /v1/log/inclusion",
            "GET /v1/log/consistency",
            "GET /v1/log/export",
            "GET /v1/models",
            "GET /v1/models/rollbacks",
            "GET /v1/models/{model_id}",
            "GET /v1/models/{model_id}/card",
            "GET /v1/models/{model_id}/comparison",
            "GET /v1/models/{model_id}/release",
            "GET /v1/models/{model_id}/evaluation",
            "GET /v1/models/{model_id}/points",
            "GET /v1/models/{model_id}/stability",
            "GET /v1/models/{model_id}/table",
            "GET /v1/programme-statistics",
            "GET /v1/programme-statistics/{campaign_id}",
            "GET /v1/notices",
            "GET /v1/notices/{sha256}",
            "GET /static/hub/{path}",
        )
        + at("gateway", "GET /health", "GET /openapi.json")
        + at("platform", "GET /v1/openapi.json", "GET /healthz", "GET /readyz", "GET /static/hub/{path}")
        + at(PAGE_SITES, "GET /", "GET /static/web/{path}")
        + at(("bank", "witness"), "GET /static/nodes/{path}"),
    ),
    Grant(
        Right.SIGN_IN,
        "Sign in and out, and sign up with a one-time link.",
        frozenset({Caller.ANYONE}),
        at(
            PAGE_SITES,
            "GET /signin",
            "POST /signin",
            "POST /signin/passkey/options",
            "POST /signin/passkey",
            "GET /signup/{token}",
            "POST /signup/{token}",
            "POST /signup/{token}/passkey/options",
            "POST /signup/{token}/passkey",
            "POST /signout",
        ),
    ),
    Grant(
        Right.ENROL,
        "Enrol a party, under a one-time token from the hub's operator.",
        frozenset({Caller.INVITED}),
        at("hub", "POST /v1/enrolments"),
    ),
    Grant(
        Right.JOIN,
        "Bring a merchant's new key, under the one-time token of an invitation; it enrols nothing by itself.",
        frozenset({Caller.INVITED}),
        at("hub", "POST /v1/invitations/key", "POST /v1/invitations/state"),
    ),
    Grant(
        Right.PARTY_REQUESTS,
        "Act as an enrolled party: link, queries, pseudonyms, keys, consents that name it; each request signed.",
        frozenset({Caller.PARTY}),
        at(
            "hub",
            "WS /v1/link",
            "POST /v1/key-rotations",
            "POST /v1/key-successions",
            "POST /v1/charges",
            "POST /v1/merchant-keys",
            "POST /v1/voprf",
            "POST /v1/deletions",
            "POST /v1/queries",
            "GET /v1/consents/{record_id}",
            "GET /v1/consents/{record_id}/receipt",
            "POST /v1/consents/of-merchant",
            "POST /v1/invitations",
            "GET /v1/invitations/pending",
            "POST /v1/consent-requests",
            "GET /v1/consent-requests/{request_id}",
            "DELETE /v1/consent-requests/{request_id}",
            "GET /v1/tickets",
            "POST /v1/tickets/answers",
        ),
    ),
    Grant(
        Right.MERCHANT_REQUESTS,
        "Act as a merchant, on its own records alone: consents, changes of them, its record; each request signed.",
        frozenset({Caller.MERCHANT}),
        at(
            "hub",
            "POST /v1/consents",
            "POST /v1/consent-events",
            "POST /v1/merchants/records",
            "POST /v1/merchants/receipts",
            "POST /v1/merchants/requests",
            "POST /v1/consent-requests/refusals",
            "POST /v1/merchants/tickets",
            "POST /v1/merchants/tickets/list",
            "POST /v1/merchants/tickets/close",
            "POST /merchant/views/requests",
            "POST /merchant/views/request",
            "POST /merchant/views/consents",
            "POST /merchant/views/queries",
            "POST /merchant/views/keys",
            "POST /merchant/views/help",
            "POST /merchant/views/receipt",
            "POST /merchant/files/receipt",
            "POST /merchant/views/record",
            "POST /merchant/files/record",
            "POST /merchant/delivery",
        ),
    ),
    Grant(
        Right.ADMINISTER,
        "Administer the hub from its command line: parties, campaigns, releases.",
        frozenset({Caller.ADMIN}),
        at(
            "hub",
            "GET /v1/parties",
            "POST /v1/campaigns",
            "GET /v1/campaigns",
            "GET /v1/campaigns/{campaign_id}",
            "POST /v1/campaigns/{campaign_id}/abort",
            "POST /v1/campaigns/plan",
            "POST /v1/notices",
            "POST /v1/assessments",
            "GET /v1/assessments",
            "POST /v1/models/rollback",
            "POST /v1/models/{model_id}/release",
            "POST /v1/models/{model_id}/withdrawal",
        ),
    ),
    Grant(
        Right.READ_ASSESSMENTS,
        "Read the report of an impact assessment.",
        frozenset({Caller.ADMIN, Caller.WITNESS}),
        at("hub", "GET /v1/assessments/{sha256}"),
    ),
    Grant(
        Right.READ_METRICS,
        "Collect the hub's metrics: counts, times and sizes, nothing about a merchant.",
        frozenset({Caller.COLLECTOR}),
        at("hub", "GET /metrics"),
    ),
    Grant(
        Right.HUB_PROCESSES,
        "Reach the parties' links from the hub's other processes.",
        frozenset({Caller.INTERNAL}),
        at(
            "hub",
            "GET /v1/internal/links",
            "GET /v1/internal/link-states",
            "POST /v1/internal/links/{party_id}/{frame_type}",
            "POST /v1/internal/feeds",
        ),
    ),
    Grant(
        Right.USE_GATEWAY,
        "Ask for scores and merchants' consents, and read published statistics, from the owner's own systems.",
        frozenset({Caller.GATEWAY}),
        at(
            "gateway",
            "POST /score",
            "GET /models",
            "GET /consents",
            "POST /batches",
            "GET /batches/{batch_id}",
            "GET /batches/{batch_id}/results",
            "POST /batches/{batch_id}/retry",
            "DELETE /batches/{batch_id}",
            "POST /v1/consents/collect",
            "GET /v1/consents/requests/{request_id}",
            "DELETE /v1/consents/requests/{request_id}",
            "POST /v1/consents/status",
            "POST /v1/consents/revoke-link",
            "GET /v1/programme-statistics",
            "GET /v1/programme-statistics/{campaign_id}",
        ),
    ),
    Grant(
        Right.OWN_ACCOUNT,
        "See and change one's own account: passkeys, password, sessions.",
        frozenset(Role),
        at(
            PAGE_SITES,
            "GET /account",
            "POST /account/password",
            "POST /account/passkeys/options",
            "POST /account/passkeys",
            "POST /account/passkeys/remove",
            "POST /account/signout-everywhere",
        )
        + at("bank", "GET /bank"),
    ),
    Grant(
        Right.WATCH_HUB,
        "Watch nodes, campaigns, models, the budget plan and the audit log's head.",
        frozenset({Role.OPERATOR}),
        at(
            "hub",
            "GET /operator",
            "GET /operator/nodes",
            "GET /operator/campaigns",
            "GET /operator/campaigns/{campaign_id}",
            "GET /operator/campaigns/{campaign_id}/statistics",
            "GET /operator/campaigns/{campaign_id}/statistics.csv",
            "GET /operator/budget",
            "GET /operator/models",
            "GET /operator/models/{model_id}",
            "GET /operator/models/{model_id}/card",
            "GET /operator/models/{model_id}/comparison",
            "GET /operator/models/{model_id}/points",
            "GET /operator/log",
        ),
    ),
    Grant(
        Right.ORDER_CAMPAIGN,
        "Order a campaign.",
        frozenset({Role.OPERATOR}),
        at("hub", "GET /operator/campaigns/new", "POST /operator/campaigns/plan", "POST /operator/campaigns"),
    ),
    Grant(
        Right.ABORT_CAMPAIGN,
        "Abort a campaign.",
        frozenset({Role.OPERATOR}),
        at("hub", "POST /operator/campaigns/{campaign_id}/abort"),
    ),
    Grant(
        Right.MERCHANT_PAGES,
        "Open the merchant's pages; what they ask for is signed in the browser.",
        frozenset({Caller.ANYONE}),
        at(
            "hub",
            "GET /merchant",
            "GET /merchant/join",
            "GET /merchant/requests",
            "GET /merchant/consent",
            "GET /merchant/consents",
            "GET /merchant/queries",
            "GET /merchant/keys",
            "GET /merchant/help",
            "GET /merchant/record",
            "GET /merchant/receipt",
            "GET /merchant/counter",
        ),
    ),
    Grant(
        Right.ASK_SCORES,
        "Score merchants who consented, one or a file of them, with reasons.",
        frozenset({Role.RISK_OFFICER}),
        at(
            "bank",
            "GET /bank/score",
            "POST /bank/score",
            "GET /bank/batches",
            "POST /bank/batches",
            "GET /bank/batches/{batch_id}",
            "GET /bank/batches/{batch_id}/progress",
            "GET /bank/batches/{batch_id}/results",
            "POST /bank/batches/{batch_id}/pause",
            "POST /bank/batches/{batch_id}/resume",
            "POST /bank/batches/{batch_id}/retry",
            "POST /bank/batches/{batch_id}/forget",
        ),
    ),
    Grant(
        Right.READ_CONSENTS,
        "See what merchants consented to at this party.",
        frozenset({Role.RISK_OFFICER, Role.COUNTER_CLERK}),
        at(
            "bank",
            "GET /bank/consents",
            "POST /bank/consents",
        ),
    ),
    Grant(Right.TAKE_CONSENTS, "Assist a merchant's consent at the counter.", frozenset({Role.COUNTER_CLERK}), ()),
    Grant(
        Right.READ_USAGE,
        "See how many queries were asked and how they ended; no merchant is named.",
        frozenset({Role.RISK_OFFICER, Role.DATA_STEWARD, Role.OWNER}),
        at(
            "bank",
            "GET /bank/usage",
            "GET /bank/models/{model_id}/points",
        ),
    ),
    Grant(
        Right.READ_LEDGER,
        "See the privacy ledger, this node's contribution and its journal.",
        frozenset({Role.DATA_STEWARD, Role.OWNER}),
        at(
            "bank",
            "GET /bank/ledger",
            "GET /bank/ledger.csv",
            "GET /bank/contribution",
            "GET /bank/journal",
            "POST /bank/journal",
            "GET /bank/journal.ndjson",
        ),
    ),
    Grant(
        Right.CHECK_DATA,
        "Check the quality of this node's data; no values are shown.",
        frozenset({Role.DATA_STEWARD}),
        at(
            "bank",
            "GET /bank/data",
            "POST /bank/data",
            "GET /bank/data/progress",
        ),
    ),
    Grant(
        Right.ANSWER_TICKETS,
        "Answer merchants' requests for human review, correction and deletion.",
        frozenset({Role.RISK_OFFICER}),
        at(
            "bank",
            "GET /bank/tickets",
            "GET /bank/tickets/{ticket_id}",
            "POST /bank/tickets/{ticket_id}/open",
            "POST /bank/tickets/{ticket_id}/explain",
            "POST /bank/tickets/{ticket_id}/answer",
        ),
    ),
    Grant(
        Right.OVERSEE,
        "See campaigns, budgets, the verified log, its proofs and consent histories; no merchant is named.",
        frozenset({Role.REGULATOR, Role.INSPECTOR}),
        at(
            "witness",
            "GET /regulator",
            "GET /regulator/log",
            "GET /regulator/log/{index}",
            "GET /regulator/log/{index}/proof.json",
            "GET /regulator/checkpoints",
            "GET /regulator/checkpoints/proof.json",
            "GET /regulator/parties",
            "GET /regulator/models",
            "GET /regulator/models/{model_id}",
            "GET /regulator/models/{model_id}/card",
        ),
    ),
    Grant(
        Right.OPEN_COMMITMENTS,
        "Find a merchant's entries with the salts that the merchant handed over.",
        frozenset({Role.REGULATOR, Role.INSPECTOR}),
        at("witness", "GET /regulator/merchant", "POST /regulator/merchant"),
    ),
    Grant(
        Right.INSPECTION_FILE,
        "Make a signed inspection file.",
        frozenset({Role.REGULATOR, Role.INSPECTOR}),
        at("witness", "GET /regulator/inspection", "POST /regulator/inspection"),
    ),
    Grant(
        Right.RECONCILE,
        "Compare a node's journal with the log.",
        frozenset({Role.REGULATOR, Role.INSPECTOR}),
        at("witness", "GET /regulator/reconciliation", "POST /regulator/reconciliation"),
    ),
    Grant(
        Right.APPROVE,
        "Approve or refuse parties and model releases.",
        frozenset({Role.REGULATOR}),
        at(
            "witness",
            "POST /regulator/parties/{party_id}/approve",
            "POST /regulator/parties/{party_id}/withdraw",
            "POST /regulator/models/{model_id}/approve",
            "POST /regulator/models/{model_id}/refuse",
        ),
    ),
    *PLATFORM_RIGHTS,
    Grant(
        Right.READ_LOOKS,
        "Read who looked at personal data, when and why.",
        frozenset({Role.OWNER, Role.OPERATOR, Role.INSPECTOR, Role.REGULATOR}),
        at(PAGE_SITES, "GET /access-record"),
    ),
)

_BY_RIGHT = {grant.right: grant for grant in RIGHTS}
_BY_ENDPOINT = {endpoint: grant for grant in RIGHTS for endpoint in grant.endpoints}


def grant_of(right: Right) -> Grant:
    """The row of a right."""
    return _BY_RIGHT[right]


def grant_at(site: Site, endpoint: str) -> Grant | None:
    """The row that an endpoint (`"GET /path"`) stands in; None where the table does not know it."""
    return _BY_ENDPOINT.get((site, endpoint))


def may(roles: Iterable[Role], right: Right) -> bool:
    """Whether one of the roles has the right."""
    return not grant_of(right).who.isdisjoint(roles)
