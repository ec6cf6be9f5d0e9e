"""The demo's queries: answered where two signatures stand, refused by the nodes themselves where not."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hub.demo.errors import DemoError
from hub.demo.federation import PLATFORM, Federation
from hub.demo.merchants import event_of
from hub.demo.people import Signed

REVOCATION_SECONDS = 2.0


@dataclass
class Queries:
    """What came of the queries; `answers` are who asked, about whom, and the answer."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    revoked_refused: bool = False
    revocation_seconds: float | None = None
    example: dict[str, Any] | None = None
    answers: list[tuple[str, Signed, dict[str, Any]]] = field(default_factory=list)


def ask(federation: Federation, queries: Queries, party_id: str, signed: Signed) -> dict[str, Any]:
    """Ask for one score under the merchant's own consent; count what came of it and return the body."""
    body = {"id": signed.merchant.merchant_id, "consent_id": signed.record_id}
    answer = federation.score(party_id, body)
    found: dict[str, Any] = answer.json()
    if answer.is_success:
        queries.answered += 1
        queries.answers.append((party_id, signed, found))
        queries.example = queries.example or found
    else:
        for code in set((found.get("refusals") or {party_id: found.get("code", "unknown")}).values()):
            queries.refused[code] += 1
    return found


def run_queries(federation: Federation, signed: list[Signed], count: int) -> Queries:
    """Consented queries by banks and the platform, unconsented ones, and a revoked one.

    Raises:
        DemoError: an unconsented query was answered.
    """
    queries = Queries()
    cross = [each for each in signed if len(each.merchant.sources) == 3]
    full = [each for each in cross if len(each.plan.recipients) == 2 and "credit-scoring" in each.plan.purposes]
    for place, each in enumerate(full[:count]):
        asker = each.merchant.sources["bank"] if place % 2 == 0 else PLATFORM.party_id
        ask(federation, queries, asker, each)
    before = queries.answered
    for each in [each for each in cross if each.plan.purposes == ("model-training",)][:3]:
        ask(federation, queries, each.merchant.sources["bank"], each)
    for each in [each for each in cross if each.plan.recipients == (PLATFORM.party_id,)][:3]:
        ask(federation, queries, each.merchant.sources["bank"], each)
    if queries.answered != before:
        raise DemoError("a query without consent was answered")
    _revoke(federation, queries, full[0])
    return queries


def _revoke(federation: Federation, queries: Queries, signed: Signed) -> None:
    """The merchant revokes; the same bank asks again under the same consent."""
    federation.post("/v1/consent-events", {"tokens": [event_of(signed.merchant, signed.record_id, "revoked")]})
    start = time.monotonic()
    while time.monotonic() - start < REVOCATION_SECONDS:
        before = queries.answered
        found = ask(federation, queries, signed.merchant.sources["bank"], signed)
        if queries.answered == before:
            queries.revocation_seconds = round(time.monotonic() - start, 3)
            queries.revoked_refused = "consent-revoked" in (found.get("refusals") or {"": found.get("code")}).values()
            return
