"""The Two Small platform beside a federation, each party a process with a folder and a database of its own.

`tests.web.platform_federation` sets the parties up and trains and releases a model. Then every party runs as its owner
would run it: `digua-hub serve`, `digua-node run`, `digua-hub platform serve`.
"""

from __future__ import annotations

import csv
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml

from crypto.canonical import canonical_bytes
from crypto.jws import peek_payload, sign_merchant
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentRecord
from crypto.wire.consent_request import ConsentRequest, ReceivedRequests
from crypto.wire.service import MerchantRequest
from hub.demo.merchants import Merchant, event_of
from hub.demo.processes import ProcessGroup, executable
from hub.keys import write_secret
from hub.platform.callers import Caller
from hub.platform.installation import at_desk, initialise
from hub.platform.products import ProductTerms
from models.artefact import ModelArtefact
from models.web.rights import Role
from nodes.config import key_to_text
from tests.lending_world import SHOP
from tests.served_world import free_port
from tests.web.platform_federation import TOKEN, TwoSmallFederation

VALUES = {"-1": "-1.48213907", "0.5": "0.53179264", "2": "2.71640385"}
"""Of the sources' numeric features: such as nobody would find by chance."""
_WAIT_S = 300.0


class MarkedFederation(TwoSmallFederation):
    """Its sources' tables have values that a search can tell from all others."""

    def _write_table(self, party: str, kind: str) -> Path:
        path = super()._write_table(party, kind)
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *([VALUES.get(each, each) for each in row] for row in rows)])
        return path


