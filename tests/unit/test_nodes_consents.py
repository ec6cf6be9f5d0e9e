"""Consents at a node: what it stores, what it refuses without holding up the rest, and what training may use."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, peek_payload, sign, sign_merchant, sign_model
from crypto.keys import IdentityKey
from crypto.wire.consent import ConsentEvent, ConsentRecord, FeedItem
from crypto.wire.party import MerchantKeyLeaf
from models.schema import Schema
from nodes.consents import REFUSED, TAKEN
from nodes.counting_consents import asked_under, counts_for
from nodes.errors import PolicyRefusal
from nodes.journal import JournalNote
from tests.scoring_world import SOURCES, ScoringWorld

NODE = "bank-01"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def merchant(world: ScoringWorld) -> str:
    world.heartbeat()
    return world.newcomer()


def codes(world: ScoringWorld, *items: FeedItem) -> list[str | None]:
    return world.nodes[NODE].consents.apply_all(items)


def state(world: ScoringWorld, record: ConsentRecord, **later: float) -> str:
    return world.nodes[NODE].consents.state(record.record_id, world.now + timedelta(**later))


def test_a_consent_is_held_exactly_and_met_twice(world: ScoringWorld, merchant: str) -> None:
    record = world.record(merchant)
    item = world.consent_item(record, merchant=merchant)
    assert codes(world, item, item) == [None, None]
    assert codes(world, item) == [None]
    held = world.nodes[NODE].consents.get(record.record_id, world.now)
    assert held is not None
    assert item.consent is not None
    assert (held.record, held.state, held.token) == (record, "active", item.consent.consent)
    assert state(world, record, days=60) == "expired"
    assert state(world, record, hours=-2) == "not-yet-valid"


def test_bad_items_do_not_hold_up_the_rest(world: ScoringWorld, merchant: str) -> None:
    good, foreign = world.record(merchant), world.record(merchant, sources={**SOURCES, NODE[:4]: "bank-02"})
    wrong_kind = world.record(merchant, sources={"bank": "bank-02", "tax": NODE, "utility": "utility-01"})
    forged = sign_merchant(canonical_bytes(good), generate_merchant_key(), typ="consent", kid="x")
    items = [
        world.consent_item(good, merchant=merchant, token=forged),
        FeedItem(seq=1, kind="consent"),
        world.consent_item(foreign, merchant=merchant),
        world.consent_item(wrong_kind, merchant=merchant),
        FeedItem(seq=1, kind="consent-event", token="a.b.c"),
        FeedItem(seq=1, kind="consent-event"),
        world.event_item(good, "revoked", merchant=merchant),
        world.consent_item(good, merchant=merchant),
    ]
    assert codes(world, *items) == [
        "signature-invalid",
        "feed-item-invalid",
        "consent-names-others",
        "consent-names-others",
        "signature-invalid",
        "feed-item-invalid",
        "consent-unknown",
        None,
    ]
    assert state(world, good) == "active"
    with pytest.raises(PolicyRefusal) as caught:
        world.nodes[NODE].consents.apply(items[1])
    assert caught.value.reason == "feed-item-invalid"


def test_a_record_id_is_used_once(world: ScoringWorld, merchant: str) -> None:
    record = world.record(merchant)
    other = world.record(merchant, record_id=record.record_id, recipients=("platform",))
    items = [world.consent_item(each, merchant=merchant) for each in (record, other)]
    assert codes(world, *items) == [None, "record-id-reused"]
    assert codes(world, items[1]) == ["record-id-reused"]


def test_a_key_that_was_replaced_signs_no_new_consents(world: ScoringWorld, merchant: str) -> None:
    held = world.merchants[merchant]
    before = world.record(merchant)
    old_item = world.consent_item(world.record(merchant), merchant=merchant)
    assert codes(world, world.consent_item(before, merchant=merchant)) == [None]
    old_key, held.jwk = held.jwk, generate_merchant_key("ES256")
    world.now += timedelta(seconds=5)
    world.enrol_keys([held])
    after = world.record(merchant)
    new_item = world.consent_item(after, merchant=merchant)
    assert codes(world, new_item, old_item) == [None, "merchant-key-superseded"]
    # The consent under the old key is paused by the new key, and no longer resumed by the old one.
    assert codes(world, world.event_item(before, "paused", merchant=merchant)) == [None]
    held.jwk = old_key
    assert codes(world, world.event_item(before, "resumed", merchant=merchant)) == ["signature-invalid"]
    assert state(world, before) == "paused"
    stranger = world.consent_item(world.record("M001")).consent
    foreign = world.event_item(after, "revoked", merchant="M001").model_copy(update={"consent": stranger})
    assert codes(world, foreign) == ["signature-invalid"]


def test_a_merchant_who_lost_its_key_revokes_under_a_new_one(world: ScoringWorld, merchant: str) -> None:
    held, record = world.merchants[merchant], world.record(merchant)
    given = world.consent_item(record, merchant=merchant)
    assert codes(world, given) == [None]
    held.jwk = generate_merchant_key()
    revoked = world.event_item(record, "revoked", merchant=merchant)
    assert codes(world, revoked) == ["signature-invalid"]  # the node knows no such key
    world.now += timedelta(seconds=5)
    world.enrol_keys([held])
    newer = world.consent_item(record, merchant=merchant, token=given.consent.consent).consent
    pause = revoked.model_copy(update={"consent": newer})

    # Statements that only the hub, or only the platform, made up.
    forged = newer.merchant_key.model_copy(update={"batch": _resigned(newer.merchant_key.batch, world.hub_key)})
    platform = world.nodes["platform"].runtime.identity
    own = _resigned(newer.merchant_key.batch, platform, typ="merchant-keys-countersignature", kid="platform")
    alone = newer.merchant_key.model_copy(update={"countersignature": own})
    swapped = newer.merchant_key.model_copy(
        update={"leaf": MerchantKeyLeaf(pseudonym=held.pseudonym, jwk=merchant_public(generate_merchant_key()))}
    )
    for statement in (forged, alone, swapped):
        lie = pause.model_copy(update={"consent": newer.model_copy(update={"merchant_key": statement})})
        assert codes(world, lie)[0] in ("signature-invalid", "proof-invalid", "merchant-keys-signer")
    assert state(world, record) == "active"

    assert codes(world, pause) == [None]
    assert state(world, record) == "revoked"


def test_an_event_under_the_old_key_counts_no_more_once_a_newer_is_known(world: ScoringWorld, merchant: str) -> None:
    held, record = world.merchants[merchant], world.record(merchant)
    given = world.consent_item(record, merchant=merchant)
    by_old = world.event_item(record, "revoked", merchant=merchant)
    held.jwk = generate_merchant_key()
    world.now += timedelta(seconds=5)
    world.enrol_keys([held])
    newer = world.consent_item(record, merchant=merchant, token=given.consent.consent).consent
    paused = world.event_item(record, "paused", merchant=merchant).model_copy(update={"consent": newer})
    with_old = by_old.model_copy(update={"consent": given.consent})
    assert codes(world, given, paused, by_old, with_old) == [
        None,
        None,
        "signature-invalid",
        "merchant-key-superseded",
    ]
    assert state(world, record) == "paused"


@pytest.mark.parametrize(
    ("events", "refused", "last"),
    [
        (("paused", "resumed", "paused"), (None, None, None), "paused"),
        (("paused", "paused"), (None, None), "paused"),
        (("resumed",), ("consent-event-out-of-order",), "active"),
        (("given",), ("consent-event-out-of-order",), "active"),
        (("revoked", "resumed", "paused"), (None, "consent-final", "consent-final"), "revoked"),
        (("expired", "resumed"), (None, "consent-final"), "expired"),
        (("refused", "revoked"), (None, "consent-final"), "refused"),
    ],
)
def test_states_follow_from_events(
    world: ScoringWorld, merchant: str, events: tuple[str, ...], refused: tuple[str | None, ...], last: str
) -> None:
    record = world.record(merchant)
    items = [world.event_item(record, event, merchant=merchant) for event in events]
    assert codes(world, world.consent_item(record, merchant=merchant), *items) == [None, *refused]
    assert state(world, record) == last
    assert codes(world, items[0]) in ([None], [refused[0]], ["consent-final"])
    assert state(world, record) == last


def test_late_and_old_events(world: ScoringWorld, merchant: str) -> None:
    record = world.record(merchant)
    old = [
        world.event_item(record, event, merchant=merchant, event_time=world.now - timedelta(seconds=9))
        for event in ("paused", "revoked")
    ]
    assert codes(world, world.consent_item(record, merchant=merchant), *old) == [None, "consent-event-old", None]


def test_the_hub_may_say_that_a_consent_expired_and_nothing_else(world: ScoringWorld, merchant: str) -> None:
    record = world.record(merchant)
    assert codes(world, world.consent_item(record, merchant=merchant)) == [None]
    for event, code in (("revoked", "signature-invalid"), ("expired", None)):
        change = ConsentEvent.model_validate(
            {
                "suite": record.suite,
                "record_id": record.record_id,
                "pii_principal_id": record.pii_principal_id,
                "event": event,
                "event_time": world.now,
                "event_id": secrets.token_hex(16),
            }
        )
        token = sign_model(change, world.hub_key, typ="consent-event", kid="hub")
        assert codes(world, FeedItem(seq=1, kind="consent-event", token=token)) == [code]
    assert state(world, record) == "expired"


def test_the_journal_tells_what_the_feed_brought(world: ScoringWorld, merchant: str) -> None:
    record, other = world.record(merchant), world.record(merchant, sources={**SOURCES, NODE[:4]: "bank-02"})
    items = [
        world.consent_item(record, merchant=merchant),
        world.consent_item(other, merchant=merchant),
        world.event_item(record, "revoked", merchant=merchant),
    ]
    journal = world.nodes[NODE].journal
    before = journal.count()
    assert codes(world, *items) == [None, "consent-names-others", None]
    refused, taken = (JournalNote.model_validate_json(line.entry) for line in list(journal.lines())[before:])
    consent, event = items[0].consent, items[2].token
    assert consent is not None
    assert event is not None
    hashes = [hashlib.sha256(peek_payload(token)).hexdigest() for token in (consent.consent, event)]
    assert (taken.type, taken.facts) == (TAKEN, {"sha256": ",".join(hashes)})
    assert refused.type == REFUSED
    assert refused.facts["sha256"] == hashlib.sha256(canonical_bytes(other)).hexdigest()


def test_the_newest_active_consent_for_a_purpose_is_found(world: ScoringWorld, merchant: str) -> None:
    lender = world.nodes["lender"].consents
    pseudonym = world.merchants[merchant].pseudonym
    first = world.give(merchant)
    world.now += timedelta(seconds=1)
    second = world.give(merchant)
    world.now += timedelta(seconds=1)
    world.give(merchant, purposes=("model-training",))
    found = asked_under(lender.of_merchant(pseudonym, world.now), "lender", "credit-scoring")
    assert found is not None
    assert found.record == second
    world.change(second, "paused", merchant=merchant)
    found = asked_under(lender.of_merchant(pseudonym, world.now), "lender", "credit-scoring")
    assert found is not None
    assert found.record == first
    assert [held.state for held in lender.of_merchant(pseudonym, world.now)] == ["active", "paused", "active"]
    assert asked_under(lender.of_merchant(pseudonym, world.now), "lender", "pre-qualification") is None


def test_consents_of_several_merchants_are_looked_up_at_once(world: ScoringWorld, merchant: str) -> None:
    lender, pseudonym = world.nodes["lender"].consents, world.merchants[merchant].pseudonym
    world.give(merchant)
    held = lender.of_merchants([pseudonym, bytes(32), pseudonym], world.now)
    assert held == {pseudonym: lender.of_merchant(pseudonym, world.now)}
    assert len(held[pseudonym]) == 1


def _resigned(token: str, key: IdentityKey, typ: str = "merchant-keys", kid: str = "platform") -> str:
    """The same claims under another key."""
    return sign(peek_payload(token), key, typ=typ, kid=kid)


# training


def consortium(schema: Schema) -> Schema:
    """The same schema with the label's kind alone."""
    plain = schema.model_dump()
    return Schema.model_validate({**plain, "kinds": {"bank": plain["kinds"]["bank"]}})


