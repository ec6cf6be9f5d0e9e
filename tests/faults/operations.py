"""What is done while something is spoiled: one call, and what must be true once it is answered."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, ClassVar

import httpx

from hub.audit import verify_export
from hub.demo.merchants import Merchant, event_of
from tests.assessments import submission
from tests.faults.campaigns import Ended, check_bytes, check_charges, check_log, end_of, ordered, released, run_campaign
from tests.faults.market import SOURCES, Market, consent, entries_about, held, queries_logged, quiet
from tests.faults.world import CALLER, PARTIES, REQUESTER, FaultWorld

SOURCE = "tax-1"


class Operation(ABC):
    """One call.

    Attributes:
        caller: whose relay its request passes.
        request: bytes that its request holds, there.
        link_party: to whom the hub sends a frame for it.
        link_request: bytes that the frame holds.
        gateway: whether it is a call of the requester's own API.
    """

    caller: ClassVar[str] = CALLER
    request: ClassVar[bytes]
    link_party: ClassVar[str] = SOURCE
    link_request: ClassVar[bytes] = b"\xa4feed"
    gateway: ClassVar[bool] = False
    path: str
    body: Any

    def __init__(self, market: Market) -> None:
        self.market, self.world = market, market.world
        self.key = secrets.token_hex(16)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """What must be there before."""

    @abstractmethod
    def check(self, answer: httpx.Response) -> None:
        """What must be true once it is answered."""

    def settle(self, answer: httpx.Response) -> None:  # noqa: B027  (most end with their answer)
        """Wait for what goes on after the answer."""

    def attempt(self) -> httpx.Response:
        """One try, always the same."""
        return self.world.attempt(self.path, self.body, self.key, gateway=self.gateway)


class Consent(Operation):
    request, path = b"POST /v1/consents", "/v1/consents"

    def prepare(self) -> None:
        self.merchant = self.market.somebody()[1]
        self.before = entries_about(self.world, self.merchant)
        self.record, token = consent(self.merchant)
        self.body = {"tokens": [token]}

    def check(self, answer: httpx.Response) -> None:
        world, record = self.world, self.record
        world.until(lambda: held(world, SOURCE, record) == "given", what="the consent at the source")
        kept = [each.record.record_id for each in world.hub.consents.of_merchant(self.merchant.pseudonym)]
        assert kept.count(record) == 1
        _logged_once(self, Counter(consent=1))


class Revocation(Operation):
    request, path = b"POST /v1/consent-events", "/v1/consent-events"

    def prepare(self) -> None:
        self.merchant = self.market.somebody()[1]
        self.record, token = consent(self.merchant)
        self.world.post("/v1/consents", {"tokens": [token]})
        self.world.until(lambda: held(self.world, SOURCE, self.record) == "given", what="the consent at the source")
        self.world.until(lambda: quiet(self.world), what="a log that is whole")
        self.before = entries_about(self.world, self.merchant)
        self.body = {"tokens": [event_of(self.merchant, self.record, "revoked")]}

    def check(self, answer: httpx.Response) -> None:
        world, record = self.world, self.record
        world.until(lambda: held(world, SOURCE, record) == "revoked", what="the revocation at the source")
        stored = world.hub.consents.read(record)
        assert (stored.state, len(stored.events)) == ("revoked", 1)
        _logged_once(self, Counter({"consent-event": 1}))
        world.until(world.connected, what="all links")
        refused = world.refused_by_gateway("/score", {"id": self.merchant.merchant_id, "consent_id": record})
        assert refused["refusals"][SOURCE] == "consent-revoked", refused


class Query(Operation):
    caller, gateway = REQUESTER, True
    request, path, link_request = b"POST /v1/queries", "/score", b"\xa5query"

    def prepare(self) -> None:
        self.row, merchant = self.market.somebody()
        self.record = self.world.made.records[self.row]
        self.body = {"id": merchant.merchant_id, "consent_id": self.record, "model_id": self.market.model_id}
        self.uses = self._uses()
        self.known = queries_logged(self.world)

    def check(self, answer: httpx.Response) -> None:
        assert answer.json()["score"] == self.market.score(self.row)
        self.market.requests += 1
        assert self.attempt().json() == answer.json()
        # A query that a source refused, and the one sent in its place, count one by one; hub and sources agree.
        new = len(queries_logged(self.world) - self.known)
        assert 1 <= new <= self.asked
        assert all(1 <= now - before <= self.asked for now, before in zip(self._uses(), self.uses, strict=True))

    asked = 1
    """How many signed requests went out: one more for each new key."""

    def _uses(self) -> list[int]:
        return [self.market.uses(source, self.record) for source in SOURCES]


class Batch(Operation):
    caller, gateway = REQUESTER, True
    request, path, link_request = b"POST /v1/queries", "/batches", b"\xa5query"

    def prepare(self) -> None:
        chosen = [self.market.somebody() for _ in range(3)]
        self.records = [self.world.made.records[row] for row, _ in chosen]
        items = [
            {"id": each.merchant_id, "consent_id": record}
            for (_, each), record in zip(chosen, self.records, strict=True)
        ]
        self.body = {"items": items, "model_id": self.market.model_id}
        self.before = self._uses()
        self.known = queries_logged(self.world)

    def settle(self, answer: httpx.Response) -> None:
        self.ended(answer.json()["batch_id"])

    def ended(self, batch_id: str) -> dict[str, Any]:
        def finished() -> dict[str, Any] | None:
            found: dict[str, Any] = self.world.get_gateway(f"/batches/{batch_id}")
            return found if found["state"] == "finished" else None

        return self.world.until(finished, what="the batch's end")

    def check(self, answer: httpx.Response) -> None:
        batch_id = answer.json()["batch_id"]
        found, asked, expired = self.ended(batch_id), 1, 0
        while found["refused"]:  # its owner asks again once the source is back, or the clock is right
            assert set(found["refused"]) <= {"source-unreachable", "request-expired"}, found
            expired += "request-expired" in found["refused"]
            self.world.until(self.world.connected, what="all links")
            self.world.ask_gateway(f"/batches/{batch_id}/retry", None)
            found, asked = self.ended(batch_id), asked + 1
            assert asked < 6, found
        self.market.requests += 1
        assert (found["total"], found["scored"]) == (3, 3)
        assert all(1 <= now - before <= asked for now, before in zip(self._uses(), self.before, strict=True))
        logged = len(queries_logged(self.world) - self.known)  # what the hub's own clock found expired is not
        assert logged in range(3 * (asked - expired), 3 * asked + 1, 3)
        assert self.attempt().json()["batch_id"] == batch_id

    def _uses(self) -> list[int]:
        return [self.market.uses(source, record) for record in self.records for source in SOURCES]


class Release(Operation):
    request = b"/release"
    link_party, link_request = "witness", b"release-model"

    def prepare(self) -> None:
        done = run_campaign(self.world, ())
        assert done.state["status"] == "succeeded", done.state["failure"]
        self.model_id = str(done.state["model_id"])
        self.world.post("/v1/assessments", submission(done.campaign_id).model_dump(mode="json"))
        self.path, self.body = f"/v1/models/{self.model_id}/release", {"scope": "release"}

    def check(self, answer: httpx.Response) -> None:
        world = self.world
        world.until(lambda: quiet(world), what="a log that is whole")
        facts = [
            each["facts"]
            for each in self.market.log()
            if each["type"] == "model-release" and each["facts"].get("model_id") == self.model_id
        ]
        assert [each.get("scope") for each in facts].count("release") == 1, facts

        def usable() -> bool:
            models = world.get_gateway("/models")
            return [each["usable"] for each in models if each["model_id"] == self.model_id] == [True]

        world.until(usable, what="the model at the requester")


class Export(Operation):
    request, path, body = b"GET /v1/log/export", "/v1/log/export", None

    def prepare(self) -> None:
        self.world.until(lambda: quiet(self.world), what="a log that is whole")

    def check(self, answer: httpx.Response) -> None:
        export = self.world.base / "export.ndjson"
        export.write_bytes(answer.content)
        verdict = verify_export(export, self.market.verifiers())
        assert verdict.ok, verdict.findings
        assert verdict.entries == len(self.market.log())


class Table(Operation):
    """A campaign from its order to its end; what it failed with is what its caller is refused with."""

    request, path = b"POST /v1/campaigns", "/v1/campaigns"

    def prepare(self) -> None:
        self.known = self._campaigns()
        self.body = ordered(self.world)
        self.failed: list[str] = []
        self.left_out: set[str] = set()

    def attempt(self) -> httpx.Response:
        answer = super().attempt()
        if answer.is_error:
            return answer
        state = end_of(self.world, str(answer.json()["campaign_id"]))
        if state["status"] == "succeeded":
            return answer
        self.failed.append(state["campaign_id"])
        self.key = secrets.token_hex(16)  # the next order is one of its own
        return httpx.Response(state["failure"]["status"], json=state["failure"])

    def check(self, answer: httpx.Response) -> None:
        world, campaign_id = self.world, str(answer.json()["campaign_id"])
        assert self._campaigns() - self.known == {campaign_id, *self.failed}
        book = world.hub.campaigns.book
        world.until(lambda: not book.undelivered() and not book.undecided(), what="the decisions at all nodes")
        for each in self.failed:
            check_charges(world, Ended(each, {}, []))
        done = Ended(campaign_id, world.get(f"/v1/campaigns/{campaign_id}"), [])
        self.left_out = {each["party"] for each in done.state["refusals"]}
        roster = [entry.party_id for entry in released(world, campaign_id).terms.roster]
        assert sorted(roster) == sorted(set(PARTIES[1:]) - self.left_out)
        check_charges(world, done)
        check_bytes(world, done)
        check_log(world, done)

    def _campaigns(self) -> set[str]:
        return {each.campaign_id for each in self.world.hub.campaigns.book.all()}


OPERATIONS: dict[str, type[Operation]] = {
    "consent": Consent,
    "revocation": Revocation,
    "query": Query,
    "batch": Batch,
    "release": Release,
    "export": Export,
    "table": Table,
}


def _logged_once(operation: Consent | Revocation, wanted: Counter[str]) -> None:
    world, merchant = operation.world, operation.merchant
    world.until(lambda: quiet(world), what="a log that is whole and cosigned")
    assert _since(world, merchant, operation.before) == wanted


def _since(world: FaultWorld, merchant: Merchant, before: Counter[str]) -> Counter[str]:
    return entries_about(world, merchant) - before
