"""Privacy notices at the hub: immutable, public, logged, fed to all, and required of every consent."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crypto.jws import verify_model
from crypto.notices import NOTICE_TYPE
from crypto.wire.consent import FeedPage, PrivacyNotice
from crypto.wire.notice import NoticeStatement, NoticeSubmission
from hub.app import create_app
from hub.demo.notices import read_text, shown
from hub.errors import ConsentRefusedError
from hub.merchant_errors import NoticeError
from hub.training_consents import training_merchants
from tests.hub_merchants import MarketWorld, Merchant, json_of
from tests.hub_world import Member

KINDS = ("bank", "tax", "utility")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def client(world: MarketWorld) -> TestClient:
    return TestClient(create_app(world.hub), raise_server_exceptions=False)


def draft(world: MarketWorld, version: str = "2", **changes: object) -> NoticeSubmission:
    fields: dict[str, object] = {
        "notice": "credit-scoring",
        "version": version,
        "purposes": ("credit-scoring", "model-training"),
        "zh": f"告知书第{version}版",
        "en": f"Notice, version {version}",
    }
    return NoticeSubmission.model_validate(fields | changes)


def asks(world: MarketWorld, version: str = "2", days: float = 30) -> NoticeSubmission:
    return draft(world, version, reconsent=True, ends_at=world.now + timedelta(days=days))


def shown_of(submission: NoticeSubmission, language: str = "zh") -> PrivacyNotice:
    text = submission.zh if language == "zh" else submission.en
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return PrivacyNotice.model_validate({"version": submission.version, "language": language, "sha256": sha256})


def items(world: MarketWorld, party: str) -> list[str]:
    page = FeedPage.model_validate_json(world.hub.feed.page(party, 0).body)
    return [item.token for item in page.items if item.kind == "notice" and item.token]


def give(world: MarketWorld, merchant: Merchant, **changes: object) -> str:
    record_id, token = world.consent(merchant, **changes)
    world.hub.consents.submit([token])
    return record_id


def refusal(world: MarketWorld, merchant: Merchant, **changes: object) -> ConsentRefusedError:
    with pytest.raises(ConsentRefusedError) as refused:
        give(world, merchant, **changes)
    return refused.value


def test_a_notice_is_signed_logged_and_told_to_everybody(world: MarketWorld) -> None:
    world.peers.notified.clear()
    receipt = world.hub.notices.register(asks(world))
    key = world.hub.keys.identity.public
    statement = verify_model(receipt.statement, key, NoticeStatement, typ=NOTICE_TYPE, kid="hub-lishui")
    assert (statement.serial, statement.version, statement.reconsent) == (3, "2", True)
    assert set(world.peers.notified) >= {"witness-zj", *world.members}
    for party in ("witness-zj", *world.members):
        assert items(world, party)[-1] == receipt.statement
    world.settle()
    entry = [json_of(leaf) for leaf in world.hub.log.reader.entries(0, 1000)][-1]
    assert entry["type"] == "notice"
    facts = entry["facts"]
    assert isinstance(facts, dict)
    assert (facts["zh"], facts["serial"]) == (statement.texts["zh"], 3)


def test_a_party_that_joins_later_is_told_of_all_notices(world: MarketWorld) -> None:
    world.hub.notices.register(draft(world))
    late = Member("bank-09", "bank")
    world.join(late)
    assert items(world, "bank-09") == list(world.hub.notices.tokens())


def test_the_same_registration_again_changes_nothing(world: MarketWorld) -> None:
    first = world.hub.notices.register(draft(world))
    assert world.hub.notices.register(draft(world)) == first
    assert len(world.hub.notices.tokens()) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "1", "zh": "另一文本", "en": "Another text"},  # a version never changes
        {"zh": read_text("model-training", "zh")},  # a text has one name
        {"en": read_text("credit-scoring", "zh")},  # neither does it change its language
        {"zh": "same", "en": "same"},
        {"notice": "brand-new", "reconsent": True, "ends_at": "2026-05-01T00:00:00Z"},  # nothing earlier to end
        {"reconsent": True, "ends_at": "2026-02-01T00:00:00Z"},  # the past
    ],
)
def test_registrations_that_would_change_the_past_are_refused(world: MarketWorld, changes: dict[str, object]) -> None:
    with pytest.raises(NoticeError):
        world.hub.notices.register(draft(world, **{"version": "2", **changes}))  # type: ignore[arg-type]
    assert len(world.hub.notices.tokens()) == 2


def test_a_consent_names_a_registered_notice_in_the_language_shown(world: MarketWorld) -> None:
    merchant = world.merchant("shop")
    sample = shown(("credit-scoring",))
    for notice in (
        PrivacyNotice(version="1", language="zh", sha256="0" * 64),
        PrivacyNotice(version="2", language="zh", sha256=sample.sha256),
        PrivacyNotice(version="1", language="en", sha256=sample.sha256),
    ):
        assert refusal(world, merchant, privacy_notice=notice).field == "tokens.0.privacy_notice"
    training = shown(("model-training",))
    assert refusal(world, merchant, privacy_notice=training).field == "tokens.0.purposes"
    give(world, merchant, privacy_notice=training, purposes=("model-training",))


def test_a_superseded_notice_takes_no_new_consent(world: MarketWorld) -> None:
    merchant = world.merchant("shop")
    second = draft(world)
    world.hub.notices.register(second)
    give(world, merchant)  # signed while the first version was still shown
    world.now += timedelta(hours=1)
    assert "superseded" in refusal(world, merchant).message
    give(world, merchant, privacy_notice=shown_of(second))
    give(world, merchant, privacy_notice=shown_of(second, "en"))


def test_consents_under_an_old_notice_leave_training_at_the_stated_second(world: MarketWorld) -> None:
    merchant, other = world.merchant("shop"), world.merchant("other")
    give(world, merchant)
    second = asks(world)
    world.hub.notices.register(second)
    world.now += timedelta(hours=1)
    give(world, other, privacy_notice=shown_of(second))
    assert second.ends_at is not None
    for moment, count in ((second.ends_at - timedelta(seconds=1), 2), (second.ends_at, 1)):
        found = training_merchants(world.hub.db, KINDS, "bank", moment)
        assert len(found.pseudonyms) == count
    assert found.pseudonyms.tobytes() == other.pseudonym


def test_the_merchant_is_asked_again_until_it_answers(world: MarketWorld) -> None:
    merchant = world.merchant("shop")
    kept, dropped = give(world, merchant), give(world, merchant, recipients=("bank-01",), separate_consent=())
    assert world.hub.merchant_records.of(merchant.pseudonym).requests == ()
    second = asks(world)
    world.hub.notices.register(second)
    requests = world.hub.merchant_records.of(merchant.pseudonym).requests
    assert {each.record_id for each in requests} == {kept, dropped}
    assert {each.texts["zh"] for each in requests} == {shown_of(second).sha256}
    assert {each.ends_at for each in requests} == {second.ends_at}
    world.now += timedelta(minutes=10)
    give(world, merchant, privacy_notice=shown_of(second, "en"), recipients=("bank-01",), separate_consent=())
    assert [each.record_id for each in world.hub.merchant_records.of(merchant.pseudonym).requests] == [kept]
    world.hub.consents.submit_events([world.event(merchant, kept, "revoked")])
    assert world.hub.merchant_records.of(merchant.pseudonym).requests == ()


def test_anyone_reads_notices_and_only_the_administrator_registers(world: MarketWorld, client: TestClient) -> None:
    body = draft(world).model_dump_json()
    token = world.hub.config.admin_token_file.read_text().strip()
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    assert client.post("/v1/notices", content=body, headers=headers).status_code == 401
    headers["Authorization"] = f"Bearer {token}"
    assert client.post("/v1/notices", content=body, headers=headers).status_code == 201
    statements = client.get("/v1/notices").json()["statements"]
    assert statements == list(world.hub.notices.tokens())
    sample = shown(("credit-scoring",))
    answer = client.get(f"/v1/notices/{sample.sha256}")
    assert hashlib.sha256(answer.content).hexdigest() == sample.sha256
    assert (answer.headers["content-language"], answer.headers["content-type"]) == (
        "zh",
        "text/markdown; charset=utf-8",
    )
    assert client.get(f"/v1/notices/{'0' * 64}").status_code == 404
    assert client.get("/v1/notices/..%2Fhub.yaml").status_code in (404, 422)
