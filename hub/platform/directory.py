"""What lending asks about merchants: whether one is active, what product rules read of it, its plain identifier."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from sqlalchemy.orm import Session

from hub.platform.financing_scores import Borrower
from hub.platform.products import Applicant


class MerchantDirectory(Protocol):
    """The platform's merchants, by account."""

    def applicant(self, session: Session, account_id: str) -> Applicant:
        """The active merchant of an account; a PlatformError where there is none."""

    def borrower(self, session: Session, account_id: str) -> Borrower:
        """The identifier under which the gateway knows it; likewise."""

    def identifiers(self, session: Session, account_ids: Collection[str]) -> Mapping[str, str]:
        """Identifiers of accounts, active or not, as banks know their own customers."""
