"""Everything that a federation logs while it works, fails and is attacked: nobody's data, in no form; one id a request.

Hub, witness and nodes run in this process, worker and campaign in processes of their own; all write to one standard
error, as in production, and every value that is somebody's is looked for in it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from websockets.sync.client import connect

from crypto.frames import encode_frame
from crypto.synthetic_codes import synthetic_usccs
from crypto.wire.link import Frame
from hub.embedded_worker import EmbeddedWorker
from models.ops.logs import LogOutput, bridge_logs, configure_logs
from models.ops.trace_context import TraceContext, carrying
from nodes.enquiries import Enquiry
from nodes.errors import NodeError
from nodes.gateway import create_gateway
from nodes.gateway_batches import BatchDesk
from tests.assessments import assess
from tests.served_world import Agent, ServedWorld, wait_until

PHONE, PERSON, PASSWORD, SIGN_UP = "13800138000", "王小明", "correct horse battery", "a-secret-sign-up-link"
LOG = "standard-error"
GATEWAY_TOKEN = "gateway-token-of-the-test"


class CodedWorld(ServedWorld):
    """Its merchants have codes of the real form."""

    def _draw(self, *given: Any) -> None:
        super()._draw(*given)
        self.ids = synthetic_usccs(["331100"] * len(self.ids), 4000)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[CodedWorld]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logs(LogOutput(level="info", requests=True))
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = (tmp_path / LOG).open("w", buffering=1)
    handler.setStream(stream)
    standard_error = os.dup(2)
    os.dup2(stream.fileno(), 2)  # for the processes that are started below, worker and campaign
    made = CodedWorld(
        tmp_path,
        merchants=90,
        nodes={"bank": 1, "tax": 1, "utility": 1},
        scores=20,
        hub_yaml="logs: {level: info, requests: true}\n",
    )
    (worker,) = [part for part in made.hub.parts if isinstance(part, EmbeddedWorker)]
    wait_until(lambda: worker.process is not None, what="the worker")
    os.dup2(standard_error, 2)
    os.close(standard_error)
    yield made
    made.close()
    root.handlers[:] = before
    root.setLevel(level)
    bridge_logs()
    stream.close()


def personal(world: CodedWorld) -> dict[str, str]:
    """Every value that is somebody's, or opens something → what it is."""
    raw: dict[bytes, str] = {}
    texts = dict.fromkeys((PHONE, PERSON, PASSWORD, SIGN_UP, GATEWAY_TOKEN), "typed in")
    texts |= dict.fromkeys(world.ids, "identifier")
    for merchant in world.merchants:
        raw[merchant.pseudonym] = "pseudonym"
        texts |= {merchant.jwk[name]: f"key {name}" for name in ("d", "x")}
    for record_id in world.records:
        texts[record_id] = "consent id"
        raw[bytes.fromhex(record_id)] = "consent id"
    config = world.hub.config
    for file in (config.admin_token_file, config.internal_token_file, config.metrics_token_file):
        texts[file.read_text().strip()] = file.name
    raw[world.hub.keys.signing[0].raw] = "hub's key"
    for name, agent in world.agents.items():
        raw[agent.runtime.keys.identity.raw] = f"{name}'s key"
        raw[agent.runtime.box.raw] = f"{name}'s box key"
    for value, what in raw.items():
        forms = {value.hex(), value.hex().upper(), b64encode(value).decode(), repr(value)[2:-1]}
        texts |= dict.fromkeys((*forms, urlsafe_b64encode(value).decode().rstrip("=")), what)
        texts[hashlib.sha256(value).hexdigest()] = f"hash of {what}"
    return texts


def asker(world: CodedWorld) -> tuple[Agent, str]:
    row = next(r for r in range(len(world.ids)) if world.lets_score(r) and world.sources["tax"][r] is not None)
    return world.agents["bank-1"], world.ids[row]