@pytest.mark.parametrize(
    ("sources", "across", "alone"),
    [
        ({"bank": "a"}, False, True),
        ({"bank": "a", "tax": "b"}, True, False),
        ({"bank": "a", "tax": "b", "utility": "c"}, True, False),
        ({"tax": "b", "utility": "c"}, False, False),
        ({"bank": "a", "customs": "d"}, False, False),
    ],
)
def test_which_consents_count_for_a_campaign(
    world: ScoringWorld, sources: dict[str, str], across: bool, alone: bool
) -> None:
    assert counts_for(world.schema, sources) is across
    assert counts_for(consortium(world.schema), sources) is alone


def sources_of(world: ScoringWorld, *merchants: str, schema: Schema | None = None) -> dict[str, list[str | None]]:
    rows = b"".join(world.merchants[each].pseudonym for each in merchants)
    pseudonyms = np.frombuffer(rows, dtype=np.uint8).reshape(-1, 32)
    return world.nodes[NODE].consents.sources(pseudonyms, schema or world.schema)


def test_training_reads_sources_from_the_newest_consent_that_counts(world: ScoringWorld, merchant: str) -> None:
    second = world.newcomer()
    world.give(merchant)
    world.give(second, sources={"bank": NODE, "tax": "tax-02"})
    alone = world.give(merchant, sources={"bank": NODE})
    found = sources_of(world, second, merchant)
    assert found == {"bank": [NODE, NODE], "tax": ["tax-02", "tax-01"], "utility": [None, "utility-01"]}
    assert sources_of(world, merchant, schema=consortium(world.schema)) == {"bank": [NODE]}
    world.now += timedelta(seconds=1)
    newer = world.give(merchant, sources={"bank": NODE, "utility": "utility-01"})
    assert sources_of(world, merchant)["tax"] == [None]
    world.change(newer, "revoked", merchant=merchant)
    assert sources_of(world, merchant)["tax"] == ["tax-01"]
    world.change(alone, "revoked", merchant=merchant)
    with pytest.raises(PolicyRefusal):
        sources_of(world, merchant, schema=consortium(world.schema))


