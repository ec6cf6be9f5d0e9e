"""The node's HTTP requests to its hub: signed, idempotent, retried while the hub is out of reach.

What the hub answers is trusted as far as it is signed or proved; this module only carries.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from secrets import token_bytes, token_hex
from types import TracebackType
from typing import Literal, Self, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from crypto.jws import sign_model
from crypto.keys import Signer
from crypto.wire.base import SUITE
from crypto.wire.party import VoprfAnswer, VoprfRequest
from crypto.wire.service import EnrolmentReceipt, HubInfo, SignedRequest, SuccessionReceipt
from models.ops import trace_context
from nodes.clock import Clock, system_clock
from nodes.config import HubAddress
from nodes.errors import PeerError
from nodes.proxy import proxy_url, tls_context

HUB = "hub"
JOSE = "application/jose"
JSON = "application/json"
_BUSY = frozenset({502, 503, 504})
_TLS_REMEDY = "write the PEM file of the authority that signed the hub's certificate as hub.ca_file"
_TLS_REMEDIES = {
    9: "the certificate is not valid yet: check this machine's clock, then ask the hub's operator",
    10: "the hub's certificate has expired: check this machine's clock, then ask the hub's operator to renew it",
    62: "the certificate is for another name: check hub.url with the hub's operator",
}
"""By OpenSSL's verify code (X509_V_ERR_…)."""

Method = Literal["GET", "POST", "DELETE"]
M = TypeVar("M", bound=BaseModel)


class _Unreachable(Exception):  # noqa: N818 (caught here, never leaves)
    """The hub could not be reached, or says that it is busy: worth another try."""


@dataclass(frozen=True)
class HubProbe:
    """What one plain request to the hub showed.

    Attributes:
        info: what the hub says about itself.
        hub_time: of its answer's Date, to the second; None where it sent none.
        own_time: this machine's time between question and answer.
        certificate_ends: end of the hub's certificate; None without TLS.
    """

    info: HubInfo
    hub_time: datetime | None
    own_time: datetime
    certificate_ends: datetime | None


class HubClient:
    """One party's HTTP client. Safe to use from several threads."""

    def __init__(
        self,
        address: HubAddress,
        *,
        party_id: str,
        identity: Signer,
        clock: Clock = system_clock,
        patience_seconds: float = 20.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._party_id = party_id
        self._identity = identity
        self._clock = clock
        self._patience = patience_seconds
        self._renewing = threading.Lock()
        self._former: list[httpx.Client] = []
        self._address = address
        self._transport = transport
        self._trusted = self._ca_file()
        self._http = self._connect()

    def _connect(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._address.url,
            timeout=httpx.Timeout(60.0, connect=5.0),
            verify=tls_context(self._address) or True,
            proxy=proxy_url(self._address),
            trust_env=False,
            transport=self._transport,
            headers={"User-Agent": "digua-node"},
        )

    def _ca_file(self) -> tuple[int, int] | None:
        """What tells one state of `ca_file` from the next; None where there is none, or it cannot be seen now."""
        file = self._address.ca_file
        try:
            found = None if file is None else file.stat()
        except OSError:
            return None
        return None if found is None else (found.st_mtime_ns, found.st_size)

    def _look_at_ca_file(self) -> None:
        """A renewed authority is trusted, and a former one no more, from the next connection on."""
        now = self._ca_file()
        with self._renewing:
            if now is not None and now != self._trusted:
                self._http, before = (
                    self._connect(),
                    self._http,
                )  # the former is still used where a request is under way
                self._former.append(before)
                self._trusted = now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for client in (self._http, *self._former):
            client.close()

    def info(self) -> HubInfo:
        """What the hub says about itself; compare its keys with the pinned ones."""
        return parsed(HubInfo, self.request("GET", "/v1/info"))

    def probe(self) -> HubProbe:
        """Ask once, without patience, and tell what is wrong with the way to the hub.

        Raises:
            PeerError: `hub-tls-failed`, `hub-proxy-failed`, `hub-unreachable`, or what answers is no hub.
        """
        before = self._clock()
        try:
            with self._http.stream("GET", "/v1/info", timeout=10.0) as response:
                ends = _certificate_ends(response)
                body = response.read()
        except httpx.TransportError as problem:
            raise self._no_way(problem) from problem
        own_time = before + (self._clock() - before) / 2
        if not response.is_success:
            raise _refusal(response)
        return HubProbe(parsed(HubInfo, body), _date_of(response), own_time, ends)

    def _no_way(self, problem: httpx.TransportError) -> PeerError:
        url = self._http.base_url
        if isinstance(problem, httpx.ProxyError):
            return PeerError(
                HUB,
                f"the proxy makes no tunnel to {url}: {problem}",
                peer_code="hub-proxy-failed",
                field="hub.proxy",
                remedy="check hub.proxy and hub.proxy_auth_file, and ask for the hub's name and port to be let through",
            )
        refused = next((each for each in _causes(problem) if isinstance(each, ssl.SSLError)), None)
        if refused is not None:
            why = getattr(refused, "verify_message", "") or refused.reason or str(refused)
            return PeerError(
                HUB,
                f"TLS with {url} failed: {why}",
                peer_code="hub-tls-failed",
                field="hub.ca_file",
                remedy=_TLS_REMEDIES.get(getattr(refused, "verify_code", 0), _TLS_REMEDY),
            )
        return PeerError(
            HUB,
            f"the hub at {url} is out of reach: {problem}",
            peer_code="hub-unreachable",
            field="hub.url",
            remedy="check hub.url, the network, hub.proxy and the hub's certificate, and that the hub is running",
        )

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

    def announce_key(self, token: str) -> SuccessionReceipt:
        """Announce the witness's next signing key with a JWS `key-succession`.

        Raises:
            PeerError: the hub refused, e.g. as another change is under way, or is out of reach.
        """
        return parsed(SuccessionReceipt, self.request("POST", "/v1/key-successions", token.encode(), media=JOSE))

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
        trace = trace_context.outgoing()
        if trace is not None:
            sent[trace_context.HEADER] = trace
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
            self._look_at_ca_file()
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


def _certificate_ends(response: httpx.Response) -> datetime | None:
    stream = response.extensions.get("network_stream")
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    ends = None if tls is None else (tls.getpeercert() or {}).get("notAfter")
    return None if ends is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)


def _date_of(response: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return None


def _causes(problem: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = problem
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


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
