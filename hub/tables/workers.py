"""Workers: when each last looked for campaigns."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from hub.declarative import Seconds
from hub.tables.base import Base


class WorkerRow(Base):
    """The worker of one machine; `at` is when it last looked through all campaigns."""

    __tablename__ = "workers"

    machine: Mapped[str] = mapped_column(String(255), primary_key=True)
    at: Mapped[int] = mapped_column(Seconds)
