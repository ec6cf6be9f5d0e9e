"""The witness as a campaign knows it: its signing key may be followed by another while the campaign runs (R3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel

from crypto.dated import verify_dated
from crypto.key_line import KeyLine
from crypto.wire.campaign import RosterEntry
from hub.clock import Clock

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class WitnessSeat:
    """Who the witness is, and its keys as they are when they are asked for.

    Attributes:
        entry: as the roster had it when the campaign was planned.
        keys: gives all its signing keys.
        clock: the hub's.
    """

    entry: RosterEntry
    keys: Callable[[], KeyLine]
    clock: Clock

    @property
    def party_id(self) -> str:
        """The witness's id."""
        return self.entry.party_id

    def now(self) -> RosterEntry:
        """As new terms name it: with the key that holds now."""
        return self.entry.model_copy(update={"sign_key": self.keys().at(self.clock())})

    def said(self, token: str, model: type[M], *, typ: str) -> M:
        """Verify what it has just answered, which has no date: its key must hold by this hub's clock.

        Raises:
            SignatureError: the witness did not sign it, or with a key that does not hold now.
        """
        now = self.clock()
        return verify_dated(token, self.keys(), model, typ=typ, kid=self.party_id, date=lambda _said: now)
