"""The way to the hub: over which proxy, and which certificates are trusted. HTTP and the link use the same.

Nothing is taken from the environment unless the owner wrote `proxy: env`: a variable that somebody set for another
program must not lead a node's traffic elsewhere.
"""

from __future__ import annotations

import ssl
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from nodes.config import PROXY_FROM_ENVIRONMENT, HubAddress
from nodes.errors import ConfigError
from nodes.keys import read_secret


def proxy_url(address: HubAddress, *, host: str | None = None) -> str | None:
    """The proxy to ask for a tunnel (CONNECT) to the hub, with its credentials; None where there is none.

    The tunnel carries TLS to the hub, so a proxy sees the hub's name and amounts of bytes, and nothing else. Proxies
    that want TLS to themselves (`https://`) are refused: in a trial the link hung on TLS within TLS.

    Args:
        host: another `host:port` of the hub's that is to be reached, always with TLS.

    Raises:
        ConfigError: the environment names a proxy of another kind, or the file of credentials cannot be used.
    """
    if address.proxy is None:
        return None
    if address.proxy != PROXY_FROM_ENVIRONMENT:
        return _with_credentials(address.proxy, address)
    parts = urlsplit(address.url)
    if (parts.scheme == "http" and host is None) or proxy_bypass(host or parts.netloc):
        return None
    proxies = getproxies()
    found = proxies.get("https") or proxies.get("all")
    if found is None:
        return None
    wanted = urlsplit(found)
    if wanted.scheme != "http" or not wanted.hostname:
        raise ConfigError(
            "the environment's proxy is not one with an http:// address",
            field="hub.proxy",
            remedy="set HTTPS_PROXY to such a proxy, or write its address as hub.proxy",
        )
    return _with_credentials(f"http://{wanted.netloc}", address)


def tls_context(address: HubAddress) -> ssl.SSLContext | None:
    """TLS that trusts the configured authority alone, or the system's; None for a hub on this machine without TLS.

    Raises:
        ConfigError: `ca_file` cannot be read as PEM.
    """
    if not address.url.startswith("https:"):
        return None
    if address.ca_file is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(address.ca_file))
    except (OSError, ssl.SSLError) as problem:
        raise ConfigError(
            f"{address.ca_file} cannot be read as certificates in PEM",
            field="hub.ca_file",
            remedy="give the PEM file of the authority that signed the hub's certificate",
        ) from problem


def _with_credentials(proxy: str, address: HubAddress) -> str:
    if address.proxy_auth_file is None:
        return proxy
    name, colon, password = read_secret(address.proxy_auth_file).decode(errors="replace").strip().partition(":")
    if not (name and colon and password):
        raise ConfigError(
            f"{address.proxy_auth_file} does not hold name:password",
            field="hub.proxy_auth_file",
            remedy="write the account's name, a colon and its password into one line",
        )
    parts = urlsplit(proxy)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{quote(name, safe='')}:{quote(password, safe='')}@{host}"
