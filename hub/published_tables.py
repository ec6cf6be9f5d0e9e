"""Tables that campaigns have opened with noise: public, so whoever plans the next campaign may look at them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from crypto.dated import verify_any
from crypto.key_line import KeyLine
from crypto.wire.campaign import Terms
from hub.db import Database
from hub.opened_tables import table_of
from hub.tables.campaigns import CampaignAttemptRow, OpenedTableRow
from models.schema import Schema
from models.tables import OpenedTable


@dataclass(frozen=True)
class PublishedTable:
    """An opened table and the campaign that opened it."""

    campaign_id: str
    table: OpenedTable


def newest_table(
    db: Database, schema: Schema, *, encoder: bool, hub_id: str, hub_keys: KeyLine
) -> PublishedTable | None:
    """The newest opened table of a schema, if any.

    Args:
        db: the hub's.
        schema: the very same document.
        encoder: whether it has the feature of an encoder.
        hub_id, hub_keys: under which terms were signed.

    Raises:
        SignatureError: terms in the database are not the hub's.
    """
    query = (
        select(CampaignAttemptRow.attempt, CampaignAttemptRow.campaign_id, CampaignAttemptRow.terms)
        .join(OpenedTableRow, OpenedTableRow.attempt == CampaignAttemptRow.attempt)
        .where(CampaignAttemptRow.stage == "scorecard")
        .order_by(CampaignAttemptRow.created_at.desc(), CampaignAttemptRow.attempt.desc())
    )
    wanted = schema.hash()
    with db.reading() as session:
        for attempt, campaign_id, token in session.execute(query):
            terms = verify_any(token, hub_keys, Terms, typ="terms", kid=hub_id)
            if terms.schema_sha256 == wanted and bool(terms.encoders_used) == encoder:
                row = session.get_one(OpenedTableRow, attempt)
                counts = np.frombuffer(row.counts, dtype="<f8").astype(np.float64)
                return PublishedTable(campaign_id, table_of(terms, counts))
    return None
