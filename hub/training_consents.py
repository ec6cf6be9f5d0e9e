"""Which merchants a campaign may train on: the arrays that a cohort is formed from (docs/protocol.md, 4).

A consent counts for a campaign when

* its purposes have `model-training`, it was not paused, revoked or refused, and it is valid at the given time;
* the kinds of the sources that it names are all among the schema's kinds;
* they include the label's kind; and,
* where the schema has two or more kinds, at least one other.

So nobody's rows are used beside data that the merchant did not name, and each merchant adds something to a table across
sources. Where a merchant has several such consents the newest counts, by the time it was signed and then by its id:
nodes hold the same consents and come to the same choice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from hub.clock import seconds
from hub.consent_checks import GIVEN
from hub.db import Database
from hub.tables.consents import ConsentRow


@dataclass(frozen=True)
class TrainingMerchants:
    """Merchants in order of their pseudonyms, and which party holds their data at each kind.

    Attributes:
        pseudonyms: (n, 32) uint8.
        sources: kind → n party ids, None where the consent names nobody.
    """

    pseudonyms: NDArray[np.uint8]
    sources: Mapping[str, Sequence[str | None]]


def training_merchants(db: Database, kinds: Sequence[str], label_kind: str, now: datetime) -> TrainingMerchants:
    """Collect the merchants whose consents count for a campaign (see above).

    Args:
        db: the hub's.
        kinds: of the campaign's schema.
        label_kind: the kind that holds the outcome.
        now: when consents must be valid.
    """
    moment = seconds(now)
    query = (
        select(ConsentRow.pseudonym, ConsentRow.sources)
        .where(
            ConsentRow.training,
            ConsentRow.state == GIVEN,
            ConsentRow.valid_from <= moment,
            ConsentRow.valid_until > moment,
        )
        .order_by(ConsentRow.event_time, ConsentRow.record_id)
    )
    newest: dict[bytes, dict[str, str]] = {}
    with db.reading() as session:
        for pseudonym, text in session.execute(query):
            sources: dict[str, str] = json.loads(text)
            if _counts(sources, kinds, label_kind):
                newest[pseudonym] = sources  # in order of time: a later one replaces an earlier
    pseudonyms = sorted(newest)
    return TrainingMerchants(
        pseudonyms=np.frombuffer(b"".join(pseudonyms), dtype=np.uint8).reshape(-1, 32),
        sources={kind: [newest[pseudonym].get(kind) for pseudonym in pseudonyms] for kind in kinds},
    )


def _counts(sources: Mapping[str, str], kinds: Sequence[str], label_kind: str) -> bool:
    needed = 1 if len(kinds) == 1 else 2
    return label_kind in sources and set(sources) <= set(kinds) and len(sources) >= needed
