"""A consent's receipt as a page: the parts of ISO/IEC TS 27560:2023 in their order, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto.wire.receipt import ReceiptFile
from hub.web import merchant_words as words
from hub.web.merchant_views import Category, Happening, Named, Parties, categories_of
from models.said import Said

ROLES = {"pii-source": "source of data", "pii-recipient": "recipient of the result"}


@dataclass(frozen=True)
class ReceiptParty:
    """A party that the consent names, and as what."""

    party: Named
    kind: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class ReceiptView:
    """What a receipt's page shows; the file has the proof as well."""

    receipt_id: str
    record_id: str
    pseudonym: str
    issued_at: datetime
    schema_version: str
    purposes: tuple[str, ...]
    categories: tuple[Category, ...]
    separate: tuple[tuple[Named, str], ...]
    adverse: bool
    frequency: Said
    data_life: Said
    valid_from: datetime
    valid_until: datetime
    jurisdiction: str
    legal_article: str
    withdrawal_method: str
    collection_method: str
    notice_version: str
    notice_language: str
    notice_sha256: str
    parties: tuple[ReceiptParty, ...]
    history: tuple[Happening, ...]
    log_index: int


def receipt_view(file: ReceiptFile, parties: Parties) -> ReceiptView:
    """A receipt in words."""
    receipt, terms = file.receipt, file.receipt.pii_processing
    return ReceiptView(
        receipt_id=receipt.receipt_id,
        record_id=receipt.record_id,
        pseudonym=receipt.pii_principal_id.hex(),
        issued_at=receipt.issued_at,
        schema_version=receipt.schema_version,
        purposes=tuple(words.purpose(name) for name in terms.purposes),
        categories=categories_of(terms, parties),
        separate=tuple(
            (parties.named(each.recipient), words.category(each.category)) for each in terms.separate_consent
        ),
        adverse=terms.adverse_consequences_notice,
        frequency=words.frequency(terms.frequency.count, terms.frequency.per, terms.fetch_type),
        data_life=words.span(terms.data_life.unit, terms.data_life.value),
        valid_from=terms.valid_from,
        valid_until=terms.valid_until,
        jurisdiction=terms.jurisdiction,
        legal_article=terms.legal_article,
        withdrawal_method=terms.withdrawal_method,
        collection_method=terms.collection_method,
        notice_version=terms.privacy_notice.version,
        notice_language=terms.privacy_notice.language,
        notice_sha256=terms.privacy_notice.sha256,
        parties=tuple(
            ReceiptParty(
                Named(each.party_id, each.party_name, each.party_type),
                words.kind(each.party_type),
                tuple(ROLES[role] for role in each.party_role),
            )
            for each in receipt.party_identification
        ),
        history=tuple(
            Happening(each.event_time, words.EVENTS[each.event_type], words.EVENT_TONES.get(each.event_type, "neutral"))
            for each in receipt.events
        ),
        log_index=file.proof.inclusion.index,
    )
