"""Impact assessments; rows are never changed or deleted."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import BigId, Bytes, LongText, Seconds
from hub.tables.base import Base


class AssessmentRow(Base):
    """A report for the models of a campaign. `facts` is canonical JSON of an `ImpactAssessment`."""

    __tablename__ = "assessments"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    campaign_id: Mapped[str] = mapped_column(String(128), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    facts: Mapped[str] = mapped_column(LongText)
    media_type: Mapped[str] = mapped_column(String(32))
    document: Mapped[bytes] = mapped_column(Bytes)
    registered_at: Mapped[int] = mapped_column(Seconds)
