"""How often somebody may try to sign in: pauses grow with the failures, and none lasts longer than an hour.

Counted are attempts by address, and failures by account. So that strangers cannot shut a person out, a browser in which
the account signed in before has a count of its own ("device cookies", OWASP); all others share those of their address
and of the account. Counts live in memory, where no other storage is given: whoever could restart the process needs no
password.
"""

from __future__ import annotations

import ipaddress
import math
import secrets
import time
from hashlib import blake2b

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, Storage
from limits.strategies import MovingWindowRateLimiter

from models.web.errors import TooManyAttempts

_FAILURES = tuple(parse_many("5/minute;10/10 minutes;20/hour"))
"""Of one browser, or of one address at one account."""
_STRANGERS = tuple(parse_many("30/10 minutes;100/hour"))
"""Of all addresses together at one account."""
_ADDRESS = tuple(parse_many("60/minute"))
"""Of one address at all accounts: an office may share it."""
_REQUESTS = tuple(parse_many("30/minute"))
"""Of one address at what costs the site something without a sign-in: challenges and sign-up links."""


class Throttle:
    """Counts attempts.

    Args:
        storage: for moving windows; this process's memory where it is the only one.
        key: of 32 bytes, under which names are blurred; the same for all processes that share the storage.
    """

    def __init__(self, storage: Storage | None = None, key: bytes | None = None) -> None:
        self._limiter = MovingWindowRateLimiter(storage or MemoryStorage())
        self._key = key or secrets.token_bytes(32)

    def attempt(self, account: str, address: str, device: str | None) -> None:
        """Count an attempt before it is looked at, so that many at a time are no way around; TooManyAttempts.

        Args:
            account: the name as given, known or not.
            address: the client's.
            device: id of a browser in which this account has signed in, or None.
        """
        self._hit(_ADDRESS, "address", _network(address))
        if device is not None:
            self._hit(_FAILURES, "device", device)
            return
        self._hit(_FAILURES, "pair", account, _network(address))
        self._hit(_STRANGERS, "strangers", account)

    def succeeded(self, account: str, address: str, device: str | None) -> None:
        """Forget the failures of whoever signed in."""
        of = ("pair", account, _network(address)) if device is None else ("device", device)
        for item in _FAILURES:
            self._limiter.clear(item, *self._names(*of))

    def request(self, address: str) -> None:
        """Count a request that needs no account; TooManyAttempts."""
        self._hit(_REQUESTS, "request", _network(address))

    def _hit(self, items: tuple[RateLimitItem, ...], *of: str) -> None:
        names = self._names(*of)
        for item in items:
            if not self._limiter.hit(item, *names):
                reset = self._limiter.get_window_stats(item, *names).reset_time
                raise TooManyAttempts(max(1, math.ceil(reset - time.time())))

    def _names(self, kind: str, *of: str) -> tuple[str, str]:
        # A fixed number of counts, in which nobody can aim at another's: invented names must not fill the memory.
        digest = blake2b("\x00".join(of).encode(), key=self._key, digest_size=2 if kind != "device" else 8)
        return kind, digest.hexdigest()


def _network(address: str) -> str:
    """The client's address; of IPv6 the /64, all of which one client can use."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
