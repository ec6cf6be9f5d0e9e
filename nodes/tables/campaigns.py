"""What the first accepted attempt of a campaign settled for all its others."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from nodes.tables.base import NodeTableBase


class CampaignHoldoutRow(NodeTableBase):
    """The hold-out rule of a campaign, by its first terms that were accepted here."""

    __tablename__ = "campaign_holdouts"

    campaign_id: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[bytes]
    fraction: Mapped[float]


class CampaignPrivacyRow(NodeTableBase):
    """The privacy that a stage's terms stated, as the other stages must state it."""

    __tablename__ = "campaign_privacy"

    campaign_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    stated: Mapped[str]
    """Canonical JSON; see `nodes.campaign_rules`."""


class FrozenCountsRow(NodeTableBase):
    """Rows per bin of the node's own features at its last acceptance under a schema; nobody else is told them."""

    __tablename__ = "frozen_counts"

    schema_sha256: Mapped[str] = mapped_column(primary_key=True)
    campaign_id: Mapped[str]
    accepted_at: Mapped[str]
    """ISO 8601 with offset."""
    counts: Mapped[str]
    """JSON: a list per feature, in the order of the schema."""


class CampaignRowsRow(NodeTableBase):
    """How many of its rows the node brought to a campaign, as it last accepted it; for the owner's own account."""

    __tablename__ = "campaign_rows"

    campaign_id: Mapped[str] = mapped_column(primary_key=True)
    schema_sha256: Mapped[str]
    accepted_at: Mapped[str]
    """ISO 8601 with offset."""
    rows: Mapped[int]
