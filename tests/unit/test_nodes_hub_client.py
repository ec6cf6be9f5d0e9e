"""Requests to the hub: typed refusals, one effect for all tries, and pseudonyms that only proofs can bring."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest

from crypto.errors import PseudonymError
from crypto.jws import peek_kid, verify_model
from crypto.pseudonym import PseudonymKey, pseudonym, voprf_input
from crypto.wire.base import SUITE
from crypto.wire.party import VoprfAnswer, VoprfRequest
from crypto.wire.service import HubInfo, SignedRequest
from nodes.config import HubAddress
from nodes.errors import ConfigError, PeerError, SourceError
from nodes.hub_client import HubClient
from nodes.pseudonyms import PseudonymMap
from nodes.roster import RosterBook
from nodes.store import Store
from tests.node_world import SignerWorld

Reply = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    return SignerWorld(tmp_path)


def client_of(world: SignerWorld, reply: Reply, patience: float = 5.0) -> HubClient:
    return HubClient(
        HubAddress(url="http://127.0.0.1:1"),
        party_id="bank-01",
        identity=world.keys.identity,
        clock=world.clock,
        patience_seconds=patience,
        transport=httpx.MockTransport(reply),
    )


def test_info_is_parsed_and_a_strange_answer_refused(world: SignerWorld) -> None:
    info = HubInfo(
        suite=SUITE, hub_id="hub", software="x", origin="o", sign_key=bytes(32), voprf_key=bytes(32), witness=None
    )
    assert client_of(world, lambda _: httpx.Response(200, content=info.model_dump_json())).info() == info
    with pytest.raises(PeerError) as caught:
        client_of(world, lambda _: httpx.Response(200, content=b"<html>")).info()
    assert caught.value.peer_code == "hub-answer-malformed"


def test_problems_become_typed_errors_with_the_party_at_fault(world: SignerWorld) -> None:
    body = {"code": "quota-exceeded", "title": "T", "detail": "D", "party": "witness", "remedy": "R", "field": "F"}
    headers = {"Content-Type": "application/problem+json"}
    client = client_of(world, lambda _: httpx.Response(503, content=json.dumps(body), headers=headers))
    with pytest.raises(PeerError) as caught:
        client.enrol("a.b.c")
    error = caught.value
    assert (error.party, error.peer_code, error.message, error.remedy, error.field) == (
        "witness",
        "quota-exceeded",
        "D",
        "R",
        "F",
    )
    with pytest.raises(PeerError) as caught:
        client_of(world, lambda _: httpx.Response(404, content=b"<html>not here")).roster()
    assert caught.value.peer_code == "hub-failed"


def test_a_post_keeps_its_idempotency_key_over_all_tries(world: SignerWorld) -> None:
    keys: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(502 if len(keys) == 2 else 200, content=b"ok")

    assert client_of(world, flaky).request("POST", "/v1/consents", b"{}") == b"ok"
    assert len(keys) == 3
    assert len(set(keys)) == 1
    client_of(world, flaky).request("POST", "/v1/consents", b"{}")
    assert len(set(keys)) == 2


def test_out_of_reach_is_said_after_the_patience(world: SignerWorld) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(PeerError) as caught:
        client_of(world, refuse, patience=0.3).info()
    assert caught.value.peer_code == "hub-unreachable"
    assert caught.value.remedy


def test_signed_requests_name_method_and_path(world: SignerWorld) -> None:
    seen: list[SignedRequest] = []

    def check(request: httpx.Request) -> httpx.Response:
        scheme, token = request.headers["Authorization"].split(" ")
        assert scheme == "Digua"
        assert peek_kid(token, typ="request") == "bank-01"
        public = world.keys.identity.public
        seen.append(verify_model(token, public, SignedRequest, typ="request", kid="bank-01"))
        return httpx.Response(200, content=b"{}")

    client = client_of(world, check)
    client.request("GET", "/v1/consents/0?x=1", signed=True)
    client.request("GET", "/v1/consents/0?x=1", signed=True)
    assert {(each.method, each.path, each.party_id) for each in seen} == {("GET", "/v1/consents/0?x=1", "bank-01")}
    assert seen[0].nonce != seen[1].nonce


def test_an_unreadable_authority_is_a_config_error(tmp_path: Path, world: SignerWorld) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        address = HubAddress(url="https://hub.example", ca_file=tmp_path / name)
        with pytest.raises(ConfigError) as caught:
            HubClient(address, party_id="bank-01", identity=world.keys.identity)
        assert caught.value.field == "hub.ca_file"


class KeyHolders:
    """Hub and witness behind POST /v1/voprf, with every request checked."""

    def __init__(self, world: SignerWorld) -> None:
        self.world = world
        self.keys = {"hub": world.hub_voprf, "witness": world.witness_voprf}
        self.batches: list[tuple[str, int]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        token = request.content.decode()
        asked = verify_model(token, self.world.keys.identity.public, VoprfRequest, typ="voprf", kid="bank-01")
        self.batches.append((asked.target, len(asked.blinded)))
        evaluated = self.keys[asked.target].evaluate(list(asked.blinded))
        return httpx.Response(200, content=VoprfAnswer(evaluated=evaluated, remaining=9).model_dump_json())


def open_map(world: SignerWorld, holders: Reply) -> PseudonymMap:
    store = Store.open(world.base / "node.db")
    book = RosterBook(store, world.trust)
    book.update(world.roster(1))
    return PseudonymMap(store, book, client_of(world, holders))


def expected(world: SignerWorld, ids: Sequence[str], id_type: str = "opaque") -> list[bytes]:
    hub, witness = (key._evaluator for key in (world.hub_voprf, world.witness_voprf))
    inner = [hub.evaluate_known_input(voprf_input(id_type, each)) for each in ids]
    return [pseudonym(witness.evaluate_known_input(each)) for each in inner]


def test_pseudonyms_are_those_of_both_keys_and_are_asked_for_once(
    world: SignerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.pseudonyms.BATCH", 3)
    holders, steps = KeyHolders(world), []
    mapped = open_map(world, holders)
    ids = [f"ID{n}" for n in range(7)]
    assert mapped.ensure([*ids, "ID0"], progress=lambda done, of: steps.append((done, of))) == 7
    assert holders.batches == [("hub", 3), ("witness", 3)] * 2 + [("hub", 1), ("witness", 1)]
    assert steps == [(0, 7), (3, 7), (6, 7), (7, 7)]
    table = mapped.pseudonyms(ids[::-1])
    assert (table.shape, table.dtype) == ((7, 32), np.uint8)
    assert [row.tobytes() for row in table] == expected(world, ids[::-1])
    assert mapped.pseudonym_of("ID3") == expected(world, ["ID3"])[0]
    assert mapped.identifier_of(mapped.pseudonym_of("ID3")) == "ID3"
    assert mapped.identifier_of(bytes(32)) is None

    again = open_map(world, KeyHolders(world))
    assert again.ensure(ids) == 0
    assert again.ensure(["NEW"]) == 1
    assert again.count() == 8


def test_types_of_identifiers_are_kept_apart(world: SignerWorld) -> None:
    mapped = open_map(world, KeyHolders(world))
    mapped.ensure(["ID"])
    with pytest.raises(SourceError, match="no pseudonym"):
        mapped.pseudonym_of("ID", id_type="uscc")
    mapped.ensure(["ID"], id_type="uscc")
    assert mapped.pseudonym_of("ID", id_type="uscc") == expected(world, ["ID"], "uscc")[0]
    assert mapped.pseudonym_of("ID", id_type="uscc") != mapped.pseudonym_of("ID")


@pytest.mark.parametrize("liar", ["hub", "witness"])
def test_an_evaluation_under_another_key_is_refused(world: SignerWorld, liar: str) -> None:
    holders = KeyHolders(world)
    holders.keys[liar] = PseudonymKey.from_seed(b"\x07" * 32)
    mapped = open_map(world, holders)
    with pytest.raises(PseudonymError):
        mapped.ensure(["ID"])
    assert mapped.count() == 0


def test_what_was_done_before_a_refusal_is_kept(world: SignerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.pseudonyms.BATCH", 2)
    holders = KeyHolders(world)

    def limited(request: httpx.Request) -> httpx.Response:
        if len(holders.batches) == 2:
            problem = {"code": "voprf-quota-exceeded", "detail": "none left"}
            return httpx.Response(429, content=json.dumps(problem))
        return holders(request)

    mapped = open_map(world, limited)
    with pytest.raises(PeerError) as caught:
        mapped.ensure(["A", "B", "C"])
    assert caught.value.peer_code == "voprf-quota-exceeded"
    assert mapped.count() == 2


def test_many_identifiers_are_looked_up(world: SignerWorld) -> None:
    mapped = open_map(world, KeyHolders(world))
    ids = [f"ID{n}" for n in range(1200)]
    mapped.ensure(ids)
    assert len({row.tobytes() for row in mapped.pseudonyms(ids)}) == 1200
    with pytest.raises(SourceError) as caught:
        mapped.pseudonyms([*ids * 10, "secret-identifier"])
    assert "secret-identifier" not in str(caught.value)
