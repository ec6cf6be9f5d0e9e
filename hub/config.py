"""The hub's configuration: one YAML file, closed to unknown keys; paths are relative to the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from crypto.wire.base import KindName, PartyId
from hub.errors import HubConfigError
from models.yaml_file import load_yaml_model

SQLITE_PREFIX = "sqlite:///"


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    context: dict[str, Any] = info.context or {}
    return Path(context.get("base", ".")) / path


ConfigPath = Annotated[Path, AfterValidator(_beside_the_file)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Section):
    """Where the hub listens. Without TLS only loopback, unless a proxy in front ends TLS."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8440
    behind_tls_proxy: bool = False


class Tls(_Section):
    """PEM files of the certificate chain and its key."""

    certificate: ConfigPath
    key: ConfigPath


class VoprfQuota(_Section):
    """How many identifiers a party may have evaluated in all; sized to its customer base."""

    default: Annotated[int, Field(ge=0)] = 100_000
    parties: dict[PartyId, Annotated[int, Field(ge=0)]] = {}

    def of(self, party_id: str) -> int:
        """Return a party's quota."""
        return self.parties.get(party_id, self.default)


class LogOptions(_Section):
    """How often checkpoints are made, and how long one waits for the witness."""

    interval_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    max_entries: Annotated[int, Field(ge=1, le=65536)] = 1000
    cosign_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0


class CampaignOptions(_Section):
    """How long campaigns wait: for a node's step, and after a restart of the hub for the parties' links."""

    trip_timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    reconnect_s: Annotated[float, Field(ge=0, le=3600)] = 120.0


class HubConfig(_Section):
    """`hub.yaml`."""

    hub_id: PartyId
    origin: Annotated[str, Field(pattern=r"^[^\s+]{1,200}$")] | None = None
    """Name of the audit log in checkpoints; `digua/<hub_id>` where it is not given. Never change it."""
    listen: Listen = Listen()
    public_url: Annotated[str, Field(pattern=r"^https?://")]
    database: Annotated[str, Field(repr=False, validate_default=True)] = f"{SQLITE_PREFIX}hub.sqlite"
    """An SQLAlchemy URL; a relative SQLite file lies beside the configuration."""
    keys_dir: ConfigPath = Field(default=Path("keys"), validate_default=True)
    admin_token_file: ConfigPath = Field(default=Path("admin.token"), validate_default=True)
    tls: Tls | None = None
    voprf_quota: VoprfQuota = VoprfQuota()
    recipient_kinds: Annotated[tuple[KindName, ...], Field(min_length=1)] = ("bank", "client")
    """Kinds of parties that consents may name as recipients of scores."""
    feed_heartbeat_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    query_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    log: LogOptions = LogOptions()
    campaigns: CampaignOptions = CampaignOptions()
    idempotency_hours: Annotated[int, Field(ge=1, le=720)] = 24
    max_body_mib: Annotated[int, Field(ge=1, le=1024)] = 64

    @field_validator("database")
    @classmethod
    def _database_beside_the_file(cls, url: str, info: ValidationInfo) -> str:
        if url.startswith(SQLITE_PREFIX):
            name = url.removeprefix(SQLITE_PREFIX)
            if not name or name.startswith(":memory:"):
                raise ValueError("the hub's database is a file or a server, not memory")
            return SQLITE_PREFIX + str(_beside_the_file(Path(name), info).absolute())
        if not url.startswith("postgresql"):
            raise ValueError("the database is sqlite:///FILE or postgresql+psycopg://…")
        return url

    @model_validator(mode="after")
    def _no_plain_text_beyond_loopback(self) -> Self:
        loopback = self.listen.host in ("127.0.0.1", "::1", "localhost")
        if not (loopback or self.tls or self.listen.behind_tls_proxy):
            raise ValueError("listen: beyond loopback give tls, or say behind_tls_proxy: true")
        return self

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
    return load_yaml_model(path, HubConfig, error=HubConfigError)