def attack(world: CodedWorld) -> None:
    """Malformed and forged requests that carry personal data wherever they can."""
    pseudonym, consent = world.merchants[0].pseudonym.hex(), world.records[0]
    key = {"Idempotency-Key": "k" * 20}
    with httpx.Client(base_url=world.url, trust_env=False, timeout=30) as client:
        for path in ("/v1/queries", "/v1/consents", "/v1/consent-events", "/v1/enrolments", "/v1/voprf"):
            for body in (f'{{"id": "{world.ids[0]}", "phone": "{PHONE}"}}', f"{pseudonym}.{consent}.{PHONE}", "\x00"):
                assert client.post(path, content=body, headers=key).status_code >= 400
        for path in (f"/v1/consents/{consent}", f"/v1/models/{pseudonym}", f"/signup/{SIGN_UP}", f"/{PERSON}"):
            assert client.get(path, headers={"Accept": "text/html"}).status_code >= 400
        for _ in range(3):
            client.post("/signin", data={"name": PERSON, "password": PASSWORD, "code": PHONE})
            client.post("/v1/campaigns", json={"name": PERSON}, headers={**key, "Authorization": f"Bearer {PASSWORD}"})
    address = world.url.replace("http", "ws") + "/v1/link"
    for frame in (b"\x00" + world.ids[0].encode(), encode_frame(Frame(type="hello", id="1", body=pseudonym.encode()))):
        with connect(address, proxy=None) as socket:
            socket.recv(10)
            socket.send(frame)
            socket.recv(10)


def gateway(world: CodedWorld) -> None:
    agent, merchant = asker(world)
    app = create_gateway(agent.services, BatchDesk(agent.services.batches), token=GATEWAY_TOKEN, connected=lambda: True)
    client = TestClient(app, raise_server_exceptions=False, headers={"Authorization": f"Bearer {GATEWAY_TOKEN}"})
    assert client.post("/score", json={"id": merchant}).status_code == 200
    assert client.post("/score", json={"id": PERSON, "phone": PHONE}).status_code == 400
    assert client.post("/score", json={"id": PHONE}).status_code >= 400
    assert client.get("/consents", params={"id": merchant}).status_code == 200
    assert client.get(f"/nowhere/{merchant}").status_code == 404


def lines_of(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_nothing_logged_is_anybodys(world: CodedWorld, tmp_path: Path) -> None:
    state = world.ended(world.start(noise="off"))
    assert state["status"] == "succeeded", state["failure"]
    assess(world.hub, str(state["campaign_id"]))
    release = world.http.post(f"/v1/models/{state['model_id']}/release", headers={"Idempotency-Key": "r" * 20})
    assert release.status_code == 200, release.text
    wait_until(world._feeds_followed, what="the release at the nodes")
    gateway(world)
    attack(world)

    agent, merchant = asker(world)

    def fail(body: bytes) -> bytes:
        raise ValueError(f"{merchant} {PERSON} {PHONE} {world.merchants[0].pseudonym!r}")

    world.agents["tax-1"].runtime.handlers["query"] = fail
    asked = TraceContext.fresh()
    with carrying(asked), pytest.raises(NodeError):
        agent.services.enquiries.score(Enquiry(merchant), purpose="credit-scoring")

    said = (tmp_path / LOG).read_text()
    for value, what in personal(world).items():
        assert value not in said, f"{what} stands in the log: {next(x for x in said.splitlines() if value in x)}"

    lines = lines_of(said)
    loggers = {str(line.get("logger")) for line in lines}
    assert {"hub.links", "hub.campaigns", "nodes.link", "requests"} <= loggers
    of_request = [line for line in lines if line.get("request_id") == asked.trace_id]
    assert ("request-failed", "nodes.link") in {(line["event"], line["logger"]) for line in of_request}
    assert "/v1/queries" in {line.get("path") for line in of_request}
    failed = next(line for line in of_request if line["event"] == "request-failed")
    assert failed["exception"].endswith("builtins.ValueError")
    assert not [line for line in lines if "withheld" in line], "a field that the guard does not know"
