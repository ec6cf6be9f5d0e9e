"""What a node answered before: uses of consents, model versions and source sets (docs/protocol.md, 2 and 7)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, insert, or_, select
from sqlalchemy.orm import Session

from crypto.wire.consent import ConsentRecord
from crypto.wire.scoring import ScoreItem, ScoreRequest
from nodes.policy import Uses, period
from nodes.tables.copies import StoreCopyRow
from nodes.tables.scoring import UseRow

_LOOKUP = 250  # SQLite binds a limited number of values
_COLUMNS = (
    UseRow.id,
    UseRow.record_id,
    UseRow.pseudonym,
    UseRow.recipient,
    UseRow.request_hash,
    UseRow.model_id,
    UseRow.sources,
    UseRow.used_at,
    UseRow.life_until,
)
_COPIED_AT = select(func.max(StoreCopyRow.opened_at))
_ADD = insert(UseRow.__table__)  # type: ignore[arg-type]  # a table, by its class
_ABOUT = select(*_COLUMNS).where(
    or_(
        UseRow.record_id.in_(bindparam("records", expanding=True)),
        (UseRow.recipient == bindparam("recipient")) & UseRow.pseudonym.in_(bindparam("merchants", expanding=True)),
    )
)


@dataclass(frozen=True)
class _Use:
    record_id: str
    pseudonym: bytes
    recipient: str
    request_hash: bytes
    model_id: str
    sources: frozenset[tuple[str, str]]
    used_at: int
    life_until: int


class UseBook:
    """Uses that matter to some requests, within the transaction that answers them.

    Items are decided one after another: each answered item counts for those that follow, of whichever request.
    """

    def __init__(self, session: Session, requests: Mapping[bytes, ScoreRequest], now: datetime) -> None:
        """Args:
        session: the transaction; it writes.
        requests: by their hash.
        now: the time.
        """
        self._session = session
        self._requests = requests
        self._now = int(now.timestamp())
        self._copied_at = session.connection().scalar(_COPIED_AT) or 0
        self._seen: set[int] = set()
        self._by_record: dict[str, list[_Use]] = defaultdict(list)
        self._by_merchant: dict[tuple[str, bytes], list[_Use]] = defaultdict(list)
        self._added: list[dict[str, object]] = []
        for recipient in sorted({request.requester for request in requests.values()}):
            items = [item for each in requests.values() if each.requester == recipient for item in each.items]
            for start in range(0, len(items), _LOOKUP):
                self._load(recipient, items[start : start + _LOOKUP])

    def uses(self, request_hash: bytes, item: ScoreItem, consent: ConsentRecord) -> Uses:
        """What counts for this item of a request."""
        since = self._now - int(period(consent.frequency.per).total_seconds())
        # Uses between a backup and its return are unknown: consents from before count as used up by then.
        unknown = int(consent.event_time.timestamp()) <= self._copied_at
        of_consent = self._by_record[consent.record_id]
        of_merchant = self._by_merchant[self._requests[request_hash].requester, item.pseudonym]
        alive = [use for use in of_merchant if use.life_until > self._now]
        return Uses(
            in_period=consent.frequency.count
            if unknown and self._copied_at > since
            else sum(use.used_at > since for use in of_consent),
            other_requests=unknown or any(use.request_hash != request_hash for use in of_consent),
            source_sets=frozenset(use.sources for use in alive),
            model_ids=frozenset(use.model_id for use in alive),
        )

    def add(self, request_hash: bytes, item: ScoreItem, consent: ConsentRecord) -> None:
        """Record that an item of a request is answered; `write` puts it into the store."""
        life = int(period(consent.data_life.unit, consent.data_life.value).total_seconds())
        request = self._requests[request_hash]
        use = _Use(
            record_id=consent.record_id,
            pseudonym=item.pseudonym,
            recipient=request.requester,
            request_hash=request_hash,
            model_id=request.model_id,
            sources=frozenset(item.sources.items()),
            used_at=self._now,
            life_until=self._now + life,
        )
        self._keep(use)
        self._added.append(vars(use) | {"sources": json.dumps(item.sources, sort_keys=True)})

    def write(self) -> None:
        """Write what was added, in the caller's transaction."""
        if self._added:
            self._session.connection().execute(_ADD, self._added)
            self._added = []

    def _load(self, recipient: str, items: Sequence[ScoreItem]) -> None:
        records = {item.consent_id for item in items}
        merchants = {item.pseudonym for item in items}
        given = {"records": list(records), "recipient": recipient, "merchants": list(merchants)}
        for row in self._session.connection().execute(_ABOUT, given):
            if row.id in self._seen:
                continue  # found by its consent in one part and by its merchant in another
            self._seen.add(row.id)
            use = _Use(
                record_id=row.record_id,
                pseudonym=row.pseudonym,
                recipient=row.recipient,
                request_hash=row.request_hash,
                model_id=row.model_id,
                sources=frozenset(json.loads(row.sources).items()),
                used_at=row.used_at,
                life_until=row.life_until,
            )
            self._keep(use)

    def _keep(self, use: _Use) -> None:
        self._by_record[use.record_id].append(use)
        self._by_merchant[use.recipient, use.pseudonym].append(use)