class TwoSmallProcesses:
    """All of them running.

    Attributes:
        identifier, bank: a merchant's, and its bank.
        score: what its joined row scores by the released model.
        pseudonyms: of all merchants.
        hub, platform: the folders of the two.
        url: of the hub.
        origin: of the platform's pages and API.
        sign_up: an operator's one-time link.
    """

    def __init__(self, base: Path) -> None:
        self.hub, self.platform = base / "hub", base / "two-small"
        self._closing = ExitStack()
        made = MarkedFederation(base, merchants=200, nodes={"bank": 2, "tax": 1, "utility": 1}, scores=20)
        try:
            made.release()
            made.join_platform()
            self._remember(made)
            configured = {party: self._configure(made, party) for party in ("witness", *self._sources, "platform")}
        finally:
            made.close()
        self._make_platform()
        self.group = self._closing.enter_context(ProcessGroup(base / "logs"))
        self._hub = self._closing.enter_context(httpx.Client(base_url=self.url, trust_env=False, timeout=60))
        try:
            self._start(configured)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._closing.close()

    # Making it

    def _remember(self, made: TwoSmallFederation) -> None:
        row = made.row
        self.identifier, self.bank, self.pseudonyms = made.identifier, made.bank, [bytes(e) for e in made.pseudonyms]
        self.merchant: Merchant = made.merchants[row]
        self.consents = list(made.records)
        self._sources = sorted({str(held[row]) for held in made.sources.values()})
        self.url = made.url
        (model,) = made.hub.models.all()
        card = ModelArtefact.from_bytes(made.hub.models.artefact(model.model_id)).card()
        self.model_id = model.model_id
        self.score = int(card.score({kind: codes[row : row + 1] for kind, codes in made.codes.items()})[0])

    def _configure(self, made: TwoSmallFederation, party: str) -> Path:
        """Write a node's configuration as its owner would."""
        config = made.agents[party].config
        fields = config.model_dump(mode="json", by_alias=True, exclude_none=True)
        trust = config.require_trust()
        fields["trust"] |= {
            "hub_sign_key": key_to_text(trust.hub_sign_key),
            "witness_sign_key": key_to_text(trust.witness_sign_key),
        }
        if party == "platform":
            self._gateway = fields["gateway"]["port"] = free_port()
            write_secret(Path(fields["gateway"]["token_file"]), TOKEN.encode())
        path = made.base / party / "node.yaml"
        path.write_text(yaml.safe_dump(fields, allow_unicode=True), encoding="utf-8")
        return path

    def _make_platform(self) -> None:
        port = free_port()
        config = initialise(self.platform, party_id="platform", port=port)
        file = self.platform / "platform.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("http://127.0.0.1:8090", f"http://127.0.0.1:{self._gateway}"), encoding="utf-8")
        write_secret(config.gateway.token_file, TOKEN.encode())
        self.origin = f"http://localhost:{port}"
        with at_desk(config) as desk:
            assert desk.people is not None
            self.sign_up = desk.people.make("li.na", Role.OPERATOR, "operator", actor="operator:root")
            self._key = desk.callers.make(Caller("bank", self.bank), actor="operator:root")
            terms = {**SHOP, "bank": self.bank, "rule": {"kinds": ["supermarket"], "bands": list("ABCDE")}}
            desk.products.publish(f"bank:{self.bank}", [ProductTerms.model_validate(terms)])

    def _start(self, configured: dict[str, Path]) -> None:
        hub, node = executable("digua-hub"), executable("digua-node")
        self.group.start("hub", [hub, "serve", "--config", str(self.hub / "hub.yaml")])
        for party, config in configured.items():
            self.group.start(party, [node, "run", "--config", str(config)])
        self.group.start("two-small", [hub, "platform", "serve", "--config", str(self.platform / "platform.yaml")])
        token = (self.hub / "admin.token").read_text(encoding="utf-8").strip()
        admin = {"Authorization": f"Bearer {token}"}

        def linked() -> bool:
            found = self._hub.get("/v1/parties", headers=admin).raise_for_status().json()["parties"]
            return set(configured) <= {each["party_id"] for each in found if each["connected"]}

        def answering() -> bool:
            gateway = httpx.get(f"http://127.0.0.1:{self._gateway}/health", trust_env=False)
            return gateway.is_success and httpx.get(f"{self.origin}/readyz", trust_env=False).is_success

        for what, ready in (("links", linked), ("gateway and platform", answering)):
            self.group.wait_until(what, lambda ready=ready: _there(ready), _WAIT_S)  # type: ignore[misc]

    # What people and systems do

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait while all processes live."""

        def slowly() -> bool:
            found = ready()
            if not found:
                time.sleep(0.3)
            return found

        self.group.wait_until(what, slowly, _WAIT_S)

    def bank_call(self, method: str, path: str, body: Any = None) -> Any:
        """What the bank's core system asks of the platform's API."""
        headers = {"Authorization": f"Bearer {self._key}"} | (
            {"Idempotency-Key": secrets.token_hex(16)} if body else {}
        )
        answer = httpx.request(
            method, f"{self.origin}/v1{path}", json=body, headers=headers, trust_env=False, timeout=60
        )
        assert answer.is_success, answer.text
        return answer.json()

    def sign(self, request_id: str) -> str:
        """The merchant's phone reads a request at the hub and agrees to all of it; returns what it signed."""
        asked = MerchantRequest(
            suite=SUITE,
            pii_principal_id=self.merchant.pseudonym,
            nonce=secrets.token_bytes(16),
            issued_at=datetime.now(UTC),
        )
        found = ReceivedRequests.model_validate_json(
            self._post("merchants/requests", self._signed(canonical_bytes(asked), "merchant-request"))
        )
        requests = (ConsentRequest.model_validate_json(peek_payload(each.request)) for each in found.requests)
        terms = next(each.terms for each in requests if each.request_id == request_id)
        record = ConsentRecord(
            **dict(terms),
            suite=SUITE,
            schema_version="27560-1",
            record_id=request_id,
            pii_principal_id=self.merchant.pseudonym,
            event_time=datetime.now(UTC),
        )
        token = self._signed(canonical_bytes(record), "consent")
        self._post("consents", f'{{"tokens": ["{token}"]}}')
        return token

    def revoke(self, consent_id: str) -> str:
        """The merchant's phone revokes a consent at the hub; returns what it signed."""
        token = event_of(self.merchant, consent_id, "revoked")
        self._post("consent-events", f'{{"tokens": ["{token}"]}}')
        return token

    def _signed(self, payload: bytes, typ: str) -> str:
        return sign_merchant(payload, self.merchant.jwk, typ=typ, kid=self.merchant.kid)

    def _post(self, path: str, body: str) -> bytes:
        answer = self._hub.post(f"/v1/{path}", content=body, headers={"Idempotency-Key": secrets.token_hex(8)})
        assert answer.is_success, answer.text
        return answer.content


def _there(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except httpx.TransportError:
        return False
