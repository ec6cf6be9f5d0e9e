"""What registered notices mean for consents: one reading of the statements for hub and nodes (docs/consent.md, 1).

N1  A consent names a registered text: its version, its language and its SHA-256 are those of one statement, whose
    purposes include all of the consent's.
N2  A later version with `reconsent` ends the consents to every earlier version of that notice at its `ends_at`. Of
    several such versions the earliest end counts, and no later statement takes an end back.

*Argument.* Statements are signed by the hub alone. Each further one can only end consents (N2) or let merchants consent
under one more text that is public and logged (N1); so a hub that lies in them gets no answer that the merchant's own
signature did not already allow. What it could gain from is silence; see docs/consent.md for how that shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from crypto.wire.consent import PrivacyNotice, Purpose
from crypto.wire.notice import NoticeStatement

NOTICE_TYPE = "notice"
NoticeState = Literal["current", "notice-unknown", "notice-superseded"]


@dataclass(frozen=True)
class Standing:
    """Where a registered text stands.

    Attributes:
        statement: that registered it.
        newest: the newest version of the same notice; `statement` itself where there is none newer.
        ends_at: when consents under it end; None while no later version asks again.
    """

    statement: NoticeStatement
    newest: NoticeStatement
    ends_at: datetime | None


class NoticeRegister:
    """All statements of a hub, whatever their order."""

    def __init__(self, statements: Iterable[NoticeStatement]) -> None:
        self._statements = sorted(statements, key=lambda each: each.serial)

    def standing(self, notice: PrivacyNotice) -> Standing | None:
        """Where the text that a consent names stands; None where no statement has it so (N1)."""
        for statement in self._statements:
            if notice_key(notice) in _keys(statement):
                later = [each for each in self._statements if _follows(each, statement)]
                ends = [each.ends_at for each in later if each.ends_at is not None]
                return Standing(statement, later[-1] if later else statement, min(ends, default=None))
        return None

    def state(self, notice: PrivacyNotice, purposes: Iterable[Purpose], now: datetime) -> NoticeState:
        """N1 and N2 for a consent, at a time."""
        found = self.standing(notice)
        if found is None or not set(purposes) <= set(found.statement.purposes):
            return "notice-unknown"
        return "current" if found.ends_at is None or now < found.ends_at else "notice-superseded"

    def usable(self, purpose: Purpose, now: datetime) -> frozenset[str]:
        """Keys (`notice_key`) of the texts under which a consent to a purpose counts at a time."""
        return frozenset(
            key
            for statement in self._statements
            if purpose in statement.purposes and not self._ended(statement, now)
            for key in _keys(statement)
        )

    def _ended(self, statement: NoticeStatement, now: datetime) -> bool:
        return any(
            _follows(each, statement) and each.ends_at is not None and each.ends_at <= now for each in self._statements
        )


def notice_key(notice: PrivacyNotice) -> str:
    """One text for version, language and hash, for a column of a database."""
    return f"{notice.version}/{notice.language}/{notice.sha256}"


def _keys(statement: NoticeStatement) -> frozenset[str]:
    return frozenset(f"{statement.version}/{language}/{sha256}" for language, sha256 in statement.texts.items())


def _follows(later: NoticeStatement, earlier: NoticeStatement) -> bool:
    return later.notice == earlier.notice and later.serial > earlier.serial
