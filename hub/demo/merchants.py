"""The demo's merchants: what 28,000 phones would do, done by the driver and labelled as synthetic.

Each merchant has its own Ed25519 key; its key is enrolled by the platform in batches and countersigned by its
bank; its consent is signed with that key and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crypto.canonical import canonical_bytes
from crypto.jws import generate_merchant_key, merchant_public, sign_merchant
from crypto.wire.base import SUITE
from crypto.wire.consent import (
    ConsentEvent,
    ConsentRecord,
    DataCategory,
    DataLife,
    EventType,
    Frequency,
    PrivacyNotice,
    Purpose,
    SeparateConsent,
)
from hub.demo.notices import shown

_CHUNK = 500


@dataclass(frozen=True)
class Merchant:
    """A merchant's own side: its id, pseudonym, private key and where its data lie."""

    merchant_id: str
    pseudonym: bytes
    jwk: dict[str, str]
    sources: dict[str, str]

    @property
    def kid(self) -> str:
        """The key id of its signatures."""
        return self.pseudonym.hex()


def make_keys(count: int) -> list[dict[str, str]]:
    """Fresh Ed25519 private JWKs."""
    return [generate_merchant_key() for _ in range(count)]


def public_key(merchant: Merchant) -> dict[str, str]:
    """The public JWK."""
    return dict(merchant_public(merchant.jwk))


def consent_of(
    merchant: Merchant,
    *,
    purposes: tuple[Purpose, ...],
    recipients: tuple[str, ...],
    reasons: bool,
    count: int,
    now: datetime,
    notice: PrivacyNotice | None = None,
) -> tuple[str, str]:
    """Sign a consent; returns (record id, token). Without a `notice` the merchant was shown the shipped sample."""
    categories = [*merchant.sources, *(["reasons"] if reasons else [])]
    record = ConsentRecord(
        suite=SUITE,
        schema_version="27560-1",
        record_id=secrets.token_hex(16),
        pii_principal_id=merchant.pseudonym,
        privacy_notice=notice or shown(purposes),
        purposes=purposes,
        pii_information=tuple(DataCategory(category=name, data_class="C2") for name in categories),
        sources=merchant.sources,
        recipients=recipients,
        separate_consent=tuple(
            SeparateConsent(recipient=recipient, category=name) for recipient in recipients for name in categories
        ),
        adverse_consequences_notice=True,
        fetch_type="PERIODIC",
        frequency=Frequency(count=count, per="month"),
        data_life=DataLife(unit="month", value=6),
        valid_from=now - timedelta(minutes=1),
        valid_until=now + timedelta(days=365),
        jurisdiction="CN",
        legal_article="个人信息保护法 13(1)、23、29；征信业管理条例 13、14",
        withdrawal_method="demo driver",
        collection_method="synthetic, signed by the demo driver",
        event_time=now,
    )
    return record.record_id, sign_merchant(canonical_bytes(record), merchant.jwk, typ="consent", kid=merchant.kid)


def event_of(merchant: Merchant, record_id: str, event: EventType) -> str:
    """Sign a change of state of a consent."""
    change = ConsentEvent(
        suite=SUITE,
        record_id=record_id,
        pii_principal_id=merchant.pseudonym,
        event=event,
        event_time=datetime.now(UTC),
        event_id=secrets.token_hex(16),
    )
    return sign_merchant(canonical_bytes(change), merchant.jwk, typ="consent-event", kid=merchant.kid)


@dataclass(frozen=True)
class ConsentPlan:
    """What one merchant will sign."""

    merchant: Merchant
    purposes: tuple[Purpose, ...]
    recipients: tuple[str, ...]
    reasons: bool = True
    count: int = 100


def _sign_chunk(plans: list[ConsentPlan]) -> list[tuple[str, str]]:
    now = datetime.now(UTC)
    return [
        consent_of(
            plan.merchant,
            purposes=plan.purposes,
            recipients=plan.recipients,
            reasons=plan.reasons,
            count=plan.count,
            now=now,
        )
        for plan in plans
    ]


def sign_all(plans: list[ConsentPlan], progress: Callable[[int], None]) -> Iterator[list[tuple[str, str]]]:
    """Sign in two processes, a chunk at a time, in order."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        for chunk in pool.map(_sign_chunk, _chunks(plans, _CHUNK)):
            progress(len(chunk))
            yield chunk


def _chunks(plans: list[ConsentPlan], size: int) -> Iterable[list[ConsentPlan]]:
    return (plans[start : start + size] for start in range(0, len(plans), size))
