"""The policy's decisions one by one, and their order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from crypto.wire.base import SUITE
from crypto.wire.consent import (
    ConsentRecord,
    DataCategory,
    DataLife,
    Frequency,
    PrivacyNotice,
    SeparateConsent,
)
from crypto.wire.party import Party
from crypto.wire.scoring import RefusalCode, ScoreItem, ScoreRequest
from nodes.consents import HeldConsent
from nodes.policy import (
    STATE_CODES,
    Limits,
    ModelFacts,
    Uses,
    decide_item,
    decide_request,
    may_give_reasons,
    period,
)

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
PSEUDONYM = bytes(range(32))
SOURCES = {"bank": "bank-01", "tax": "tax-01", "utility": "utility-01"}
KINDS = ("bank", "tax", "utility")
CONSENT_ID = "a" * 32


def party(party_id: str, kind: str) -> Party:
    return Party(party_id=party_id, kind=kind, region="x", sign_key=bytes(32), box_key=bytes(32))


ME = party("tax-01", "tax")
ROSTER = {p.party_id: p for p in (ME, party("bank-01", "bank"), party("utility-01", "utility"))}
MODEL = ModelFacts(model_id=f"sha256:{'0' * 64}", kinds=KINDS, data_class="C2", released=True)
LIMITS = Limits(max_items=2)


def consent(**changes: Any) -> ConsentRecord:
    values: dict[str, Any] = {
        "suite": SUITE,
        "schema_version": "27560-1",
        "record_id": CONSENT_ID,
        "pii_principal_id": PSEUDONYM,
        "privacy_notice": PrivacyNotice(version="1", language="zh", sha256="0" * 64),
        "purposes": ("credit-scoring",),
        "pii_information": (
            DataCategory(category="tax", data_class="C2"),
            DataCategory(category="reasons", data_class="C2"),
        ),
        "sources": SOURCES,
        "recipients": ("lender",),
        "separate_consent": (
            SeparateConsent(recipient="lender", category="tax"),
            SeparateConsent(recipient="lender", category="reasons"),
        ),
        "adverse_consequences_notice": True,
        "fetch_type": "PERIODIC",
        "frequency": Frequency(count=2, per="day"),
        "data_life": DataLife(unit="month", value=1),
        "valid_from": NOW,
        "valid_until": NOW + timedelta(days=1),
        "jurisdiction": "CN",
        "legal_article": "x",
        "withdrawal_method": "x",
        "collection_method": "x",
        "event_time": NOW,
    }
    return ConsentRecord.model_validate({**values, **changes})


def item(**changes: Any) -> ScoreItem:
    return ScoreItem.model_validate({"pseudonym": PSEUDONYM, "consent_id": CONSENT_ID, "sources": SOURCES, **changes})


def request(**changes: Any) -> ScoreRequest:
    values: dict[str, Any] = {
        "suite": SUITE,
        "requester": "lender",
        "purpose": "credit-scoring",
        "model_id": MODEL.model_id,
        "nonce": bytes(16),
        "issued_at": NOW,
        "expires_at": NOW + timedelta(minutes=5),
        "items": (item(),),
    }
    return ScoreRequest.model_validate({**values, **changes})


def of_request(asked: ScoreRequest | None = None, **changes: Any) -> RefusalCode | None:
    facts: dict[str, Any] = {
        "model": MODEL,
        "nonce_reused": False,
        "feed_age": timedelta(seconds=60),
        "limits": LIMITS,
        "now": NOW,
        **changes,
    }
    return decide_request(asked or request(), **facts)


def of_item(record: ConsentRecord | None = None, state: Any = "active", **changes: Any) -> RefusalCode | None:
    facts: dict[str, Any] = {
        "me": ME,
        "held": HeldConsent(record or consent(), state, "token"),
        "model": MODEL,
        "uses": Uses(),
        "roster": ROSTER,
        "limits": LIMITS,
        **changes,
    }
    asked = facts.pop("request", None) or request()
    return decide_item(asked, facts.pop("item", asked.items[0]), **facts)


def test_a_request_in_order_passes() -> None:
    assert of_request() is None
    assert of_item() is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"asked": request(items=(item(),) * 3)}, "request-too-large"),
        ({"asked": request(items=(item(), item(sources={"bank": "bank-01", "tax": "tax-01"})))}, "mixed-sources"),
        ({"now": NOW + timedelta(minutes=5)}, "request-expired"),
        ({"now": NOW - timedelta(seconds=31)}, "request-expired"),
        ({"asked": request(expires_at=NOW + timedelta(seconds=301))}, "request-expired"),
        ({"nonce_reused": True}, "nonce-reused"),
        ({"feed_age": timedelta(seconds=61)}, "feed-stale"),
        ({"model": None}, "model-unknown"),
        ({"model": replace(MODEL, released=False)}, "model-not-released"),
    ],
)
def test_requests_are_refused(changes: dict[str, Any], code: str) -> None:
    assert of_request(**changes) == code


def test_the_first_rule_of_a_request_that_fails_gives_the_code() -> None:
    everything = {
        "now": NOW + timedelta(minutes=5),
        "nonce_reused": True,
        "feed_age": timedelta(hours=1),
        "model": None,
    }
    order = []
    for code, name in (
        ("request-expired", "now"),
        ("nonce-reused", "nonce_reused"),
        ("feed-stale", "feed_age"),
        ("model-unknown", "model"),
    ):
        order.append(of_request(**everything))
        assert order[-1] == code
        del everything[name]
    assert of_request() is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("revoked", "consent-revoked"),
        ("paused", "consent-paused"),
        ("expired", "consent-expired"),
        ("not-yet-valid", "consent-not-yet-valid"),
        ("refused", "consent-not-active"),
    ],
)
def test_states_that_are_not_active(state: str, code: str) -> None:
    assert of_item(state=state) == code


ONLY_BANK = (DataCategory(category="bank", data_class="C2"),)
FOR_BANK = (SeparateConsent(recipient="lender", category="bank"),)
FOR_OTHER = (SeparateConsent(recipient="other", category="tax"),)
WITHOUT_UTILITY = {kind: name for kind, name in SOURCES.items() if kind != "utility"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"held": None}, "consent-unknown"),
        ({"record": consent(pii_principal_id=bytes(32))}, "consent-unknown"),
        ({"record": consent(recipients=("platform",))}, "recipient-not-consented"),
        ({"record": consent(purposes=("model-training",))}, "purpose-not-consented"),
        ({"item": item(sources=WITHOUT_UTILITY)}, "source-not-consented"),
        ({"record": consent(sources={**SOURCES, "tax": "tax-02"})}, "source-not-consented"),
        ({"me": party("tax-02", "tax")}, "source-not-consented"),
        ({"model": replace(MODEL, kinds=("bank", "utility"))}, "source-not-consented"),
        ({"roster": {"tax-01": ME, "bank-01": ROSTER["bank-01"]}}, "source-unreachable"),
        ({"roster": {**ROSTER, "bank-01": party("bank-01", "client")}}, "source-unreachable"),
        ({"record": consent(pii_information=ONLY_BANK)}, "category-not-consented"),
        ({"model": replace(MODEL, data_class="C3")}, "category-not-consented"),
        ({"record": consent(separate_consent=FOR_BANK)}, "separate-consent-missing"),
        ({"record": consent(separate_consent=FOR_OTHER)}, "separate-consent-missing"),
        ({"record": consent(adverse_consequences_notice=False)}, "adverse-notice-missing"),
        ({"uses": Uses(in_period=2)}, "frequency-exceeded"),
        ({"record": consent(fetch_type="ONETIME"), "uses": Uses(other_requests=True)}, "frequency-exceeded"),
        ({"uses": Uses(source_sets=frozenset({frozenset(WITHOUT_UTILITY.items())}))}, "source-set-changed"),
        ({"uses": Uses(model_ids=frozenset({"a", "b", "c"}))}, "model-versions-exceeded"),
    ],
)
def test_items_are_refused(changes: dict[str, Any], code: str) -> None:
    assert of_item(**changes) == code


@pytest.mark.parametrize(
    "uses",
    [
        Uses(in_period=1, other_requests=True),
        Uses(source_sets=frozenset({frozenset(SOURCES.items())})),
        Uses(model_ids=frozenset({"a", "b"})),
        Uses(model_ids=frozenset({"a", "b", MODEL.model_id})),
    ],
)
def test_uses_within_the_limits_pass(uses: Uses) -> None:
    assert of_item(uses=uses) is None


def test_a_single_other_source_is_too_few() -> None:
    record = consent(
        sources=WITHOUT_UTILITY,
        recipients=("bank-01",),
        separate_consent=(SeparateConsent(recipient="bank-01", category="tax"),),
    )
    asked = request(requester="bank-01", items=(item(sources=WITHOUT_UTILITY),))
    assert of_item(record, request=asked) == "too-few-sources"
    by_another = request(items=(item(sources=WITHOUT_UTILITY),))
    assert of_item(consent(sources=WITHOUT_UTILITY), request=by_another) is None


def test_sources_of_kinds_outside_the_model_are_left_out() -> None:
    record = consent(sources={**SOURCES, "customs": "customs-01"})
    assert of_item(record) is None
    with_customs = item(sources={**SOURCES, "customs": "customs-01"})
    assert of_item(record, item=with_customs) == "source-not-consented"


def test_data_that_are_not_sensitive_need_no_special_forms() -> None:
    plain = consent(
        pii_information=(DataCategory(category="tax", data_class="C1"),),
        separate_consent=(),
        adverse_consequences_notice=False,
    )
    assert of_item(plain, model=replace(MODEL, data_class="C1")) is None
    assert of_item(plain) == "category-not-consented"


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"pii_information": (DataCategory(category="tax", data_class="C2"),)}, False),
        ({"separate_consent": (SeparateConsent(recipient="lender", category="tax"),)}, False),
        ({"pii_information": (DataCategory(category="reasons", data_class="C1"),), "separate_consent": ()}, True),
    ],
)
def test_reasons_need_their_own_category(changes: dict[str, Any], allowed: bool) -> None:
    assert may_give_reasons(consent(**changes), "lender") is allowed
    assert not may_give_reasons(consent(**changes), "somebody") or not changes.get("separate_consent", True)


def test_periods_take_the_longer_reading() -> None:
    assert period("hour") == timedelta(hours=1)
    assert period("month", 2) == timedelta(days=62)
    assert period("year") == timedelta(days=366)


def test_every_code_that_a_node_can_say_is_known_to_the_wire() -> None:
    assert set(STATE_CODES.values()) <= set(get_args(RefusalCode))
