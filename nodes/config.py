"""A node's configuration: one YAML file, closed, with all paths relative to it.

It holds no secrets: keys and tokens lie in files of their own (mode 0600) that it only names.
"""

from __future__ import annotations

import ipaddress
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, field_validator, model_validator

from crypto.wire.base import Key, KindName, PartyId
from models.ops.logs import LogOutput
from models.ops.tracing import TracingOptions
from models.web.site import PageSite
from models.yaml_file import load_yaml_model
from nodes.config_base import ClosedConfig, resolved
from nodes.dataset_config import DatasetConfig
from nodes.errors import ConfigError

PROXY_FROM_ENVIRONMENT = "env"


class InsecureNoiseOffWarning(UserWarning):
    """The node's owner allowed campaigns without noise: their tables protect nobody."""


def _from_base64url(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return key_from_text(value)
    except ValueError as problem:
        raise ValueError("must be a public key as digua-hub and digua-node print it (43 characters)") from problem


def key_from_text(text: str) -> bytes:
    """A public key as it is printed (base64url without padding) as its 32 bytes.

    Raises:
        ValueError: it is not that.
    """
    raw = urlsafe_b64decode(text.strip() + "=" * (-len(text.strip()) % 4))
    if len(raw) != 32 or key_to_text(raw) != text.strip().rstrip("="):
        raise ValueError("not 32 bytes in base64url")
    return raw


def key_to_text(key: bytes) -> str:
    """A public key as it is printed and written: base64url without padding."""
    return urlsafe_b64encode(key).rstrip(b"=").decode()


PinnedKey = Annotated[Key, BeforeValidator(_from_base64url)]


ConfigPath = Annotated[Path, AfterValidator(resolved)]


class HubAddress(ClosedConfig):
    """Where the hub is. Without TLS only on this machine.

    Attributes:
        url: `https://…`, or `http://` to a loopback address.
        ca_file: PEM of a private certificate authority; the system's authorities when left out.
        proxy: `http://…` of a proxy that makes tunnels (CONNECT), or `env`: as HTTPS_PROXY and NO_PROXY say. Left
            out, the environment is not asked.
        proxy_auth_file: a secret file with `name:password` for the proxy.
    """

    url: str
    ca_file: Path | None = None
    proxy: str | None = None
    proxy_auth_file: Path | None = None

    _resolve = field_validator("ca_file", "proxy_auth_file")(lambda path, info: path and resolved(path, info))

    @field_validator("url")
    @classmethod
    def _secure(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address such as https://hub.example.org")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("needs TLS: write https://; plain http:// is for loopback addresses only")
        return url.rstrip("/")

    @field_validator("proxy")
    @classmethod
    def _tunnel(cls, proxy: str | None) -> str | None:
        if proxy is None or proxy == PROXY_FROM_ENVIRONMENT:
            return proxy
        parts = urlsplit(proxy)
        if parts.scheme != "http" or not parts.hostname or not proxy.isascii():
            raise ValueError("must be env, or an address such as http://proxy.example.org:3128")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("must end with the proxy's port")
        if parts.username is not None:
            raise ValueError("must not hold a name or password; put them into a file and name it as proxy_auth_file")
        return proxy.rstrip("/")

    @model_validator(mode="after")
    def _proxied(self) -> Self:
        if self.proxy is None and self.proxy_auth_file is not None:
            raise ValueError("proxy: is missing, but an account for it is given")
        if self.proxy not in (None, PROXY_FROM_ENVIRONMENT) and self.url.startswith("http:"):
            raise ValueError("proxy: a hub on this machine is not reached over one; leave it out")
        return self

    @property
    def link_url(self) -> str:
        """The WebSocket's address."""
        return "ws" + self.url.removeprefix("http") + "/v1/link"


class TrustConfig(ClosedConfig):
    """Keys pinned at enrolment, learned from their owners out of band."""

    hub_id: PartyId
    hub_sign_key: PinnedKey
    witness_id: PartyId
    witness_sign_key: PinnedKey


class BudgetConfig(ClosedConfig):
    """What all campaigns together may cost each merchant of this node, at most.

    Attributes:
        statistics_epsilon_per_year: of this, what programme statistics may cost in any 365 days.
    """

    epsilon: Annotated[float, Field(gt=0, le=100)]
    delta: Annotated[float, Field(gt=0, lt=1e-3)]
    statistics_epsilon_per_year: Annotated[float, Field(gt=0, le=100)] = 1.0


class SuperLinkConfig(ClosedConfig):
    """Flower's SuperLink, for campaigns that run on one; the node joins it by its own training key.

    Attributes:
        address: host and port of its Fleet API.
        root_certificates: PEM of the authority that signed its certificate.
        poll_seconds: how often the node asks for messages.
    """

    address: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")]
    root_certificates: Path
    poll_seconds: Annotated[float, Field(ge=0.05, le=60)] = 0.5

    _resolve = field_validator("root_certificates")(resolved)


class ModelReleaseConfig(ClosedConfig):
    """The witness only: what a release for scoring waits for.

    Attributes:
        approval: ``owner``: for its owner's word on the model.
        assessment: ``required``: for an impact assessment of the campaign's models (PIPL 55).
    """

    approval: Literal["automatic", "owner"] = "automatic"
    assessment: Literal["required", "optional"] = "required"


class GatewayConfig(ClosedConfig):
    """The local HTTP API for the owner's own systems. `token_file` is created if it is absent.

    `consent_templates`: by name, YAML files with what merchants are asked to consent to (docs/platform.md).
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8090
    token_file: Path
    consent_templates: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")], ConfigPath] = {}

    _resolve = field_validator("token_file")(resolved)


class MonitorConfig(ClosedConfig):
    """A listener for this machine's monitoring: `/healthz`, `/readyz`, `/metrics`. On this machine, or on an address of
    a private network; nodes listen for nobody outside."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9465

    @field_validator("host")
    @classmethod
    def _not_for_the_outside(cls, host: str) -> str:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            private = host == "localhost"
        else:
            private = address.is_private and not address.is_unspecified
        if not private:
            raise ValueError("must be 127.0.0.1, ::1, localhost, or one address of a private network")
        return host


class PagesListen(ClosedConfig):
    """Where the pages' server listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080


class PagesTls(ClosedConfig):
    """PEM files of the certificate chain and its key."""

    certificate: Path
    key: Path

    _resolve = field_validator("certificate", "key")(resolved)


class PagesConfig(ClosedConfig):
    """The pages for people. Without TLS on this machine only, unless a proxy in front ends TLS.

    Attributes:
        listen: where they are served.
        origin: what people type, e.g. `https://bank-01.example.org`; passkeys need a name, not a bare address.
        tls: of the server; without it the origin is `http://` on this machine, or proxies end TLS.
        proxies: addresses of the proxies in front, whose word on the client's address is believed; nobody else's is.
        key_file: the pages' secret, in `keys_dir` where it is not given; made where it is absent.
    """

    listen: PagesListen = PagesListen()
    origin: str = "http://localhost:8080"
    tls: PagesTls | None = None
    proxies: tuple[IPvAnyNetwork, ...] = ()
    key_file: Path | None = None

    _resolve = field_validator("key_file")(lambda path, info: path and resolved(path, info))

    @field_validator("origin")
    @classmethod
    def _an_origin(cls, origin: str) -> str:
        return PageSite(origin).origin

    @model_validator(mode="after")
    def _no_plain_text_beyond_this_machine(self) -> Self:
        if not (_is_loopback(self.listen.host) or self.tls or self.proxies):
            raise ValueError("listen: beyond this machine give tls, or name the proxies that end it")
        if self.tls is not None and not self.site.secure:
            raise ValueError("origin: with tls it begins with https://")
        if self.site.secure and self.tls is None and not self.proxies:
            raise ValueError("origin: https:// needs tls, or proxies that end it")
        return self

    @property
    def site(self) -> PageSite:
        """Where the pages are, as people see it."""
        return PageSite(self.origin)


class NodeConfig(ClosedConfig):
    """A node.

    Attributes:
        trust: the pinned keys; absent until `digua-node enrol`.
        data_dir: the store with the ledger. Back it up, and never give it to two nodes.
        keys_dir: identity and box key, and the witness's VOPRF seed.
        feed_limit_seconds: a feed older than this means no answers.
        insecure_noise_off: take part in campaigns without noise; for synthetic data alone.
        min_t_collude: least number of colluding nodes a campaign must withstand.
        noise_counts: other nodes whose noise the owner counts on; a campaign must withstand one more colluding node
            for every other one. All nodes are counted on where it is left out.
        logs: for persons where it is not given, and as JSON with `digua-node run --json`.
        monitor: where this machine's monitoring asks; nowhere where it is not given.
        tracing: where traces of requests are sent; nowhere where it is not given.
        device: what the gradients of an encoder are taken on; `auto` is CUDA where there is one.
        answer_time_floor_ms: no answer or refusal leaves sooner after its query.
        max_consent_versions: model versions per recipient, merchant and data life.
        voprf_quota: the witness only: identifiers that a party may have evaluated, in all.
        model_release: the witness only: who lets models out for scoring.
    """

    party_id: PartyId
    kind: KindName
    region: Annotated[str, Field(min_length=1, max_length=64)]
    title: Annotated[str, Field(max_length=120)] = ""
    hub: HubAddress
    trust: TrustConfig | None = None
    data_dir: Path
    keys_dir: Path
    datasets: tuple[DatasetConfig, ...] = ()
    budget: BudgetConfig = BudgetConfig(epsilon=3.0, delta=1e-5)
    feed_limit_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    insecure_noise_off: bool = False
    min_t_collude: Annotated[int, Field(ge=1, le=1000)] = 1
    noise_counts: tuple[PartyId, ...] | None = None
    gateway: GatewayConfig | None = None
    pages: PagesConfig | None = None
    logs: LogOutput | None = None
    tracing: TracingOptions | None = None
    monitor: MonitorConfig | None = None
    superlink: SuperLinkConfig | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    answer_time_floor_ms: Annotated[int, Field(ge=0, le=5000)] = 50
    max_consent_versions: Annotated[int, Field(ge=1, le=3)] = 3
    voprf_quota: Annotated[int, Field(ge=0)] = 100_000
    model_release: ModelReleaseConfig = ModelReleaseConfig()

    _resolve = field_validator("data_dir", "keys_dir")(resolved)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "hub":
            raise ValueError("kind: hub is not a node's kind")
        if self.kind in ("witness", "client") and self.datasets:
            raise ValueError(f"datasets: a {self.kind} brings no data; remove them or correct kind")
        if self.kind in ("witness", "client") and self.noise_counts is not None:
            raise ValueError(f"noise_counts: a {self.kind} adds no noise and takes part in no sum; leave it out")
        if self.kind == "client" and self.superlink is not None:
            raise ValueError("superlink: a client takes part in no campaign; leave it out")
        if self.trust is not None and self.kind == "witness" and self.trust.witness_id != self.party_id:
            raise ValueError("trust.witness_id: the witness must name itself")
        return self

    def require_trust(self) -> TrustConfig:
        """The pinned keys.

        Raises:
            ConfigError: the node is not enrolled.
        """
        if self.trust is None:
            raise ConfigError(
                "this node is not enrolled: its configuration pins no keys",
                field="trust",
                remedy="run digua-node enrol with the token and the keys that hub and witness gave you",
            )
        return self.trust


def load_node_config(path: Path) -> NodeConfig:
    """Read node.yaml.

    Raises:
        ConfigError: it cannot be read or does not fit; the message names file, line and field.
    """
    config = load_yaml_model(path, NodeConfig, error=ConfigError)
    if config.insecure_noise_off:
        warnings.warn(
            f"{path}: insecure_noise_off is set: campaigns without noise protect nobody; synthetic data only",
            InsecureNoiseOffWarning,
            stacklevel=2,
        )
    return config


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
