"""What a node answered before: uses of consents, model versions and source sets (docs/protocol.md, 2 and 7)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from crypto.wire.consent import ConsentRecord
from crypto.wire.scoring import ScoreItem, ScoreRequest
from nodes.policy import Uses, period
from nodes.tables.scoring import UseRow

_LOOKUP = 250  # SQLite binds a limited number of values


@dataclass(frozen=True)
class _Use:
    record_id: str
    pseudonym: bytes
    recipient: str
    earlier_request: bool
    model_id: str
    sources: frozenset[tuple[str, str]]
    used_at: int
    life_until: int


class UseBook:
    """Uses that matter to one request, within the transaction that answers it.

    Items are decided one after another: each answered item counts for those that follow.
    """

    def __init__(self, session: Session, request: ScoreRequest, request_hash: bytes, now: datetime) -> None:
        self._session = session
        self._request = request
        self._request_hash = request_hash
        self._now = int(now.timestamp())
        self._seen: set[int] = set()
        self._by_record: dict[str, list[_Use]] = defaultdict(list)
        self._by_merchant: dict[bytes, list[_Use]] = defaultdict(list)
        for start in range(0, len(request.items), _LOOKUP):
            self._load(request.items[start : start + _LOOKUP])

    def uses(self, item: ScoreItem, consent: ConsentRecord) -> Uses:
        """What counts for this item."""
        since = self._now - int(period(consent.frequency.per).total_seconds())
        of_consent = self._by_record[consent.record_id]
        alive = [use for use in self._by_merchant[item.pseudonym] if use.life_until > self._now]
        return Uses(
            in_period=sum(use.used_at > since for use in of_consent),
            other_requests=any(use.earlier_request for use in of_consent),
            source_sets=frozenset(use.sources for use in alive),
            model_ids=frozenset(use.model_id for use in alive),
        )

    def add(self, item: ScoreItem, consent: ConsentRecord) -> None:
        """Record that an item is answered."""
        life = int(period(consent.data_life.unit, consent.data_life.value).total_seconds())
        use = _Use(
            record_id=consent.record_id,
            pseudonym=item.pseudonym,
            recipient=self._request.requester,
            earlier_request=False,
            model_id=self._request.model_id,
            sources=frozenset(item.sources.items()),
            used_at=self._now,
            life_until=self._now + life,
        )
        self._keep(use)
        self._session.add(
            UseRow(
                recipient=use.recipient,
                pseudonym=use.pseudonym,
                record_id=use.record_id,
                request_hash=self._request_hash,
                model_id=use.model_id,
                sources=json.dumps(item.sources, sort_keys=True),
                used_at=use.used_at,
                life_until=use.life_until,
            )
        )

    def _load(self, items: Sequence[ScoreItem]) -> None:
        records = {item.consent_id for item in items}
        merchants = {item.pseudonym for item in items}
        about = or_(
            UseRow.record_id.in_(records),
            (UseRow.recipient == self._request.requester) & UseRow.pseudonym.in_(merchants),
        )
        for row in self._session.scalars(select(UseRow).where(about)):
            if row.id in self._seen:
                continue  # found by its consent in one part and by its merchant in another
            self._seen.add(row.id)
            use = _Use(
                record_id=row.record_id,
                pseudonym=row.pseudonym,
                recipient=row.recipient,
                earlier_request=True,
                model_id=row.model_id,
                sources=frozenset(json.loads(row.sources).items()),
                used_at=row.used_at,
                life_until=row.life_until,
            )
            self._keep(use)

    def _keep(self, use: _Use) -> None:
        self._by_record[use.record_id].append(use)
        if use.recipient == self._request.requester:
            self._by_merchant[use.pseudonym].append(use)
