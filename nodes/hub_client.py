"""The node's HTTP requests to its hub: signed, idempotent, retried while the hub is out of reach.

What the hub answers is trusted as far as it is signed or proved; this module only carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_bytes, token_hex
from types import TracebackType
from typing import Literal, Self, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.base import SUITE
from crypto.wire.party import VoprfAnswer, VoprfRequest
from crypto.wire.service import EnrolmentReceipt, HubInfo, SignedRequest
from nodes.clock import Clock, system_clock
from nodes.config import HubAddress
from nodes.errors import PeerError
from nodes.proxy import proxy_url, tls_context

HUB = "hub"
JOSE = "application/jose"
JSON = "application/json"
_BUSY = frozenset({502, 503, 504})

Method = Literal["GET", "POST", "DELETE"]
M = TypeVar("M", bound=BaseModel)


class _Unreachable(Exception):  # noqa: N818 (caught here, never leaves)
    """The hub could not be reached, or says that it is busy: worth another try."""


class HubClient:
    """One party's HTTP client. Safe to use from several threads."""

    def __init__(
        self,
        address: HubAddress,
        *,
        party_id: str,
        identity: IdentityKey,
        clock: Clock = system_clock,
        patience_seconds: float = 20.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._party_id = party_id
        self._identity = identity
        self._clock = clock
        self._patience = patience_seconds
        self._http = httpx.Client(
            base_url=address.url,
            timeout=httpx.Timeout(60.0, connect=5.0),
            verify=tls_context(address) or True,
            proxy=proxy_url(address),
            trust_env=False,
            transport=transport,
            headers={"User-Agent": "digua-node"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def info(self) -> HubInfo:
        """What the hub says about itself; compare its keys with the pinned ones."""
        return parsed(HubInfo, self.request("GET", "/v1/info"))

    def enrol(self, token: str) -> EnrolmentReceipt:
        """Bring a signed `EnrolmentRequest`.

        Raises:
            PeerError: the hub refused, e.g. the token was used or has expired.
        """
        return parsed(EnrolmentReceipt, self.request("POST", "/v1/enrolments", token.encode(), media=JOSE))

    def rotate(self, token: str) -> EnrolmentReceipt:
        """Bring a signed `KeyRotation`.

        Raises:
            PeerError: the hub refused, e.g. the key that signed it is not the one that the hub has.
        """
        return parsed(EnrolmentReceipt, self.request("POST", "/v1/key-rotations", token.encode(), media=JOSE))

    def roster(self) -> str:
        """The newest cosigned roster, a JWS."""
        return self.request("GET", "/v1/roster").decode().strip()

    def voprf(self, target: str, blinded: Sequence[bytes]) -> VoprfAnswer:
        """Have the hub's or the witness's VOPRF key evaluate a batch (docs/protocol.md, 1).

        Args:
            target: `hub` or `witness`.
            blinded: at most 65,535 elements of 32 bytes.

        Raises:
            PeerError: the key holder refused, e.g. as the quota is used up, or is out of reach.
        """
        request = VoprfRequest(
            suite=SUITE,
            party_id=self._party_id,
            target=cast("Literal['hub', 'witness']", target),
            blinded=tuple(blinded),
            nonce=token_bytes(16),
            issued_at=self._clock(),
        )
        token = sign_model(request, self._identity, typ="voprf", kid=self._party_id)
        return parsed(VoprfAnswer, self.request("POST", "/v1/voprf", token.encode(), media=JOSE))

    def bring(self, path: str, token: str) -> bytes:
        """Bring a signed body that counts once or changes nothing when it comes again; returns the answer's body.

        Raises:
            PeerError: the hub refused, or is out of reach.
        """
        return self.request("POST", path, token.encode(), media=JOSE)

    def request(
        self,
        method: Method,
        path: str,
        body: bytes | None = None,
        *,
        media: str = JSON,
        signed: bool = False,
        idempotency_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request, tried again for `patience_seconds` while the hub is out of reach.

        A POST has one Idempotency-Key for all its tries, so that it takes effect once.

        Args:
            method: GET, POST or DELETE.
            path: path with its query string.
            body: exact bytes.
            media: content type of the body.
            signed: authorise by the party's signature over method and path, fresh for each try.
            idempotency_key: to go on with a POST of an earlier run; else a new one.
            headers: further headers.

        Returns:
            The answer's body.

        Raises:
            PeerError: the hub, or a party behind it, refused (its own code is `peer_code`), or is out of reach.
        """
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = media
        if method != "GET":
            sent["Idempotency-Key"] = idempotency_key or token_hex(16)
        retrying = Retrying(
            retry=retry_if_exception_type(_Unreachable),
            stop=stop_after_delay(self._patience),
            wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
            reraise=True,
        )
        try:
            response = retrying(self._once, method, path, body, sent, signed)
        except _Unreachable as problem:
            raise PeerError(
                HUB,
                f"the hub at {self._http.base_url} is out of reach: {problem}",
                peer_code="hub-unreachable",
                remedy="check hub.url, the network, hub.proxy and the hub's certificate, and that the hub is running",
            ) from problem
        if response.is_success:
            return response.content
        raise _refusal(response)

    def _once(
        self, method: Method, path: str, body: bytes | None, headers: dict[str, str], signed: bool
    ) -> httpx.Response:
        if signed:
            headers = {**headers, "Authorization": f"Digua {self._authorisation(method, path)}"}
        try:
            response = self._http.request(method, path, content=body, headers=headers)
        except httpx.TransportError as problem:
            raise _Unreachable(str(problem) or type(problem).__name__) from problem
        if response.status_code in _BUSY and "problem" not in response.headers.get("Content-Type", ""):
            raise _Unreachable(f"status {response.status_code}")
        return response

    def _authorisation(self, method: Method, path: str) -> str:
        request = SignedRequest(
            suite=SUITE,
            party_id=self._party_id,
            method=method,
            path=path,
            nonce=token_bytes(16),
            issued_at=self._clock(),
        )
        return sign_model(request, self._identity, typ="request", kid=self._party_id)


def _refusal(response: httpx.Response) -> PeerError:
    """The hub's RFC 9457 problem as an error of ours."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        return PeerError(
            HUB,
            f"the hub answered with status {response.status_code} and no reason",
            peer_code="hub-failed",
            remedy="check that hub.url is a digua hub, and its log",
        )

    def text(name: str) -> str | None:
        value = problem.get(name)
        return value[:500] if isinstance(value, str) and value else None

    return PeerError(
        text("party") or HUB,
        text("detail") or text("title") or problem["code"],
        peer_code=problem["code"],
        field=text("field"),
        remedy=text("remedy"),
    )


def parsed(model: type[M], body: bytes) -> M:
    """Read the hub's answer; PeerError where it is no such model."""
    try:
        return model.model_validate_json(body)
    except ValidationError as problem:
        raise PeerError(
            HUB,
            f"the hub's answer is no {model.__name__}",
            peer_code="hub-answer-malformed",
            remedy="check that hub.url is a digua hub of this version",
        ) from problem
