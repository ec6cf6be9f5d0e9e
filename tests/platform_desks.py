"""The platform's desks with something on them: a merchant, financings, an offer, a dead event, a programme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from hub.platform.financing_orders import Order
from hub.platform.reach import ReachTable
from models.scorecard import BANDS
from models.web.access import SESSION
from models.web.csrf import FIELD, form_token
from models.web.rights import Role
from tests.lending_world import ACTOR, BANK, DAY, apply, offer, order
from tests.platform_site import ORIGIN, PlatformSite
from tests.rights_walk import People
from tests.unit.test_hub_platform_merchants import uscc

HOSTILE = "<script>alert(1)</script>"
SAME_ORIGIN = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
REACH: dict[str, Any] = {
    "model_id": "sha256:" + "b" * 64,
    "source": "c-1/evaluation",
    "sigma": 4.0,
    "share": 0.5,
    "cells": [{"band": band, "count": count} for band, count in zip(BANDS, (40, 30, 20, 10, 5), strict=True)],
}


class Desks(PlatformSite):
    """A platform whose desks have work; merchant number 1 has a gateway that answers with band B."""

    def __init__(self, base: Path, **options: Any) -> None:
        super().__init__(base, **options)
        self.shop = self.merchant()
        self.consents.bands[uscc(1)] = "B"

    def reader(self, role: Role, *, party: str | None = None, language: str = "zh") -> Reader:
        name = f"{role}.{len(self.access.people.all())}"
        return Reader(self, self.person(role, name, party), language)

    def execute(self, *orders: Order, bank: str = BANK) -> str:
        """Orders of a bank; the id of the last one's financing."""
        actor = f"bank:{bank}"
        return self.platform.financings.execute(bank, actor, orders)[-1].financing.financing_id

    def applied(self, reference: str = "L-1", **changes: Any) -> str:
        return self.execute(apply(reference, account_id=self.shop.account_id, **changes))

    def paid_out(self, reference: str = "L-2") -> str:
        self.applied(reference)
        return self.execute(
            order("score", reference),
            offer(reference),
            order("contract", reference, on=DAY),
            order("disburse", reference, on=DAY),
        )

    def scored(self, reference: str = "L-3") -> str:
        """An application with a consented score; the request that the merchant agreed to is the newest."""
        name = self.applied(reference)
        with self.platform.db.reading() as session:
            borrower = self.platform.merchants.borrower(session, self.shop.account_id)
        asked = self.platform.scores.ask(name, borrower, actor="platform")
        self.consents.words[asked.request_id] = "given"
        self.platform.scores.refresh(name, borrower)
        return name

    def offered(self, bank: str = BANK) -> str:
        """An open offer of a bank to the merchant, that allowed it."""
        account, desk = self.shop.account_id, self.platform.offers
        desk.allow(account, bank, uscc(1), actor=f"merchant:{account}", id_type="uscc", recipients=("two-small",))
        self.consents.words[self.consents.newest()] = "given"
        desk.refresh(account, bank, uscc(1))
        return desk.offers_of(bank).offers[0].offer_id

    def dead_event(self, failure: str = "HTTP 503") -> str:
        with self.world.db.session() as session:
            self.world.box.add(session, BANK, "financing.scored", {"reference": "L-1"})
        event_id = self.platform.events.claim(1)[0].event_id
        self.platform.events.failed(event_id, failure, again_in=None)
        return event_id

    def reach(self) -> None:
        self.platform.products.take_reach_table(ACTOR, ReachTable.model_validate(REACH))


class Reader:
    """Somebody signed in, with a browser that sends forms as pages of ours do."""

    def __init__(self, desks: Desks, session: str, language: str) -> None:
        self.desks = desks
        self.session = session
        self.http: TestClient = People(desks.app).client(session, accept="text/html")
        self.http.cookies.set("digua_lang", language)

    def get(self, path: str) -> Response:
        return self.http.get(path)

    def text(self, path: str) -> str:
        found = self.get(path)
        assert found.status_code == 200, (path, found.status_code, found.text[-800:])
        return found.text

    def post(self, path: str, *, files: Any = None, **fields: str) -> Response:
        token = form_token(self.desks.access.vault, self.session)
        return self.http.post(path, data={FIELD: token, **fields}, files=files, headers=SAME_ORIGIN)

    @property
    def cookie(self) -> str:
        return self.desks.access.site.cookie(SESSION)
