"""Which merchants a campaign may train on: the arrays that a cohort is formed from (docs/protocol.md, 4).

A consent counts for a campaign when

* its purposes have `model-training`, it was not paused, revoked or refused, and it is valid at the given time;
* its notice explains `model-training`, and no later version of it has ended the consents under it;
* the kinds of the sources that it names are all among the schema's kinds;
* they include the label's kind; and,
* where the schema has two or more kinds, at least one other.

So nobody's rows are used beside data that the merchant did not name, and each merchant adds something to a table across
sources. Where a merchant has several such consents the newest counts, by the time it was signed and then by its id:
nodes hold the same consents and come to the same choice.

Programme statistics take the same, with the purpose `programme-statistics` in place of `model-training`; there the
label's kind alone is enough, as a merchant without credit counts among those who have none.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import null, select, true

from crypto.jws import peek_payload
from crypto.wire.consent import Purpose
from hub.clock import seconds
from hub.cohort import Holding
from hub.consent_checks import GIVEN
from hub.db import Database
from hub.notices import register_of
from hub.tables.consents import ConsentRow

_ROWS = 10_000
TRAINING: Purpose = "model-training"


@dataclass(frozen=True)
class TrainingMerchants:
    """Merchants in order of their pseudonyms, and which party holds their data at each kind.

    Attributes:
        pseudonyms: (n, 32) uint8.
        sources: kind → the party that the consent names, if any.
        scorable: (n,) whose consent also lets its node of the label's kind have a credit score; None if not asked.
    """

    pseudonyms: NDArray[np.uint8]
    sources: Mapping[str, Holding]
    scorable: NDArray[np.bool_] | None = None


def training_merchants(
    db: Database,
    kinds: Sequence[str],
    label_kind: str,
    now: datetime,
    *,
    scoring: bool = False,
    purpose: Purpose = TRAINING,
) -> TrainingMerchants:
    """Collect the merchants whose consents count for a campaign (see above).

    Args:
        db: the hub's.
        kinds: of the campaign's schema.
        label_kind: the kind that holds the outcome.
        now: when consents must be valid.
        scoring: look as well who may be scored, in the consents themselves.
        purpose: what they must agree to: model training or programme statistics.
    """
    moment, training = seconds(now), purpose == TRAINING
    pseudonyms = bytearray()
    parties: dict[str, dict[str, int]] = {kind: {} for kind in kinds}
    holders = {kind: array("i") for kind in kinds}
    scorable = bytearray()
    with db.reading() as session:
        query = (
            select(ConsentRow.pseudonym, ConsentRow.sources, ConsentRow.token if scoring or not training else null())
            .where(
                ConsentRow.training if training else true(),
                ConsentRow.state == GIVEN,
                ConsentRow.valid_from <= moment,
                ConsentRow.valid_until > moment,
                ConsentRow.notice.in_(register_of(session).usable(purpose, now)),
            )
            .order_by(ConsentRow.event_time, ConsentRow.record_id)
        )
        for pseudonym, text, token in session.execute(query.execution_options(yield_per=_ROWS)):
            sources: dict[str, str] = json.loads(text)
            if _counts(sources, kinds, label_kind, purpose) and (training or _has_purpose(token, purpose)):
                pseudonyms += pseudonym
                scorable.append(scoring and token is not None and _lets_score(token, sources.get(label_kind or "")))
                for kind, known in parties.items():
                    party = sources.get(kind)
                    holders[kind].append(-1 if party is None else known.setdefault(party, len(known)))
    whole = np.frombuffer(bytes(pseudonyms), dtype=np.uint8).reshape(-1, 32)
    newest = _last_of_each(whole)
    return TrainingMerchants(
        pseudonyms=whole[newest],
        sources={
            kind: Holding(tuple(parties[kind]), np.array(index, dtype=np.int32)[newest])
            for kind, index in holders.items()
        },
        scorable=np.frombuffer(bytes(scorable), dtype=np.bool_)[newest] if scoring else None,
    )


def _last_of_each(pseudonyms: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Rows of every different pseudonym's last occurrence, in order of pseudonyms: rows come in order of time."""
    words = np.ascontiguousarray(pseudonyms).view(">u8")
    order = np.lexsort((np.arange(len(words)), *words.T[::-1]))
    ordered = pseudonyms[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = np.any(ordered[1:] != ordered[:-1], axis=1)
    return order[last]


def _lets_score(token: str, bank: str | None) -> bool:
    """Whether a stored consent, verified when it came, has the purpose and this recipient."""
    record = json.loads(peek_payload(token))
    return "credit-scoring" in record["purposes"] and bank is not None and bank in record["recipients"]


def _has_purpose(token: str | None, purpose: Purpose) -> bool:
    """Of a stored consent. The purpose has no column: statistics are asked for a few times a year."""
    return token is not None and purpose in json.loads(peek_payload(token))["purposes"]


def _counts(sources: Mapping[str, str], kinds: Sequence[str], label_kind: str, purpose: Purpose) -> bool:
    needed = 1 if len(kinds) == 1 or purpose != TRAINING else 2
    return label_kind in sources and set(sources) <= set(kinds) and len(sources) >= needed
