"""The hub's half of pseudonyms: verified requests, persisted quota, log, relay to the witness."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crypto.errors import PseudonymError, SignatureError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.pseudonym import BlindedBatch, pseudonym
from crypto.wire.base import SUITE
from crypto.wire.link import ProblemBody
from crypto.wire.party import VoprfAnswer, VoprfRequest
from hub.app import create_app
from hub.config import VoprfQuota
from hub.errors import PartyUnknownError, PeerRefused, PeerUnreachable, ReplayError, RequestError, VoprfQuotaError
from hub.voprf import Evaluations
from tests.hub_merchants import MarketWorld, json_of, voprf_witness
from tests.hub_world import Member


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    world.hub.voprf = evaluations(world)
    yield world
    world.hub.close()


def evaluations(world: MarketWorld, quota: int = 10) -> Evaluations:
    hub = world.hub
    return Evaluations(
        hub.db,
        hub.log,
        hub.roster,
        hub.parties,
        key=hub.keys.voprf,
        quota=VoprfQuota(default=quota, parties={"bank-02": 1}),
        clock=lambda: world.now,
        links=lambda: hub.links,
    )


def request(world: MarketWorld, elements: list[bytes], party: str = "bank-01", **changes: object) -> str:
    fields: dict[str, object] = {
        "suite": SUITE,
        "party_id": party,
        "target": "hub",
        "blinded": tuple(elements),
        "nonce": secrets.token_bytes(16),
        "issued_at": world.now,
    }
    signer = changes.pop("signer", world.members[party].identity)
    assert isinstance(signer, IdentityKey)
    return sign_model(VoprfRequest.model_validate(fields | changes), signer, typ="voprf", kid=party)


def logged(world: MarketWorld) -> list[object]:
    world.settle()
    leaves = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000)]
    return [leaf["facts"] for leaf in leaves if leaf["type"] == "voprf"]


def test_two_keys_make_the_pseudonym_that_every_party_gets(world: MarketWorld) -> None:
    world.peers.handlers["witness-zj", "voprf"] = voprf_witness(world.witness_voprf)
    found = []
    for party in ("bank-01", "tax-01"):
        first = BlindedBatch.blind([b"uscc\x0091330000X"])
        answer = world.hub.voprf.answer(request(world, first.elements, party))
        outputs = first.finalize(answer.evaluated, world.hub.keys.voprf.public)
        assert answer.remaining == 9
        second = BlindedBatch.blind(outputs)
        answer = world.hub.voprf.answer(request(world, second.elements, party, target="witness"))
        assert answer.remaining == 7
        found.append(pseudonym(second.finalize(answer.evaluated, world.witness_voprf.public)[0]))
    assert found[0] == found[1]
    assert logged(world) == [
        {"target": target, "count": 1, "used": 1} for _ in range(2) for target in ("hub", "witness")
    ]


def test_quota_counts_all_requests_and_outlives_a_restart(world: MarketWorld) -> None:
    elements = BlindedBatch.blind([bytes([number]) for number in range(1, 8)]).elements
    assert world.hub.voprf.answer(request(world, elements)).remaining == 3
    with pytest.raises(VoprfQuotaError, match=r"had 7 .* asks for 7 more; its quota is 10"):
        world.hub.voprf.answer(request(world, elements))
    world.hub.voprf = evaluations(world)
    with pytest.raises(VoprfQuotaError):
        world.hub.voprf.answer(request(world, elements[:4]))
    assert world.hub.voprf.answer(request(world, elements[:3])).remaining == 0
    with pytest.raises(VoprfQuotaError, match="quota is 1"):
        world.hub.voprf.answer(request(world, elements[:2], "bank-02"))
    assert len(logged(world)) == 2


def test_requests_are_signed_fresh_and_serve_once(world: MarketWorld) -> None:
    elements = BlindedBatch.blind([b"a"]).elements
    with pytest.raises(SignatureError):
        world.hub.voprf.answer(request(world, elements, signer=IdentityKey.generate()))
    for minutes in (-6, 6):
        with pytest.raises(RequestError):
            world.hub.voprf.answer(request(world, elements, issued_at=world.now + timedelta(minutes=minutes)))
    with pytest.raises(RequestError, match="another party"):
        world.hub.voprf.answer(
            sign_model(
                VoprfRequest(
                    suite=SUITE,
                    party_id="tax-01",
                    target="hub",
                    blinded=tuple(elements),
                    nonce=bytes(16),
                    issued_at=world.now,
                ),
                world.members["bank-01"].identity,
                typ="voprf",
                kid="bank-01",
            )
        )
    token = request(world, elements)
    world.hub.voprf.answer(token)
    with pytest.raises(ReplayError):
        world.hub.voprf.answer(token)
    world.now += timedelta(minutes=4)
    with pytest.raises(ReplayError):
        world.hub.voprf.answer(token)


def test_enrolled_is_not_enough_to_test_candidates(world: MarketWorld) -> None:
    newcomer = Member("bank-09", "bank")
    world.hub.enrolment.enrol(world.enrolment(newcomer))
    world.members["bank-09"] = newcomer
    with pytest.raises(PartyUnknownError):
        world.hub.voprf.answer(request(world, BlindedBatch.blind([b"a"]).elements, "bank-09"))


@pytest.mark.parametrize("elements", [[], [b"\xff" * 32], [bytes(32)]])
def test_what_is_no_batch_is_refused(world: MarketWorld, elements: list[bytes]) -> None:
    with pytest.raises(PseudonymError):
        world.hub.voprf.answer(request(world, elements))


def test_quota_is_given_back_where_the_witness_evaluated_nothing(world: MarketWorld) -> None:
    elements = BlindedBatch.blind([bytes([number]) for number in range(1, 8)]).elements
    with pytest.raises(PeerUnreachable):
        world.hub.voprf.answer(request(world, elements, target="witness"))

    def refuse(_body: bytes) -> bytes:
        raise PeerRefused("witness-zj", ProblemBody(code="voprf-quota-exceeded", title="No", detail="full"))

    world.peers.handlers["witness-zj", "voprf"] = refuse
    with pytest.raises(PeerRefused):
        world.hub.voprf.answer(request(world, elements, target="witness"))
    world.peers.handlers["witness-zj", "voprf"] = voprf_witness(world.witness_voprf)
    assert world.hub.voprf.answer(request(world, elements, target="witness")).remaining == 7
    with pytest.raises(VoprfQuotaError):
        world.hub.voprf.answer(request(world, elements, target="witness"))


def test_over_http_refusals_are_problems_with_numbers(world: MarketWorld) -> None:
    client = TestClient(create_app(world.hub))
    batch = BlindedBatch.blind([bytes([number]) for number in range(1, 8)])
    token = request(world, batch.elements)
    first = client.post("/v1/voprf", content=token, headers={"Idempotency-Key": "a"})
    again = client.post("/v1/voprf", content=token, headers={"Idempotency-Key": "a"})
    assert first.content == again.content
    batch.finalize(VoprfAnswer.model_validate_json(first.content).evaluated, world.hub.keys.voprf.public)
    refused = client.post("/v1/voprf", content=request(world, batch.elements), headers={"Idempotency-Key": "b"})
    assert refused.status_code == 429
    assert refused.json()["code"] == "voprf-quota-exceeded"
    assert "quota is 10" in refused.json()["detail"]
