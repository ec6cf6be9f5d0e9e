"""Where pages are served, as configured; never as a request says."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True)
class PageSite:
    """The address that people type, e.g. ``https://hub.example.org``.

    Attributes:
        origin: scheme, host and port, no path; lower case.
    """

    origin: str

    def __post_init__(self) -> None:
        """Refuse what is no origin with a ValueError."""
        if not _ORIGIN.fullmatch(self.origin):
            raise ValueError("must be an origin such as https://hub.example.org, without a path")
        if not self.secure and not self.loopback:
            raise ValueError("needs TLS: write https://; plain http:// is for loopback addresses only")

    @cached_property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS."""
        return self.origin.startswith("https://")

    @cached_property
    def hostname(self) -> str:
        """Its name, without port."""
        return urlsplit(self.origin).hostname or ""

    @cached_property
    def hosts(self) -> frozenset[str]:
        """What a request's Host header may say; on this machine alone, any of its own names."""
        host = self.origin.partition("//")[2]
        if not self.loopback:
            return frozenset({host})
        port = host.removeprefix(f"[{self.hostname}]").removeprefix(self.hostname)
        return frozenset(f"{name}{port}" for name in ("localhost", "127.0.0.1", "[::1]"))

    def serves(self, origin: str) -> bool:
        """Whether a page at this origin is one of ours."""
        scheme, _, host = origin.partition("://")
        return scheme == self.origin.partition("://")[0] and host in self.hosts

    @cached_property
    def loopback(self) -> bool:
        """Whether it is this machine alone."""
        if self.hostname == "localhost":
            return True
        return self._address is not None and self._address.is_loopback

    @cached_property
    def passkeys(self) -> bool:
        """Whether browsers offer passkeys here: for names, not for bare addresses."""
        return self._address is None

    def cookie(self, name: str) -> str:
        """A cookie's name; `__Host-` binds it to this host where browsers allow that, which is with TLS."""
        return f"__Host-{name}" if self.secure else name

    @cached_property
    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            return ipaddress.ip_address(self.hostname)
        except ValueError:
            return None


def local_path(given: str | None, *, default: str = "/") -> str:
    """A path of this site to go on to after signing in; `default` for whatever could lead elsewhere."""
    if not given or len(given) > 1024 or not given.startswith("/") or given.startswith(("//", "/\\")):
        return default
    if any(not char.isprintable() or char == "\\" for char in given):
        return default
    try:
        parts = urlsplit(given)
    except ValueError:
        return default
    if parts.scheme or parts.netloc or parts.path.startswith(("/signin", "/signout", "/signup", "//")):
        return default
    return given
