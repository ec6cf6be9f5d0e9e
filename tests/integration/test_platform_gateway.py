"""The platform at real gateways: asks for consents, sees them signed and revoked, and gets scores while they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crypto.jws import peek_payload
from crypto.wire.consent import ConsentTerms
from crypto.wire.consent_request import ConsentRequest
from hub.platform.gateway import GatewayConsents
from hub.platform.lending_errors import ConsentMissingError, GatewayError
from nodes.config import GatewayConfig
from nodes.gateway import GatewayServer, create_gateway
from nodes.gateway_batches import BatchDesk
from nodes.platform_client import PlatformClient
from nodes.services import Services
from tests.hub_merchants import Merchant
from tests.merchant_browser import offer
from tests.platform_world import PlatformWorld
from tests.scoring_answers import expected_score
from tests.scoring_world import ScoringWorld
from tests.unit.test_hub_invitations import post

TOKEN = "t" * 32
MERCHANT = "91331100MA2E0QXX0A"


@contextmanager
def gateway_of(agent: Services, folder: Path) -> Iterator[GatewayConsents]:
    """The agent's gateway on a port of its own, and the platform's client of it."""
    desk = BatchDesk(agent.batches)
    app = create_gateway(agent, desk, token=TOKEN, connected=lambda: True)
    server = GatewayServer(app, GatewayConfig(port=0, token_file=folder / "unused"), desk)
    server.start()
    try:
        with PlatformClient(f"http://127.0.0.1:{server.port}", TOKEN) as client:
            yield GatewayConsents(client)
    finally:
        server.stop()


@pytest.fixture
def market(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "platform")
    yield world
    world.close()


@pytest.fixture
def scoring(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path)
    world.release()
    world.heartbeat()
    yield world
    world.close()


def test_a_consent_is_asked_for_signed_and_revoked(market: PlatformWorld, tmp_path: Path) -> None:
    pseudonym = market.know(MERCHANT)
    with gateway_of(market.agents["platform"], tmp_path) as consents:
        asked = consents.ask(
            MERCHANT, "loan", {"recipients": ["platform", "bank-01"]}, key="financing-1", id_type="opaque"
        )
        again = consents.ask(
            MERCHANT, "loan", {"recipients": ["platform", "bank-01"]}, key="financing-1", id_type="opaque"
        )
        assert asked.request_id == again.request_id
        assert asked.invitation_link is not None
        assert consents.standing(asked.request_id) == "open"
        assert not consents.usable(MERCHANT, asked.request_id)

        token, jwk = offer(asked.invitation_link.partition("#")[2], market.now)
        assert post(market.http, "invitations/key", token).status_code == 201
        shop = Merchant(pseudonym, jwk)
        market.enrol_keys(shop)
        (found,) = market.hub.consent_requests.of_merchant(pseudonym).requests
        request = ConsentRequest.model_validate_json(peek_payload(found.request))
        assert request.terms.recipients == ("platform", "bank-01")
        fields = {name: getattr(request.terms, name) for name in ConsentTerms.model_fields}
        record_id, signed = market.consent(shop, record_id=request.request_id, **fields)
        market.hub.consents.submit([signed])
        assert consents.standing(asked.request_id) == "given"
        market.follow("platform")
        assert consents.usable(MERCHANT, asked.request_id)
        assert consents.revoke_link(MERCHANT, asked.request_id).endswith(f"#{asked.request_id}")

        market.hub.consents.submit_events([market.event(shop, record_id, "revoked")])
        # The hub's word is enough to stop, before the node's feed has brought the revocation.
        assert consents.standing(asked.request_id) == "revoked"
        assert not consents.usable(MERCHANT, asked.request_id)


def test_a_score_comes_while_the_consent_holds(scoring: ScoringWorld, tmp_path: Path) -> None:
    record = scoring.give("M001", purposes=("credit-scoring",))
    scoring.heartbeat()
    with gateway_of(scoring.nodes["lender"], tmp_path) as consents:
        found = consents.score("M001", record.record_id, "credit-scoring", key="score-0001")
        assert found.score == expected_score(scoring, "M001")
        assert found.band in "ABCDE"
        assert 0 < found.pd < 1
        with pytest.raises(ConsentMissingError, match="consent"):
            consents.score("M001", record.record_id, "pre-qualification", key="score-0002")
        with pytest.raises(ConsentMissingError):
            consents.score("M002", record.record_id, "credit-scoring", key="score-0003")
        scoring.change(record, "revoked")
        scoring.heartbeat()
        with pytest.raises(ConsentMissingError):
            consents.score("M001", record.record_id, "credit-scoring", key="score-0004")


def test_a_gateway_that_is_away_is_said_so() -> None:
    with PlatformClient("http://127.0.0.1:9", TOKEN) as client, pytest.raises(GatewayError) as refused:
        GatewayConsents(client).standing("0" * 32)
    assert "gateway-unreachable" in refused.value.message
    assert refused.value.remedy is not None
