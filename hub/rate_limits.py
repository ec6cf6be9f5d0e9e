"""How often one address may ask where no signature or account stands before the answer."""

from __future__ import annotations

from limits import parse
from limits.storage import MemoryStorage, Storage
from limits.strategies import MovingWindowRateLimiter

from hub.errors import TooManyRequestsError


class RateLimit:
    """A moving window for each address.

    Args:
        allowed: in words, such as ``30/minute``.
        what: names the limit, so that others count by themselves.
        storage: where counts are kept; this process's memory where it serves alone.
    """

    def __init__(self, allowed: str, *, what: str, storage: Storage | None = None) -> None:
        self._allowed = parse(allowed)
        self._what = what
        self._limiter = MovingWindowRateLimiter(storage or MemoryStorage())

    def count(self, address: str) -> None:
        """Count a request; TooManyRequestsError beyond the limit."""
        if not self._limiter.hit(self._allowed, self._what, address):
            raise TooManyRequestsError(
                f"More than {self._allowed} came from this address.", remedy="Wait a minute, then try again."
            )
