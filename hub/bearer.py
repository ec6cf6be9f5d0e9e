"""Who may ask by a token: administrators, and collectors of metrics."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from starlette.requests import Request

from hub.errors import UnauthorisedError
from hub.keys import read_secret


class BearerAuth:
    """Compares a token in constant time; holds its hash only.

    Args:
        token: the secret.
        whose: what it is called, e.g. ``the administrator's token``.
        where: the field of the configuration that names its file.
    """

    def __init__(self, token: str, *, whose: str, where: str) -> None:
        self._sha256 = hashlib.sha256(token.encode()).digest()
        self._whose = whose
        self._where = where

    def check(self, authorization: str | None) -> None:
        """Accept `Authorization: Bearer <token>`; UnauthorisedError otherwise."""
        scheme, _, token = (authorization or "").partition(" ")
        given = hashlib.sha256(token.strip().encode()).digest()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._sha256):
            raise UnauthorisedError(
                f"This needs {self._whose}.",
                field="Authorization",
                remedy=f"Send `Authorization: Bearer <token>`; the token lies in the file that `{self._where}` names.",
            )


def collector_auth(file: Path) -> BearerAuth:
    """Who may collect metrics: nobody where the token's file is not there.

    Raises:
        StateError: others may read the file.
    """
    token = read_secret(file).decode().strip() if file.exists() else secrets.token_urlsafe(32)
    return BearerAuth(token, whose="the collector's token", where="metrics_token_file")


def collector_only(request: Request) -> None:
    """Let the collector of metrics pass."""
    auth: BearerAuth = request.app.state.collector
    auth.check(request.headers.get("authorization"))
