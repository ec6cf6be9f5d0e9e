"""What the page of a merchant's consents shows: what is held here, how often it was used, what a query still lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from crypto.wire.consent import ConsentRecord, Purpose
from models.web.problems import PageProblem
from nodes.consents import ConsentChange, HeldConsent
from nodes.model_book import BookedModel
from nodes.policy import MIN_OTHER_SOURCES, STATE_CODES, category_refusal, may_give_reasons, period
from nodes.services import Services
from nodes.tables.scoring import UseRow
from nodes.web.bank_words import (
    EVENTS,
    PURPOSES,
    STATES,
    day,
    frequency_text,
    kind_title,
    life_text,
    moment,
    refused,
    say,
)

GOOD, BAD, OPEN = "good", "bad", "open"


@dataclass(frozen=True)
class Step:
    """One point of a consent's history; `state` is `good`, `bad` or, for what lies ahead, `open`."""

    time: str
    text: str
    state: str


@dataclass(frozen=True)
class ConsentSheet:
    """One consent.

    Attributes:
        used, left: answers that this node gave under it in the current period, and how many more it will give; None
            where this node is none of its sources and so counts nothing.
        lacks: what keeps this bank from a score under it; empty where nothing does.
    """

    consent_id: str
    state: str
    state_code: str
    purposes: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    recipients: tuple[str, ...]
    is_recipient: bool
    valid_from: str
    valid_until: str
    frequency: str
    used: int | None
    left: int | None
    data_life: str
    reasons_allowed: bool
    notice: str
    history: tuple[Step, ...]
    lacks: tuple[PageProblem, ...]


@dataclass(frozen=True)
class MerchantConsents:
    """All consents of a merchant that name this node, the newest first; `lacks` is what the best of them lacks."""

    identifier: str
    known: bool
    sheets: tuple[ConsentSheet, ...]
    ready: bool
    lacks: tuple[PageProblem, ...]


class ConsentDesk:
    """Looks a merchant's consents up.

    Args:
        services: the node's.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def look(self, identifier: str, *, purpose: Purpose, lang: str) -> MerchantConsents:
        """What this node holds of a merchant, and what a score for `purpose` still needs."""
        runtime, now = self._services.runtime, self._services.runtime.now()
        merchant = runtime.pseudonyms.merchant_of(identifier.strip())
        held = [] if merchant is None else self._services.consents.of_merchant(merchant, now)
        model = self._services.models.newest()
        sheets = [self._sheet(each, model, purpose, now, lang) for each in held]
        best = min(sheets, key=lambda sheet: len(sheet.lacks), default=None)
        lacks = (refused("consent-unknown", lang),) if best is None else best.lacks
        return MerchantConsents(identifier.strip(), merchant is not None, tuple(sheets), not lacks, lacks)

    def _sheet(
        self, held: HeldConsent, model: BookedModel | None, purpose: Purpose, now: datetime, lang: str
    ) -> ConsentSheet:
        record, config = held.record, self._services.runtime.config
        schema = None if model is None else model.schema
        own = record.sources.get(config.kind) == config.party_id
        used = self._used(record, now) if own else None
        codes = lacking(held, config.party_id, purpose, model)
        if used is not None and used >= record.frequency.count and not codes:
            codes = ["frequency-exceeded"]
        return ConsentSheet(
            consent_id=record.record_id,
            state=say(lang, STATES[held.state]),
            state_code=held.state,
            purposes=tuple(say(lang, PURPOSES[each]) for each in record.purposes),
            sources=tuple((kind_title(schema, kind, lang), party) for kind, party in record.sources.items()),
            recipients=record.recipients,
            is_recipient=config.party_id in record.recipients,
            valid_from=day(record.valid_from),
            valid_until=day(record.valid_until),
            frequency=say(lang, "once") if record.fetch_type == "ONETIME" else frequency_text(record.frequency, lang),
            used=used,
            left=None if used is None else max(record.frequency.count - used, 0),
            data_life=life_text(record.data_life, lang),
            reasons_allowed=may_give_reasons(record, config.party_id),
            notice=record.privacy_notice.version,
            history=history(record, self._services.consents.events(record.record_id), now, lang),
            lacks=tuple(refused(code, lang) for code in codes),
        )

    def _used(self, record: ConsentRecord, now: datetime) -> int:
        since = int((now - period(record.frequency.per)).timestamp())
        query = select(func.count()).select_from(UseRow)
        with self._services.runtime.store.reading() as session:
            return session.scalar(query.where(UseRow.record_id == record.record_id, UseRow.used_at > since)) or 0


def lacking(held: HeldConsent, recipient: str, purpose: Purpose, model: BookedModel | None) -> list[str]:
    """Codes of what keeps a recipient from a score under a consent, as far as the consent itself can tell.

    The sources decide by the same rules (`nodes.policy`); what only they know, such as their own count of uses and
    the freshness of their feeds, is not in it.
    """
    record = held.record
    found: list[str] = [] if held.state == "active" else [STATE_CODES[held.state]]
    if recipient not in record.recipients:
        found.append("recipient-not-consented")
    if purpose not in record.purposes:
        found.append("purpose-not-consented")
    if model is None or model.artefact.scorecard is None:
        return found
    named = {kind: record.sources[kind] for kind in model.kinds if kind in record.sources}
    if len(set(named.values()) - {recipient}) < MIN_OTHER_SOURCES:
        found.append("too-few-sources")
    refusals = (category_refusal(recipient, record, kind, model.data_class(kind)) for kind in named)
    found += [code for code in refusals if code is not None]
    return list(dict.fromkeys(found))


def history(record: ConsentRecord, events: Iterable[ConsentChange], now: datetime, lang: str) -> tuple[Step, ...]:
    """A consent's life in order of time, with what lies ahead."""
    steps: list[tuple[datetime, Step]] = []

    def add(when: datetime, text: str, state: str) -> None:
        steps.append((when, Step(moment(when), say(lang, text), state)))

    ended = False
    add(record.event_time, EVENTS["given"], GOOD)
    if record.valid_from > record.event_time:
        add(record.valid_from, "Comes into force", OPEN if record.valid_from > now else GOOD)
    for event in events:
        ended = ended or event.event in ("revoked", "refused", "expired")
        add(event.time, EVENTS[event.event], GOOD if event.event == "resumed" else BAD)
    if not ended:
        ahead = record.valid_until > now
        add(record.valid_until, "Runs out" if ahead else EVENTS["expired"], OPEN if ahead else BAD)
    return tuple(step for _, step in sorted(steps, key=lambda each: each[0]))
