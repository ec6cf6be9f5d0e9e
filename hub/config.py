"""The hub's configuration: one YAML file, closed to unknown keys; paths are relative to the file."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from crypto.wire.base import KindName, PartyId
from hub.errors import HubConfigError
from models.ops.logs import LogOutput
from models.ops.tracing import TracingOptions
from models.stages import EngineName
from models.web.site import PageSite
from models.yaml_file import load_yaml_model

SQLITE_PREFIX = "sqlite:///"
PAGES_KEY = "pages.key"


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Any] = info.context or {}
    return Path(context.get("base", ".")) / path


ConfigPath = Annotated[Path, AfterValidator(_beside_the_file)]


def _database_beside_the_file(url: str, info: ValidationInfo) -> str:
    if url.startswith(SQLITE_PREFIX):
        name = url.removeprefix(SQLITE_PREFIX)
        if not name or name.startswith(":memory:"):
            raise ValueError("the hub's database is a file or a server, not memory")
        return SQLITE_PREFIX + str(_beside_the_file(Path(name), info).absolute())
    if not url.startswith("postgresql"):
        raise ValueError("the database is sqlite:///FILE or postgresql+psycopg://…")
    return url


DatabaseUrl = Annotated[str, Field(repr=False, validate_default=True), AfterValidator(_database_beside_the_file)]
"""An SQLAlchemy URL; a relative SQLite file lies beside the configuration."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Section):
    """Where the hub listens. Without TLS only loopback, unless a proxy in front ends TLS."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8440
    behind_tls_proxy: bool = False
    proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses of that proxy, whose word on the client's address is believed; this machine's where none are given."""

    @property
    def believed(self) -> tuple[IPvAnyNetwork, ...]:
        """Whose X-Forwarded-For is believed."""
        if not self.behind_tls_proxy:
            return ()
        return self.proxies or tuple(map(ip_network, ("127.0.0.0/8", "::1/128")))


class Tls(_Section):
    """PEM files of the certificate chain and its key."""

    certificate: ConfigPath
    key: ConfigPath


def require_tls(listen: Listen, tls: Tls | None) -> None:
    """Raise ValueError for a listener beyond loopback without TLS, its own or a proxy's."""
    loopback = listen.host in ("127.0.0.1", "::1", "localhost")
    if not (loopback or tls or listen.behind_tls_proxy):
        raise ValueError("listen: beyond loopback give tls, or say behind_tls_proxy: true")


class VoprfQuota(_Section):
    """How many identifiers a party may have evaluated in all; sized to its customer base."""

    default: Annotated[int, Field(ge=0)] = 100_000
    parties: dict[PartyId, Annotated[int, Field(ge=0)]] = {}

    def of(self, party_id: str) -> int:
        """Return a party's quota."""
        return self.parties.get(party_id, self.default)


class LogOptions(_Section):
    """How often checkpoints are made, how long one waits for the witness, and after how long that is an alarm."""

    interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    max_entries: Annotated[int, Field(ge=1, le=65536)] = 1000
    cosign_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    cosign_alarm_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0


class AuditOptions(_Section):
    """How long entries of the log stay linked to merchants; without a limit until a merchant asks to be erased."""

    retain_salts_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


class CampaignOptions(_Section):
    """How campaigns run: in which processes, over which engines, and how long is waited for whom.

    Attributes:
        worker: ``embedded``: `digua-hub serve` starts and watches the worker; ``external``: it is a service of its own.
        parallel: campaigns that one worker runs at a time; the others wait.
        engines: those that orders may name.
        trip_timeout_s: for a node's step.
        reconnect_s: after a restart of the hub, for the parties' links.
    """

    worker: Literal["embedded", "external"] = "embedded"
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    engines: Annotated[tuple[EngineName, ...], Field(min_length=1)] = ("agent",)
    trip_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    reconnect_s: Annotated[float, Field(ge=0, le=3600)] = 120.0


