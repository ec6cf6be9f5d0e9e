"""docs/platform.md is true: its code runs, in order, against a gateway that listens, while a merchant answers."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto.jws import peek_payload
from crypto.wire.consent import ConsentTerms
from crypto.wire.consent_request import ConsentRequest
from nodes.gateway import GatewayServer, create_gateway, gateway_token
from nodes.gateway_batches import BatchDesk
from nodes.platform_client import PlatformClient, PlatformError
from tests.hub_merchants import Merchant
from tests.merchant_browser import offer
from tests.platform_world import PlatformWorld
from tests.unit.test_hub_invitations import post

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "platform.md").read_text(encoding="utf-8"), re.DOTALL)
MERCHANT = "91331100MA2E0QXX0A"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "platform")
    yield world
    world.close()


@pytest.fixture
def served(world: PlatformWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The platform's gateway on a port of its own; gives its address."""
    agent = world.agents["platform"]
    config = agent.runtime.config.gateway
    assert config is not None
    desk = BatchDesk(agent.batches)
    app = create_gateway(agent, desk, token=gateway_token(config), connected=lambda: True)
    server = GatewayServer(app, config.model_copy(update={"port": 0}), desk)
    server.start()
    url = f"http://127.0.0.1:{server.port}"
    monkeypatch.setenv("DIGUA_GATEWAY", url)
    monkeypatch.setenv("DIGUA_GATEWAY_TOKEN_FILE", str(config.token_file))
    yield url
    server.stop()


def test_the_page_runs_from_top_to_bottom(
    world: PlatformWorld, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up, ask, again, other, answer, consents, end, statistics, refused = BLOCKS
    pseudonym = world.know(MERCHANT)
    names: dict[str, Any] = {}

    def run(block: str) -> list[str]:
        exec(compile(block, "docs/platform.md", "exec"), names)
        return capsys.readouterr().out.splitlines()

    run(set_up)
    invitation, link = run(ask)
    run(again)
    run(other)
    assert run(answer) == ["open None"]
    token, jwk = offer(invitation.partition("#")[2], world.now)
    assert post(world.http, "invitations/key", token).status_code == 201
    shop = Merchant(pseudonym, jwk)
    world.enrol_keys(shop)
    (asked,) = (each for each in world.hub.consent_requests.of_merchant(pseudonym).requests if each.state == "open")
    request = ConsentRequest.model_validate_json(peek_payload(asked.request))
    assert link.endswith(request.request_id)
    fields = {name: getattr(request.terms, name) for name in ConsentTerms.model_fields}
    world.hub.consents.submit([world.consent(shop, record_id=request.request_id, **fields)[1]])
    assert run(answer) == ["signed given"]
    world.follow("platform")
    assert run(consents) == [f"{request.request_id} active given ('bank-01', 'platform') True"]
    assert run(end)[0].endswith(f"/merchant/consents#{request.request_id}")
    assert run(statistics) == []  # of a hub that has published some: tests/integration/test_statistics_published.py
    assert run(refused)[0].startswith("400 gateway-refused template ")


def test_a_gateway_that_is_not_there_or_none_is_said_so(served: str) -> None:
    with PlatformClient("http://127.0.0.1:9", "x") as nowhere, pytest.raises(PlatformError) as refused:
        nowhere.consents(MERCHANT)
    assert (refused.value.status, refused.value.code) == (0, "gateway-unreachable")
    with PlatformClient(served, "wrong", language="en") as closed, pytest.raises(PlatformError) as refused:
        closed.consents(MERCHANT)
    assert (refused.value.status, refused.value.code, refused.value.field) == (401, "gateway-refused", "Authorization")


def test_the_client_can_be_copied() -> None:
    tree = ast.parse((ROOT / "nodes" / "platform_client.py").read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"httpx"}
