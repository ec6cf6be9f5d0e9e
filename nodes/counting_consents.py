"""Which of a merchant's consents counts: for a campaign, and for a query.

**Training cohorts.** A consent counts for a campaign when it has the purpose `model-training` and the kinds it
names are all among the schema's kinds, include the label's kind and, for a schema of two or more kinds, at least
one other. So the consent of a single-kind consortium names `{bank: X}` alone, and does not count for a cross-source
campaign, nor the other way round. Of several such consents of a merchant the newest counts, by the time it was
signed and then by its id.

**Programme statistics.** The same with the purpose `programme-statistics`, where the label's kind alone is enough: a
merchant without credit counts among those who have none.

**Queries.** Whoever asks without naming a consent asks under the newest active one that names it and the purpose.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import null, select, true
from sqlalchemy.orm import Session

from crypto.jws import peek_payload
from crypto.wire.consent import Purpose
from models.schema import Schema
from nodes.tables.consents import ConsentRow

if TYPE_CHECKING:
    from nodes.consents import HeldConsent

TRAINING: Purpose = "model-training"


@dataclass(frozen=True)
class Counting:
    """A consent that counts for a campaign.

    Attributes:
        event_time: Unix seconds of its signing; of two the newer counts, then the greater id.
        sources: kind → the party that the merchant named.
    """

    event_time: int
    record_id: str
    sources: Mapping[str, str]


def newest_counting(
    session: Session,
    merchants: Set[bytes],
    schema: Schema,
    purpose: Purpose,
    *,
    usable: Collection[str],
    now: datetime,
) -> dict[bytes, Counting]:
    """The newest consent of each of these merchants that counts for a campaign; one without is left out.

    Args:
        merchants: pseudonyms.
        schema: the campaign's.
        purpose: what it is for.
        usable: keys of the notices that explain this purpose now.
        now: the moment that matters.
    """
    moment, training = int(now.timestamp()), purpose == TRAINING
    query = select(
        ConsentRow.pseudonym,
        ConsentRow.sources,
        ConsentRow.event_time,
        ConsentRow.record_id,
        null() if training else ConsentRow.token,
    ).where(
        ConsentRow.training if training else true(),
        ConsentRow.state.in_(("given", "resumed")),
        ConsentRow.valid_from <= moment,
        ConsentRow.valid_until > moment,
        ConsentRow.notice.in_(usable),
    )
    newest: dict[bytes, Counting] = {}
    for pseudonym, text, event_time, record_id, token in session.execute(query):
        if pseudonym not in merchants or not (training or _has_purpose(token, purpose)):
            continue
        found, before = Counting(event_time, record_id, json.loads(text)), newest.get(pseudonym)
        if counts_for(schema, found.sources, purpose) and (before is None or _age(before) < _age(found)):
            newest[pseudonym] = found
    return newest


def counts_for(schema: Schema, sources: Mapping[str, str], purpose: Purpose = TRAINING) -> bool:
    """Whether a consent that names these sources counts for a campaign under this schema (see the module)."""
    kinds = set(schema.kinds_in_order())
    named = set(sources)
    fewest = 1 if len(kinds) < 2 or purpose != TRAINING else 2
    return named <= kinds and schema.label.kind in named and len(named) >= fewest


def asked_under(consents: Sequence[HeldConsent], party_id: str, purpose: Purpose) -> HeldConsent | None:
    """The consent that a query is made under: the newest active one of a merchant, else the newest in any state.

    Args:
        consents: the merchant's, newest first.
        party_id: who asks.
        purpose: of the query.

    Returns:
        None where no consent names both.
    """
    suitable = [held for held in consents if party_id in held.record.recipients and purpose in held.record.purposes]
    return next((held for held in suitable if held.state == "active"), suitable[0] if suitable else None)


def _has_purpose(token: str | None, purpose: Purpose) -> bool:
    """Of a stored consent, verified when it came. The purpose has no column: statistics run a few times a year."""
    return token is not None and purpose in json.loads(peek_payload(token))["purposes"]


def _age(consent: Counting) -> tuple[int, str]:
    return consent.event_time, consent.record_id
