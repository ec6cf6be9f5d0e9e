"""The relay of scoring requests: what the hub refuses, logs, forwards, and repeats; it never learns a score."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from crypto.checkpoint import verify_note
from crypto.errors import SignatureError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.wire.base import SUITE
from crypto.wire.link import ProblemBody
from crypto.wire.scoring import ItemRefusal, QueryForward, QueryResult, ScoreItem, ScoreRequest, SourceAnswer
from hub.app import create_app
from hub.errors import PartyUnknownError, PeerRefused, PeerTimeout
from hub.log import Cause, NewEntry
from hub.model_errors import ModelNotReleasedError, ModelRolledBackError
from hub.model_words import word_on
from hub.query_errors import (
    AnswerExpiredError,
    ConsentUnknownError,
    MixedSourcesError,
    NonceReusedError,
    QueryRefusedError,
    RecipientNotConsentedError,
    RequestExpiredError,
    SourceNotConsentedError,
    TooFewSourcesError,
)
from hub.tables.idempotency import IdempotencyRow
from tests.hub_merchants import MarketWorld, Merchant, json_of
from tests.hub_world import Member

SOURCES = {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"}


class QueryWorld(MarketWorld):
    """A market with a released model, one merchant with a consent, and sources that sign answers."""

    def __init__(self, base: Path) -> None:
        super().__init__(base)
        self.model_id = self.released_model()
        self.shop: Merchant = self.merchant("shop")
        self.consent_id, token = self.consent(self.shop)
        self.hub.consents.submit([token])
        self.asked: dict[str, int] = dict.fromkeys(SOURCES.values(), 0)
        for party in SOURCES.values():
            self.peers.handlers[party, "query"] = self.source(party)

    def source(self, party: str, **changes: object) -> Callable[[bytes], bytes]:
        def answer(body: bytes) -> bytes:
            self.asked[party] += 1
            token = QueryForward.model_validate_json(body).request
            fields: dict[str, object] = {
                "suite": SUITE,
                "request_hash": hashlib.sha256(token.encode()).digest(),
                "source": party,
                "answered": (0,),
                "refusals": (),
                "sealed": b"sealed for the requester",
            }
            signer = self.members[str(changes.get("signer", party))].identity
            rest = {name: value for name, value in changes.items() if name != "signer"}
            return sign_model(
                SourceAnswer.model_validate(fields | rest), signer, typ="score-answer", kid=party
            ).encode()

        return answer

    def item(self, **changes: object) -> ScoreItem:
        fields: dict[str, object] = {
            "pseudonym": self.shop.pseudonym,
            "consent_id": self.consent_id,
            "sources": SOURCES,
        }
        return ScoreItem.model_validate(fields | changes)

    def request(self, *items: ScoreItem, requester: str = "platform", **changes: object) -> str:
        fields: dict[str, object] = {
            "suite": SUITE,
            "requester": requester,
            "purpose": "credit-scoring",
            "model_id": self.model_id,
            "nonce": secrets.token_bytes(16),
            "issued_at": self.now,
            "expires_at": self.now + timedelta(minutes=5),
            "items": items or (self.item(),),
        }
        signer = changes.pop("signer", self.members[requester].identity)
        assert isinstance(signer, IdentityKey)
        return sign_model(ScoreRequest.model_validate(fields | changes), signer, typ="score-request", kid=requester)

    def ask(self, token: str) -> QueryResult:
        """Ask while another thread plays sequencer and cosigner."""
        done = threading.Event()

        def settle() -> None:
            while not done.wait(0.01):
                self.settle()

        thread = threading.Thread(target=settle)
        thread.start()
        try:
            return asyncio.run(self.hub.queries.ask(token))
        finally:
            done.set()
            thread.join()

    def logged(self, kind: str) -> list[dict[str, object]]:
        self.settle()
        leaves = [json_of(leaf) for leaf in self.hub.log.reader.entries(0, 1000)]
        return [leaf for leaf in leaves if leaf["type"] == kind]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[QueryWorld]:
    world = QueryWorld(tmp_path)
    yield world
    world.hub.close()


def test_every_source_answers_and_every_item_is_proved(world: QueryWorld) -> None:
    token = world.request(world.item(), world.item())
    result = world.ask(token)
    assert result.request_hash == hashlib.sha256(token.encode()).digest()
    assert len(result.answers) == 3
    assert result.failures == ()
    assert world.asked == dict.fromkeys(SOURCES.values(), 1)
    salts = [each.salt for each in world.hub.log.reader.of_merchant(world.shop.pseudonym)[-2:]]
    for place, proof in enumerate(result.proofs):
        checkpoint = verify_note(
            proof.checkpoint, world.verifiers(), required={world.hub.config.log_origin, "witness-zj"}
        )
        leaf = leaf_hash(proof.entry.encode())
        verify_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
        entry = json_of(proof.entry)
        assert (entry["type"], entry["actor"]) == ("query", "platform")
        assert entry["facts"] == {
            "request_hash": result.request_hash.hex(),
            "item": place,
            "model_id": world.model_id,
            "purpose": "credit-scoring",
            "consent": hashlib.sha256(salts[place] + world.consent_id.encode()).hexdigest(),
            "sources": "bank-01,tax-01,utility-01",
        }
        assert world.shop.kid not in proof.entry
        assert world.consent_id not in proof.entry
    (outcome,) = world.logged("query-result")
    assert isinstance(outcome["facts"], dict)
    assert (outcome["facts"]["answers"], outcome["facts"]["failures"]) == (3, 0)


def test_same_request_gets_the_stored_answers(world: QueryWorld) -> None:
    token = world.request()
    first, again = world.ask(token), world.ask(token)
    assert again.answers == first.answers
    assert world.asked == dict.fromkeys(SOURCES.values(), 1)
    assert len(world.logged("query")) == 1
    world.now += timedelta(minutes=5)
    with pytest.raises(AnswerExpiredError):
        world.ask(token)


def test_simultaneous_copies_are_one_query(world: QueryWorld) -> None:
    token = world.request()

    async def both() -> list[QueryResult]:
        return list(await asyncio.gather(*(world.hub.queries.ask(token) for _ in range(5))))

    done = threading.Event()

    def settle() -> None:
        while not done.wait(0.01):
            world.settle()

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        results = asyncio.run(both())
    finally:
        done.set()
        thread.join()
    assert len({result.answers for result in results}) == 1
    assert world.asked == dict.fromkeys(SOURCES.values(), 1)


def test_failing_sources_are_named_and_only_they_are_asked_again(world: QueryWorld) -> None:
    def late(_body: bytes) -> bytes:
        raise PeerTimeout("tax-01")

    def refuse(_body: bytes) -> bytes:
        raise PeerRefused("utility-01", ProblemBody(code="signature-invalid", title="No", detail="not verified"))

    world.peers.handlers["tax-01", "query"] = late
    world.peers.handlers["utility-01", "query"] = refuse
    token = world.request()
    result = world.ask(token)
    assert len(result.answers) == 1
    assert {(failure.source, failure.code) for failure in result.failures} == {
        ("tax-01", "source-unreachable"),
        ("utility-01", "signature-invalid"),
    }
    stale = (ItemRefusal(item=0, code="feed-stale"),)
    world.peers.handlers["tax-01", "query"] = world.source("tax-01", answered=(), refusals=stale)
    world.peers.handlers["utility-01", "query"] = world.source("utility-01")
    second = world.ask(token)
    assert (len(second.answers), second.failures) == (3, ())
    world.peers.handlers["tax-01", "query"] = world.source("tax-01")
    third = world.ask(token)
    assert world.asked == {"bank-01": 1, "tax-01": 2, "utility-01": 1}
    assert set(second.answers) - set(third.answers)
    assert len(world.logged("query")) == 1
    assert len(world.logged("query-result")) == 3


@pytest.mark.parametrize(
    "changes",
    [{"request_hash": b"\x00" * 32}, {"source": "bank-01"}, {"signer": "bank-01"}],
)
def test_answers_of_others_or_to_others_are_failures(world: QueryWorld, changes: dict[str, object]) -> None:
    world.peers.handlers["tax-01", "query"] = world.source("tax-01", **changes)
    result = world.ask(world.request())
    assert [(failure.source, failure.code) for failure in result.failures] == [("tax-01", "source-failed")]


def test_unapproved_and_forged_requesters_are_refused(world: QueryWorld) -> None:
    newcomer = Member("client-09", "client")
    world.hub.enrolment.enrol(world.enrolment(newcomer))
    world.members["client-09"] = newcomer
    with pytest.raises(PartyUnknownError):
        world.ask(world.request(requester="client-09"))
    with pytest.raises(SignatureError):
        world.ask(world.request(signer=IdentityKey.generate()))
    posing = sign_model(
        ScoreRequest(
            suite=SUITE,
            requester="bank-01",
            purpose="credit-scoring",
            model_id=world.model_id,
            nonce=bytes(16),
            issued_at=world.now,
            expires_at=world.now + timedelta(minutes=5),
            items=(world.item(),),
        ),
        world.members["platform"].identity,
        typ="score-request",
        kid="platform",
    )
    with pytest.raises(QueryRefusedError, match="another requester"):
        world.ask(posing)
    assert world.logged("query") == []


@pytest.mark.parametrize(("issued", "expires"), [(0, 301), (-400, -100), (-300, 0), (60, 120), (0, 0)])
def test_requests_live_five_minutes_at_most(world: QueryWorld, issued: int, expires: int) -> None:
    times = {"issued_at": issued, "expires_at": expires}
    moved = {name: world.now + timedelta(seconds=value) for name, value in times.items()}
    with pytest.raises(RequestExpiredError):
        world.ask(world.request(**moved))


def test_nonce_serves_one_request(world: QueryWorld) -> None:
    nonce = secrets.token_bytes(16)
    world.ask(world.request(nonce=nonce))
    with pytest.raises(NonceReusedError):
        world.ask(world.request(world.item(), world.item(), nonce=nonce))
    assert world.ask(world.request(requester="bank-01", nonce=nonce)).failures == ()


def test_a_request_that_another_process_accepted_meanwhile_is_the_same(
    world: QueryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, queries, log = world.request(), world.hub.queries, world.hub.log
    request_hash = hashlib.sha256(token.encode()).digest()
    append, first = log.append_durably, []

    def late(entries: Sequence[NewEntry], cause: Cause | None = None) -> list[int]:
        monkeypatch.undo()
        first.append(queries._accept(token, request_hash))
        return append(entries, cause)

    monkeypatch.setattr(log, "append_durably", late)
    second = queries._accept(token, request_hash)
    assert second.log_ids == first[0].log_ids
    assert (first[0].fresh, second.fresh) == (True, False)
    assert len(world.ask(token).proofs) == 1


def test_items_need_this_merchants_consent_for_these_parties(world: QueryWorld) -> None:
    other = world.merchant("other")
    single = {"bank": "bank-01", "tax": "tax-01"}
    pair_id, pair = world.consent(world.shop, sources=single)
    world.hub.consents.submit([pair])
    cases: list[tuple[str, type[Exception]]] = [
        (world.request(world.item(consent_id="0" * 32)), ConsentUnknownError),
        (world.request(world.item(), world.item(pseudonym=other.pseudonym)), ConsentUnknownError),
        (world.request(requester="bank-02"), RecipientNotConsentedError),
        (world.request(world.item(sources=SOURCES | {"bank": "bank-02"})), SourceNotConsentedError),
        (world.request(world.item(consent_id=pair_id)), SourceNotConsentedError),
        (world.request(world.item(consent_id=pair_id, sources=single), requester="bank-01"), TooFewSourcesError),
    ]
    for token, error in cases:
        with pytest.raises(error) as refused:
            world.ask(token)
        assert str(getattr(refused.value, "field", "")).startswith("items.")
    assert world.logged("query") == []
    assert sum(world.asked.values()) == 0


def test_a_request_is_for_one_set_of_sources(world: QueryWorld) -> None:
    pair = {"bank": "bank-01", "tax": "tax-01"}
    pair_id, token = world.consent(world.shop, sources=pair)
    world.hub.consents.submit([token])
    with pytest.raises(MixedSourcesError) as refused:
        world.ask(world.request(world.item(), world.item(consent_id=pair_id, sources=pair)))
    assert (refused.value.code, refused.value.field) == ("mixed-sources", "items.1.sources")
    assert world.logged("query") == []
    assert sum(world.asked.values()) == 0


def test_only_released_models_are_asked_for(world: QueryWorld) -> None:
    with pytest.raises(ModelNotReleasedError):
        world.ask(world.request(model_id="sha256:" + "0" * 64))
    newer = world.released_model(2)
    world.hub.rollbacks.roll_back("c-1", 1, "drift")
    with pytest.raises(ModelRolledBackError) as caught:
        world.ask(world.request(model_id=newer))
    assert caught.value.remedy is not None
    world.ask(world.request())
    world.hub.models.withdraw(world.model_id, "test")
    with pytest.raises(ModelNotReleasedError):
        world.ask(world.request())


def test_forgotten_after_expiry(world: QueryWorld) -> None:
    first = world.request()
    world.ask(first)
    world.now += timedelta(minutes=11)
    world.ask(world.request())
    with pytest.raises(RequestExpiredError):
        world.ask(first)


def test_over_http_with_the_background_running(world: QueryWorld) -> None:
    with TestClient(create_app(world.hub)) as client:
        token = world.request()
        answer = client.post("/v1/queries", content=token, headers={"Idempotency-Key": "a"})
        assert answer.status_code == 200
        result = QueryResult.model_validate_json(answer.content)
        assert (len(result.answers), len(result.proofs)) == (3, 1)
        refused = client.post(
            "/v1/queries",
            content=world.request(requester="bank-02"),
            headers={"Idempotency-Key": "b", "Accept-Language": "zh"},
        )
        assert refused.status_code == 403
        assert refused.json()["code"] == "recipient-not-consented"
        assert refused.json()["field"] == "items.0.consent_id"


def test_a_request_is_its_own_key_and_nothing_is_kept_under_the_one_that_it_carries(world: QueryWorld) -> None:
    with TestClient(create_app(world.hub)) as client:
        token, other = world.request(), world.request()
        answers = [
            client.post("/v1/queries", content=each, headers={"Idempotency-Key": "one"})
            for each in (token, token, other)
        ]
        missing = client.post("/v1/queries", content=token)
    assert [each.status_code for each in answers] == [200, 200, 200]
    first, again, second = (QueryResult.model_validate_json(each.content) for each in answers)
    assert first.answers == again.answers
    assert first.request_hash != second.request_hash
    assert set(world.asked.values()) == {2}
    assert missing.json()["code"] == "idempotency-key-missing"
    with world.hub.db.reading() as session:
        assert session.scalars(select(IdempotencyRow)).all() == []


def test_a_model_that_was_used_counts_no_more_under_another_key_of_the_witness(world: QueryWorld) -> None:
    world.ask(world.request())
    witness = world.hub.parties.witness()
    assert witness is not None
    strange = IdentityKey.generate()
    changed = replace(witness, party=witness.party.model_copy(update={"sign_key": strange.public}), keys=strange.line)
    other = replace(witness, party=witness.party.model_copy(update={"party_id": "other"}))
    with world.hub.db.reading() as session:
        assert word_on(session, world.model_id, witness).status == "release"
        assert word_on(session, world.model_id, changed).status == "registered"
        assert word_on(session, world.model_id, other).status == "registered"
