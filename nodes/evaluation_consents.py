"""A node's consents in an evaluation (docs/protocol.md, V2): the rules of a scoring query, merchant by merchant.

The consent that counts for training must also name `credit-scoring` and the bank as a recipient. Everything else is as
in section 7: exactly the consent's sources, at least two besides the bank, category and class, separate consent,
notice, frequency, same source set, at most 3 model versions. A merchant for whom a
rule fails is left out, with no word why.

An attempt counts as one use of each consent that was answered, like a query: the bank learns a score that it may
ask for anyway. Asked again, the node repeats its bytes and counts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from crypto.canonical import digest
from crypto.sealed import context_bytes
from crypto.wire.base import SUITE
from crypto.wire.consent import Purpose
from crypto.wire.party import Party
from crypto.wire.scoring import ScoreItem, ScoreRequest
from models.schema import Schema
from nodes.clock import Clock, system_clock
from nodes.consents import ConsentStore
from nodes.errors import PolicyRefusal
from nodes.journal import Journal
from nodes.model_book import ModelBook
from nodes.points_book import POINTS_BLOB, PointsBatch, PointsRequest, Pseudonyms, Seal
from nodes.policy import MAX_REQUEST_SECONDS, MIN_OTHER_SOURCES, Limits, ModelFacts, Uses, decide_item
from nodes.roster import RosterBook
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow
from nodes.uses import UseBook

PURPOSE: Purpose = "credit-scoring"
_ITEMS = 500


class EvaluationConsents:
    """A `PointsBook` over the node's consents.

    Args:
        party_id: this node.
        store, roster, consents, models, journal, clock: the node's.
        limits: the owner's.
    """

    def __init__(
        self,
        *,
        party_id: str,
        store: Store,
        roster: RosterBook,
        consents: ConsentStore,
        models: ModelBook,
        journal: Journal,
        limits: Limits,
        clock: Clock = system_clock,
    ) -> None:
        self._party_id = party_id
        self._store = store
        self._roster = roster
        self._consents = consents
        self._models = models
        self._journal = journal
        self._limits = limits
        self._clock = clock

    def settle(self, request: PointsRequest, seal: Seal) -> bytes:
        """V2: see `PointsBook.settle`."""
        model_id = request.model.model_id
        if self._models.withdrawn(model_id):
            raise PolicyRefusal(
                "model-withdrawn", f"{model_id} was withdrawn", field="model_id", remedy="evaluate another model"
            )
        ids = [self._consents.counting(batch.pseudonyms, request.schema) for batch in request.batches]
        now = self._clock()
        with self._store.session() as session:
            kept = session.get(AttemptBlobRow, (request.attempt, POINTS_BLOB))
            if kept is not None:
                return kept.data
            decided = [
                self._decide(session, request, batch, named, now)
                for batch, named in zip(request.batches, ids, strict=True)
            ]
            sealed = seal(decided)
            session.add(
                AttemptBlobRow(attempt=request.attempt, name=POINTS_BLOB, data=sealed, kept_at=int(now.timestamp()))
            )
        return sealed

    def scored(self, pseudonyms: Pseudonyms, schema: Schema) -> NDArray[np.bool_]:
        """V3: see `PointsBook.scored`."""
        ids = self._consents.counting(pseudonyms, schema)
        held = self._consents.get_all([each for each in ids if each is not None], self._clock())
        allowed = {
            record_id
            for record_id, each in held.items()
            if each.state == "active" and PURPOSE in each.record.purposes and self._party_id in each.record.recipients
        }
        return np.array([each in allowed for each in ids], dtype=np.bool_)

    def _decide(
        self, session: Session, request: PointsRequest, batch: PointsBatch, ids: list[str | None], now: datetime
    ) -> NDArray[np.bool_]:
        """One batch, in the caller's transaction."""
        answered = np.zeros(len(batch.pseudonyms), dtype=np.bool_)
        codes: Counter[str] = Counter()
        hashed = use_hash(request.attempt, request.h, batch.recipient)
        roster = {party.party_id: party for party in self._roster.parties()}
        facts = self._facts(request, roster)
        items = _items(batch, ids)
        codes["consent-unknown"] = len(batch.pseudonyms) - len(items)
        places = list(items)
        for start in range(0, len(places), _ITEMS):
            part = places[start : start + _ITEMS]
            asked = _asked(batch.recipient, request.model.model_id, hashed, [items[place] for place in part], now)
            held = self._consents.get_all([item.consent_id for item in asked.items], now, session=session)
            book = UseBook(session, {hashed: asked}, now)
            for place, item in zip(part, asked.items, strict=True):
                consent = held.get(item.consent_id)
                code = decide_item(
                    asked,
                    item,
                    me=roster[self._party_id],
                    held=consent,
                    model=facts,
                    uses=Uses() if consent is None else book.uses(hashed, item, consent.record),
                    roster=roster,
                    limits=self._limits,
                )
                if code is None and consent is not None:
                    book.add(hashed, item, consent.record)
                    answered[place] = True
                codes[code or "answered"] += 1
            book.write()
        note: dict[str, str | int | bool | None] = {
            "attempt": request.attempt,
            "h": request.h.hex(),
            "recipient": batch.recipient,
            "model_id": request.model.model_id,
            "merchants": len(answered),
            **{code: number for code, number in sorted(codes.items()) if number},
        }
        self._journal.note("evaluation-points", note, session=session)
        return answered

    def _facts(self, request: PointsRequest, roster: Mapping[str, Party]) -> ModelFacts:
        model, kind = request.model, roster[self._party_id].kind
        return ModelFacts(
            model_id=model.model_id,
            kinds=model.kinds,
            data_class=model.data_class(kind) if kind in model.kinds else "C3",
            released=True,
        )


def use_hash(attempt: str, h: bytes, recipient: str) -> bytes:
    """Under which uses of an attempt are recorded, and its points masked, for one bank."""
    return digest(context_bytes(use="evaluation", attempt=attempt, h=h, recipient=recipient))


def _items(batch: PointsBatch, ids: list[str | None]) -> dict[int, ScoreItem]:
    """Place in the batch → what a query about that merchant would say; without a consent or two others, nothing."""
    items: dict[int, ScoreItem] = {}
    for place, consent_id in enumerate(ids):
        named = {kind: party for kind, parties in batch.sources.items() if (party := parties[place]) is not None}
        if consent_id is not None and len(named) > MIN_OTHER_SOURCES:
            pseudonym = batch.pseudonyms[place].tobytes()
            items[place] = ScoreItem(pseudonym=pseudonym, consent_id=consent_id, sources=named)
    return items


def _asked(recipient: str, model_id: str, hashed: bytes, items: list[ScoreItem], now: datetime) -> ScoreRequest:
    """The query that these items would be, for the rules of section 7."""
    return ScoreRequest(
        suite=SUITE,
        requester=recipient,
        purpose=PURPOSE,
        model_id=model_id,
        nonce=hashed[:16],
        issued_at=now,
        expires_at=now + timedelta(seconds=MAX_REQUEST_SECONDS),
        items=tuple(items),
    )
