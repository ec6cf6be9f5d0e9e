"""What hub and platform could try against consents and their states; each is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from crypto.canonical import canonical_bytes, digest
from crypto.jws import sign_merchant, sign_model
from crypto.keys import IdentityKey
from crypto.wire.audit import LogEntry
from crypto.wire.consent import ConsentEvent, DataCategory
from crypto.wire.party import MerchantKeyBatch
from crypto.wire.scoring import ScoreItem
from nodes.journal import verify_lines
from tests.relay_hub import payload_of
from tests.scoring_world import SOURCES, ScoringWorld

SOURCE = "tax-01"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, str]]:
    """One federation for all tests that need but a merchant of their own, and its released model."""
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world, world.release()
    world.close()


@pytest.fixture
def world(shared: tuple[ScoringWorld, str]) -> ScoringWorld:
    shared[0].heartbeat()
    return shared[0]


@pytest.fixture
def model_id(shared: tuple[ScoringWorld, str]) -> str:
    return shared[1]


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[ScoringWorld]:
    """A federation that a test may break."""
    world = ScoringWorld(tmp_path)
    yield world
    world.close()


# consents


def test_a_consent_forged_by_platform_and_hub_is_never_stored(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.record(merchant)
    other = world.merchants["M001"]
    forged = sign_merchant(
        canonical_bytes(record), other.jwk, typ="consent", kid=world.merchants[merchant].pseudonym.hex()
    )
    for source in SOURCES.values():
        world.feed(source, world.consent_item(record, merchant=merchant, token=forged))
        assert world.nodes[source].consents.state(record.record_id, world.now) == "unknown"
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-unknown"]
    refused = [line.entry for line in world.nodes[SOURCE].journal.lines() if line.type == "feed-item-refused"]
    assert b"signature-invalid" in refused[-1]


def test_a_key_that_the_bank_did_not_countersign_signs_nothing(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    held = world.merchants[merchant]
    record = world.record(merchant)
    honest = world.consent_item(record, merchant=merchant)
    assert honest.consent is not None
    statement = honest.consent.merchant_key
    own = IdentityKey.generate()
    alone = statement.model_copy(
        update={"countersignature": sign_model(_batch(statement.batch), own, typ="merchant-keys", kid="platform")}
    )
    item = honest.model_copy(update={"consent": honest.consent.model_copy(update={"merchant_key": alone})})
    world.feed(SOURCE, item)
    swapped = held.leaf.model_copy(update={"jwk": world.merchants["M001"].leaf.jwk})
    other = statement.model_copy(update={"leaf": swapped})
    world.feed(SOURCE, honest.model_copy(update={"consent": honest.consent.model_copy(update={"merchant_key": other})}))
    assert world.nodes[SOURCE].consents.state(record.record_id, world.now) == "unknown"


def test_a_widened_consent_does_not_verify(world: ScoringWorld) -> None:
    merchant = world.newcomer()
    record = world.record(merchant)
    token = world.merchants[merchant].sign(record, "consent")
    head, _, signature = token.split(".")
    wider = world.merchants[merchant].sign(record.model_copy(update={"recipients": ("lender", "platform")}), "consent")
    altered = ".".join((head, wider.split(".")[1], signature))
    world.feed(SOURCE, world.consent_item(record, merchant=merchant, token=altered))
    assert world.nodes[SOURCE].consents.state(record.record_id, world.now) == "unknown"


@pytest.mark.parametrize(
    ("changes", "request_changes", "code"),
    [
        ({"recipients": ("platform",)}, {}, "recipient-not-consented"),
        ({}, {"purpose": "pre-qualification"}, "purpose-not-consented"),
        ({"sources": {**SOURCES, "utility": "bank-02"}}, {}, None),
        ({"pii_information": (DataCategory(category="bank", data_class="C2"),)}, {}, "category-not-consented"),
        (
            {"pii_information": tuple(DataCategory(category=kind, data_class="C1") for kind in SOURCES)},
            {},
            "category-not-consented",
        ),
        ({"separate_consent": ()}, {}, "separate-consent-missing"),
        ({"adverse_consequences_notice": False}, {}, "adverse-notice-missing"),
    ],
)
def test_a_consent_covers_what_it_says_and_no_more(
    world: ScoringWorld,
    model_id: str,
    changes: dict[str, object],
    request_changes: dict[str, object],
    code: str | None,
) -> None:
    merchant = world.newcomer()
    record = world.record(merchant, **changes)
    world.feed(SOURCE, world.consent_item(record, merchant=merchant))
    token = world.request(record, model_id, **request_changes)
    assert world.codes(SOURCE, token) == [code or "source-unreachable"]


def test_a_consent_for_another_source_is_not_even_held(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.record(merchant, sources={**SOURCES, "tax": "tax-02"})
    world.feed(SOURCE, world.consent_item(record, merchant=merchant))
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-unknown"]


def test_another_merchants_consent_does_not_serve(world: ScoringWorld, model_id: str) -> None:
    first, second = world.newcomer(), world.newcomer()
    record = world.give(first)
    item = ScoreItem(
        pseudonym=world.merchants[second].pseudonym, consent_id=record.record_id, sources=dict(record.sources)
    )
    assert world.codes(SOURCE, world.request(record, model_id, items=(item,))) == ["consent-unknown"]


# states


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (("paused",), "consent-paused"),
        (("paused", "resumed"), "answered"),
        (("revoked",), "consent-revoked"),
        (("paused", "revoked", "resumed"), "consent-revoked"),
        (("refused",), "consent-not-active"),
    ],
)
def test_events_take_effect_at_once(world: ScoringWorld, model_id: str, events: tuple[str, ...], code: str) -> None:
    merchant = world.newcomer()
    record = world.give(merchant)
    for event in events:
        world.change(record, event, merchant=merchant)
    assert world.codes(SOURCE, world.request(record, model_id)) == [code]


def test_nobody_but_the_merchant_changes_a_consent(world: ScoringWorld, model_id: str) -> None:
    merchant, other = world.newcomer(), world.newcomer()
    record = world.give(merchant)
    world.change(record, "paused", merchant=merchant)
    forged = world.event_item(record, "resumed", merchant=other)
    world.feed(SOURCE, forged)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-paused"]


def test_an_old_resumption_cannot_be_played_again(world: ScoringWorld, model_id: str) -> None:
    merchant = world.newcomer()
    record = world.give(merchant)
    world.change(record, "paused", merchant=merchant)
    world.pass_time(seconds=10)
    held_back = world.event_item(record, "resumed", merchant=merchant)
    world.pass_time(seconds=10)
    world.change(record, "paused", merchant=merchant)
    world.feed(SOURCE, held_back)
    assert world.codes(SOURCE, world.request(record, model_id)) == ["consent-paused"]


def test_dates_are_kept(lone: ScoringWorld) -> None:
    model_id = lone.release()
    later = lone.give("M001", valid_from=lone.now + timedelta(hours=1))
    brief = lone.give("M002", valid_until=lone.now + timedelta(hours=1))
    assert lone.codes(SOURCE, lone.request(later, model_id)) == ["consent-not-yet-valid"]
    assert lone.codes(SOURCE, lone.request(brief, model_id)) == ["answered"]
    lone.pass_time(hours=1)
    assert lone.codes(SOURCE, lone.request(later, model_id)) == ["answered"]
    assert lone.codes(SOURCE, lone.request(brief, model_id)) == ["consent-expired"]


def test_a_stale_feed_means_no_answers(lone: ScoringWorld) -> None:
    model_id, record = lone.release(), lone.give("M001")
    lone.now += timedelta(seconds=60)
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["answered"]
    lone.now += timedelta(seconds=1)
    token = lone.request(record, model_id)
    assert lone.codes(SOURCE, token) == ["feed-stale"]
    lone.feed(SOURCE)
    assert lone.codes(SOURCE, token) == ["answered"]


def test_a_revocation_left_out_of_one_feed_is_not_noticed_there_and_shows_afterwards(lone: ScoringWorld) -> None:
    """Not prevented: the hub numbers on and signs a fresh head. Journals against the signed event give it away."""
    model_id, record = lone.release(), lone.give("M001")
    lone.pass_time(seconds=10)
    item = lone.event_item(record, "revoked")
    for name in ("bank-01", "utility-01", "lender"):  # and not SOURCE
        lone.feed(name, item)
    assert item.token is not None
    revoked = ConsentEvent.model_validate_json(payload_of(item.token))
    lone.pass_time(minutes=10)
    token = lone.request(record, model_id)
    assert lone.codes(SOURCE, token) == ["answered"]  # its feed is fresh and without a gap
    assert lone.codes("bank-01", token) == ["consent-revoked"]

    request_hash = digest(token.encode()).hex()
    found = {}
    for name in (SOURCE, "bank-01"):
        verify_lines(lone.nodes[name].journal.lines())
        entries = [
            LogEntry.model_validate_json(line.entry)
            for line in lone.nodes[name].journal.lines()
            if line.type == "query"
        ]
        found[name] = next(entry for entry in entries if entry.facts["request_hash"] == request_hash)
    assert found["bank-01"].facts["decision"] == "consent-revoked"
    assert found[SOURCE].facts["decision"] == "answered"
    assert found[SOURCE].time > revoked.event_time
    lone.feed(SOURCE, item)  # once it has the event, it stops
    assert lone.codes(SOURCE, lone.request(record, model_id)) == ["consent-revoked"]


def _batch(token: str) -> MerchantKeyBatch:
    return MerchantKeyBatch.model_validate_json(payload_of(token))