class ModelOptions(_Section):
    """Models: whether one is released only with an impact assessment (PIPL 55)."""

    assessment: Literal["required", "optional"] = "required"


class SuperLinkListen(_Section):
    """Where a SuperLink of the hub's own listens for nodes; always with TLS."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9092


class SuperLinkControl(_Section):
    """Where the hub's other processes reach Control of a SuperLink that is a service of its own.

    Attributes:
        host: it listens there and is called there: a name that resolves to an address of the hub's inner network, and
            that stands in its certificate.
        root_certificates: PEM of the authority that signed it.
    """

    host: str
    port: Annotated[int, Field(ge=1, le=65535)] = 9093
    root_certificates: ConfigPath


class SuperLinkOptions(_Section):
    """Flower's SuperLink, for campaigns of ``engine: superlink``.

    Attributes:
        managed: one of the hub's own, with `listen`, `tls` and `directory`; else `address` names one that runs
            elsewhere, with `root_certificates` and, where its Control API asks for a bearer token, `token_file`.
        control: the one that is managed is a service of its own (`digua-hub superlink`); without it `digua-hub serve`
            starts and watches it, and all processes of the hub are on one machine.
        directory: keys, database and unpacked apps of the one that is managed.
    """

    managed: bool = False
    listen: SuperLinkListen = SuperLinkListen()
    control: SuperLinkControl | None = None
    tls: Tls | None = None
    directory: ConfigPath = Field(default=Path("superlink"), validate_default=True)
    address: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")] | None = None
    root_certificates: ConfigPath | None = None
    token_file: ConfigPath | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.managed and (self.tls is None or self.address is not None):
            raise ValueError("superlink: one that is managed needs tls, and no address")
        if not self.managed and (self.address is None or self.root_certificates is None):
            raise ValueError("superlink: say managed: true, or give address and root_certificates")
        if not self.managed and self.control is not None:
            raise ValueError("superlink: control is for one that is managed")
        return self

    @property
    def required_tls(self) -> Tls:
        """Certificate and key of the one that is managed; HubConfigError where it is not."""
        if self.tls is None:
            raise HubConfigError("This SuperLink is not the hub's own.", field="superlink.tls", remedy="Give its tls.")
        return self.tls


class PagesOptions(_Section):
    """The pages for people.

    Attributes:
        origin: what people type, e.g. ``https://hub.example.org``; that of `public_url` where it is not given. Passkeys
            need a name here, not a bare address.
        key_file: the pages' secret, in `keys_dir` where it is not given; made where it is absent. Keep it in your
            backup.
    """

    origin: str | None = None
    key_file: ConfigPath | None = None

    @field_validator("origin")
    @classmethod
    def _an_origin(cls, origin: str | None) -> str | None:
        return None if origin is None else PageSite(origin).origin


class ReplicaOptions(_Section):
    """Several processes that serve one PostgreSQL; the section alone (``replicas: {}``) is enough.

    Attributes:
        address: where the hub's other processes reach this one, e.g. ``http://hub-2:8440``; the listener by this
            machine's name where it is not given.
        lease_s: after so many seconds without a sign of life a replica is taken for dead.
    """

    address: Annotated[str, Field(pattern=r"^https?://[^/?#]+$", max_length=255)] | None = None
    lease_s: Annotated[float, Field(ge=2, le=120)] = 10.0


class HubConfig(_Section):
    """`hub.yaml`."""

    hub_id: PartyId
    origin: Annotated[str, Field(pattern=r"^[^\s+]{1,200}$")] | None = None
    """Name of the audit log in checkpoints; `digua/<hub_id>` where it is not given. Never change it."""
    listen: Listen = Listen()
    public_url: Annotated[str, Field(pattern=r"^https?://")]
    database: DatabaseUrl = f"{SQLITE_PREFIX}hub.sqlite"
    database_password_file: ConfigPath | None = None
    """Where the password of a PostgreSQL user lies, so that the URL need not hold it."""
    keys_dir: ConfigPath = Field(default=Path("keys"), validate_default=True)
    admin_token_file: ConfigPath = Field(default=Path("admin.token"), validate_default=True)
    internal_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Where the hub's other processes reach the one that serves; its listener on this machine if not given."""
    internal_token_file: ConfigPath = Field(default=Path("internal.token"), validate_default=True)
    tls: Tls | None = None
    metrics_token_file: ConfigPath = Field(default=Path("metrics.token"), validate_default=True)
    """What a collector of metrics shows at `/metrics`; without the file nobody is let in."""
    voprf_quota: VoprfQuota = VoprfQuota()
    recipient_kinds: Annotated[tuple[KindName, ...], Field(min_length=1)] = ("bank", "client")
    """Kinds of parties that consents may name as recipients of scores."""
    feed_heartbeat_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    query_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    log: LogOptions = LogOptions()
    audit: AuditOptions = AuditOptions()
    campaigns: CampaignOptions = CampaignOptions()
    models: ModelOptions = ModelOptions()
    logs: LogOutput = LogOutput()
    tracing: TracingOptions | None = None
    """Where traces of requests are sent; nowhere where it is not given."""
    superlink: SuperLinkOptions | None = None
    replicas: ReplicaOptions | None = None
    pages: PagesOptions = PagesOptions()
    idempotency_hours: Annotated[int, Field(ge=1, le=720)] = 24
    max_body_mib: Annotated[int, Field(ge=1, le=1024)] = 64

    @model_validator(mode="after")
    def _no_plain_text_beyond_loopback(self) -> Self:
        require_tls(self.listen, self.tls)
        return self

    @model_validator(mode="after")
    def _superlink_where_offered(self) -> Self:
        if "superlink" in self.campaigns.engines and self.superlink is None:
            raise ValueError("campaigns.engines: the engine superlink needs the section superlink")
        return self

    @model_validator(mode="after")
    def _replicas_share_a_server(self) -> Self:
        if self.replicas is None:
            return self
        if self.database.startswith(SQLITE_PREFIX):
            raise ValueError("replicas: several processes serve one PostgreSQL, not SQLite; set database")
        if self.campaigns.worker == "embedded":
            raise ValueError("replicas: the worker is a service of its own; say campaigns: {worker: external}")
        if self.superlink is not None and self.superlink.managed and self.superlink.control is None:
            raise ValueError("replicas: the SuperLink is a service of its own; give superlink.control")
        if self.internal_url is not None:
            raise ValueError("replicas: the worker finds them in the database; take internal_url out")
        return self

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path:
        """The file that this was read from; HubConfigError for a configuration that was not."""
        if self._file is None:
            raise HubConfigError(
                "This configuration was read from no file.", field="hub.yaml", remedy="Read it with load_config."
            )
        return self._file

    @property
    def pages_key_file(self) -> Path:
        """Where the pages' secret lies."""
        return self.pages.key_file or self.keys_dir / PAGES_KEY

    @property
    def page_site(self) -> PageSite:
        """Where pages are served; HubConfigError where neither `pages.origin` nor `public_url` says so."""
        parts = urlsplit(self.public_url)
        try:
            return PageSite(self.pages.origin or f"{parts.scheme}://{parts.netloc}".lower())
        except ValueError as error:
            raise HubConfigError(
                f"pages.origin is not given, and that of public_url {error}.",
                field="pages.origin",
                remedy="Write pages: {origin: https://…} into hub.yaml, as people type it.",
            ) from error

    @property
    def log_origin(self) -> str:
        """The audit log's name."""
        return self.origin or f"digua/{self.hub_id}"

    @property
    def idempotency_life(self) -> timedelta:
        """How long answers are kept under their idempotency keys."""
        return timedelta(hours=self.idempotency_hours)


def load_config(path: Path) -> HubConfig:
    """Read `hub.yaml`; HubConfigError names file, line and field."""
    config = load_yaml_model(path, HubConfig, error=HubConfigError)
    config._file = path.absolute()
    return config
