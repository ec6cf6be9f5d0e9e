"""Rows per bin of what a node froze for its last accepted campaign, so that its owner sees how the data have moved.

They are sums over the node's own rows and stay in its own store: they are published nowhere and are no part of a
protocol.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import select

from models.codes import ABSENT, Codes
from nodes.store import Store
from nodes.tables.campaigns import CampaignRowsRow, FrozenCountsRow


@dataclass(frozen=True)
class KeptCounts:
    """Counts as they were kept.

    Attributes:
        counts: per feature of the node's kind, rows per bin.
    """

    campaign_id: str
    accepted_at: datetime
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CampaignRows:
    """How many of its rows a node brought to a campaign, as it last accepted it."""

    campaign_id: str
    schema_sha256: str
    accepted_at: datetime
    rows: int


class BinCounts:
    """Adds up rows per bin, a block of rows at a time."""

    def __init__(self, widths: Sequence[int]) -> None:
        """Args:
        widths: bins per feature; further columns of the codes, such as an encoder's, are not counted.
        """
        self._counts = [np.zeros(width, dtype=np.int64) for width in widths]

    def add(self, codes: Codes) -> None:
        """Count the rows of (n, F) codes; absent merchants are none."""
        for index, counts in enumerate(self._counts):
            column = codes[:, index]
            np.add(counts, np.bincount(column[column != ABSENT], minlength=len(counts)), out=counts)

    def counts(self) -> tuple[tuple[int, ...], ...]:
        """Rows per bin, per feature."""
        return tuple(tuple(counts.tolist()) for counts in self._counts)


class FrozenCounts:
    """The counts of the last acceptance under each schema."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, schema_sha256: str, campaign_id: str, accepted_at: datetime, counts: BinCounts) -> None:
        """Keep counts in the place of those of the acceptance before, and how many rows were brought."""
        row = FrozenCountsRow(
            schema_sha256=schema_sha256,
            campaign_id=campaign_id,
            accepted_at=accepted_at.isoformat(),
            counts=json.dumps(counts.counts(), separators=(",", ":")),
        )
        brought = CampaignRowsRow(
            campaign_id=campaign_id,
            schema_sha256=schema_sha256,
            accepted_at=accepted_at.isoformat(),
            rows=max((sum(each) for each in counts.counts()), default=0),
        )
        with self._store.session() as session:
            session.merge(row)
            session.merge(brought)

    def campaigns(self) -> list[CampaignRows]:
        """What the node brought to each campaign that it accepted, the oldest first."""
        with self._store.reading() as session:
            rows = session.scalars(select(CampaignRowsRow).order_by(CampaignRowsRow.accepted_at)).all()
        return [
            CampaignRows(row.campaign_id, row.schema_sha256, datetime.fromisoformat(row.accepted_at), row.rows)
            for row in rows
        ]

    def last(self, schema_sha256: str) -> KeptCounts | None:
        """The counts kept under a schema, by its hash (hex), or None."""
        with self._store.reading() as session:
            row = session.get(FrozenCountsRow, schema_sha256)
            if row is None:
                return None
            counts = tuple(tuple(each) for each in json.loads(row.counts))
            return KeptCounts(row.campaign_id, datetime.fromisoformat(row.accepted_at), counts)
