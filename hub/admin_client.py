"""How the command line talks to a running hub: over HTTP, with the administrator's token."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from hub.config import HubConfig
from hub.errors import HubConfigError, HubError
from hub.keys import read_secret
from models.i18n import language_from_env

TIMEOUT_S = 180.0
"""A release waits for the witness to fit the model again."""


class HubAnswerError(HubError):
    """The running hub refused, or cannot be reached."""

    code = "hub-refused"
    status = 502
    title = "The running hub refused"


class AdminClient:
    """Requests to the hub that a configuration describes.

    Args:
        config: the hub's own; its public_url is called.
        ca_file: PEM of the authority that signed its certificate, where the system does not know it.
        transport: for tests.
    """

    def __init__(
        self, config: HubConfig, *, ca_file: Path | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        token = read_secret(config.admin_token_file).decode().strip()
        self._http = httpx.Client(
            base_url=config.public_url,
            headers={"Authorization": f"Bearer {token}", "Accept-Language": language_from_env()},
            timeout=httpx.Timeout(TIMEOUT_S, connect=5.0),
            verify=_trust(ca_file),
            transport=transport,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, *, params: Mapping[str, str] | None = None) -> httpx.Response:
        """Ask; HubAnswerError where the hub refuses or is out of reach."""
        return self._checked(self._http.build_request("GET", path, params=params))

    def post(self, path: str, body: object, *, params: Mapping[str, str] | None = None) -> httpx.Response:
        """Order, with a fresh idempotency key; HubAnswerError as in `get`."""
        key = {"Idempotency-Key": secrets.token_hex(16)}
        return self._checked(self._http.build_request("POST", path, json=body, params=params, headers=key))

    def _checked(self, request: httpx.Request) -> httpx.Response:
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            raise HubAnswerError(
                f"The hub at {self._http.base_url} is out of reach: {error}.",
                field="public_url",
                remedy="Start it with `digua-hub serve`, or correct public_url in hub.yaml.",
            ) from error
        if response.is_success:
            return response
        try:
            problem = response.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "code" not in problem:
            raise HubAnswerError(
                f"The hub answered with status {response.status_code}.", remedy="Check public_url and the hub's log."
            )
        raise HubAnswerError(
            f"{problem.get('detail') or problem.get('title')} ({problem['code']})",
            field=problem.get("field"),
            remedy=problem.get("remedy"),
            party=problem.get("party"),
        )


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise HubConfigError(
            f"{ca_file} cannot be read as certificates in PEM.", field="--ca-file", remedy="Name a PEM file."
        ) from error