def test_of_consents_of_one_time_queries_and_training_take_the_same(world: ScoringWorld, merchant: str) -> None:
    first, second, third = sorted(secrets.token_hex(16) for _ in range(3))
    given = [
        world.give(merchant, record_id=record_id, sources={"bank": NODE, other: f"{other}-01"}, recipients=(NODE,))
        for record_id, other in ((second, "tax"), (third, "utility"), (first, "tax"))
    ]
    assert len({record.event_time for record in given}) == 1
    consents, pseudonym = world.nodes[NODE].consents, world.merchants[merchant].pseudonym
    assert [held.record.record_id for held in consents.of_merchant(pseudonym, world.now)] == [third, second, first]
    found = asked_under(consents.of_merchant(pseudonym, world.now), NODE, "credit-scoring")
    assert found is not None
    row = np.frombuffer(pseudonym, dtype=np.uint8).reshape(1, 32)
    assert consents.counting(row, world.schema) == [found.record.record_id] == [third]
    listed = [held.record.record_id for held in consents.all(world.now, limit=10_000)]
    assert [each for each in listed if each in (first, second, third)] == [third, second, first]


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": ("credit-scoring",)},
        {"sources": {"bank": "bank-02", "tax": "tax-01"}, "recipients": (NODE,)},
        {"valid_until_days": -1},
    ],
)
def test_training_refuses_a_slice_with_a_merchant_that_did_not_consent(
    world: ScoringWorld, merchant: str, changes: dict[str, object]
) -> None:
    if "valid_until_days" in changes:
        changes = {"valid_from": world.now - timedelta(days=2), "valid_until": world.now - timedelta(days=1)}
    willing = world.newcomer()
    world.give(willing)
    world.give(merchant, **changes)
    assert sources_of(world, willing)["bank"] == [NODE]
    with pytest.raises(PolicyRefusal) as caught:
        sources_of(world, willing, merchant)
    assert caught.value.reason == "consent-unknown"


def test_a_consent_with_another_bank_does_not_end_the_one_with_this_bank(world: ScoringWorld, merchant: str) -> None:
    world.give(merchant)
    world.now += timedelta(seconds=1)
    world.give(merchant, sources={"bank": "bank-02", "tax": "tax-01"}, recipients=(NODE,))
    # Which of the two a cohort uses is checked by the witness: a merchant stands at one bank only.
    assert sources_of(world, merchant)["bank"] == [NODE]


def test_training_waits_for_a_fresh_feed(world: ScoringWorld, merchant: str) -> None:
    world.give(merchant)
    world.now += timedelta(seconds=61)
    with pytest.raises(PolicyRefusal) as caught:
        sources_of(world, merchant)
    assert caught.value.reason == "feed-stale"
    world.heartbeat()
    assert sources_of(world, merchant)["bank"] == [NODE]
