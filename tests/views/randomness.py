"""What parties take from the system's randomness, from a fixed stream instead: keys of attempts, seeds, salts."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from crypto.keys import BoxKey, IdentityKey
from crypto.prg import keystream
from hub.campaign_plan import CampaignPlan

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class FixedRandomness:
    """Keys and bytes from one fixed stream, in the order in which they are asked for."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._numbers = seed, count()

    def bytes(self, n: int = 32) -> bytes:
        key = hashlib.sha256(self._seed + next(self._numbers).to_bytes(8, "big")).digest()
        return keystream(key, n)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(secrets, "token_bytes", self.bytes)
        for sort in (BoxKey, IdentityKey):
            patch.setattr(sort, "generate", classmethod(lambda cls: cls.from_bytes(self.bytes())))


def at_fixed_time(plan: CampaignPlan) -> CampaignPlan:
    """The plan as begun at a fixed time, and not over yet."""
    return replace(plan, clock=lambda: BEGAN, deadline=timedelta(days=36_500))
