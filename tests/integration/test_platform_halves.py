"""Privacy hub and platform, each with its own database, in one process and without a score: quick.

As processes, with all of the path: tests/deployment/test_platform_halves.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crypto.identifiers import uscc_check_digit
from crypto.jws import peek_payload
from crypto.wire.consent import ConsentTerms
from crypto.wire.consent_request import ConsentRequest
from hub.keys import write_secret
from hub.platform.config import GatewayOptions
from hub.platform.installation import initialise, opened
from hub.platform.merchants import Facts
from hub.platform.products import ProductTerms
from hub.platform.tables import base as platform_tables
from hub.tables import base as hub_tables
from nodes.config import GatewayConfig
from nodes.gateway import GatewayServer, create_gateway
from nodes.gateway_batches import BatchDesk
from nodes.tables.roster import PseudonymRow
from tests.halves import cells, files_with, places, spellings
from tests.hub_merchants import Merchant
from tests.lending_world import SHOP, apply
from tests.merchant_browser import offer
from tests.platform_world import TOKEN, PlatformWorld
from tests.unit.test_hub_invitations import post

BODY = "92331102MA2E0QXX0"
MERCHANT = BODY + uscc_check_digit(BODY)
NAME = "莲都惠民超市"


@pytest.fixture
def market(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path / "market", "platform")
    yield world
    world.close()


def test_neither_database_holds_the_others_half(market: PlatformWorld, tmp_path: Path) -> None:
    pseudonym = hashlib.sha256(MERCHANT.encode()).digest()
    agent = market.agents["platform"]
    with agent.runtime.store.session() as session:
        session.merge(PseudonymRow(id_type="uscc", identifier=MERCHANT, pseudonym=pseudonym))
    desk = BatchDesk(agent.batches)
    app = create_gateway(agent, desk, token=TOKEN, connected=lambda: True)
    server = GatewayServer(app, GatewayConfig(port=0, token_file=tmp_path / "unused"), desk)
    server.start()
    made = initialise(tmp_path / "two-small", party_id="platform", port=18450)
    write_secret(made.gateway.token_file, TOKEN.encode())
    gateway = GatewayOptions(url=f"http://127.0.0.1:{server.port}", token_file=made.gateway.token_file)
    config = made.model_copy(update={"gateway": gateway})
    try:
        with opened(config, clock=lambda: market.now) as (platform, register):
            with platform.db.session() as session:
                facts = Facts("supermarket", NAME, "5212", "331102", "310115")
                account = register.register_in(session, "operator:li", register.checked("uscc", MERCHANT, facts))
            terms = ProductTerms.model_validate({**SHOP, "on_offer_from": market.now.date().isoformat()})
            platform.products.publish("bank:bank-01", [terms])
            today = platform.lending.today()
            (asked,) = platform.financings.execute(
                "bank-01", "bank:bank-01", [apply(account_id=account.account_id, applied_on=today)]
            )
            financing = asked.financing.financing_id
            with platform.db.reading() as session:
                borrower = register.borrower(session, account.account_id)
            request = platform.scores.ask(financing, borrower, actor="bank:bank-01")

            assert request.invitation_link is not None
            token, jwk = offer(request.invitation_link.partition("#")[2], market.now)
            assert post(market.http, "invitations/key", token).status_code == 201
            shop = Merchant(pseudonym, jwk)
            market.enrol_keys(shop)
            (found,) = market.hub.consent_requests.of_merchant(pseudonym).requests
            terms_asked = ConsentRequest.model_validate_json(peek_payload(found.request)).terms
            fields = {name: getattr(terms_asked, name) for name in ConsentTerms.model_fields}
            record_id, signed = market.consent(shop, record_id=request.request_id, **fields)
            market.hub.consents.submit([signed])
            market.hub.consents.submit_events([market.event(shop, record_id, "revoked")])
            market.follow("platform")
            assert platform.scores.refresh(financing, borrower).financing.state == "withdrawn"

            theirs = cells(market.hub.db, hub_tables.load_tables())
            ours = cells(platform.db, platform_tables.load_tables())
            # What is each one's own is found there: the search works.
            assert "consents" in places(theirs, *spellings(pseudonym))
            assert {"merchants", "financings", "audit"} <= places(ours, account.account_id.encode())
            assert places(ours, NAME.encode()) >= {"merchants", "merchant_versions"}
            # The other's half is nowhere.
            assert places(ours, *spellings(pseudonym)) == set()
            known_here = (MERCHANT.encode(), NAME.encode(), account.account_id.encode(), financing.encode())
            assert places(theirs, *known_here, *spellings(bytes.fromhex(account.account_id))) == set()
            assert places(ours, MERCHANT.encode()) == set()  # sealed
    finally:
        server.stop()
    assert files_with(tmp_path / "two-small", *spellings(pseudonym), MERCHANT.encode()) == set()
