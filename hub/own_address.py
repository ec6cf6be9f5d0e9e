"""Where the hub of this configuration is reached from its own machine, and how its certificate is known."""

from __future__ import annotations

import ssl

from hub.config import HubConfig

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (addresses to compare with, not to bind)


def own_address(config: HubConfig) -> str:
    """Return the URL of the hub's listener as this machine reaches it."""
    host = _ANY.get(config.listen.host, config.listen.host)
    scheme = "https" if config.tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listen.port}"


def own_certificate(config: HubConfig) -> ssl.SSLContext | bool:
    """Return how to verify it: the certificate's name is that of public_url, but that it is the hub's own is enough."""
    if config.tls is None:
        return True
    context = ssl.create_default_context(cafile=str(config.tls.certificate))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
