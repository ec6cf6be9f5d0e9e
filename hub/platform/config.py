"""The platform's configuration: one YAML file of its own, closed to unknown keys; paths are relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crypto.wire.base import PartyId
from hub.config import SQLITE_PREFIX, ConfigPath, DatabaseUrl, Listen, Tls, require_tls
from hub.platform.errors import PlatformConfigError
from hub.platform.merchants import Industries
from hub.platform.webhook_courier import WebhookEndpoint
from models.ops.logs import LogOutput
from models.web.site import PageSite
from models.yaml_file import load_yaml_model

DEFAULT_PORT = 8450


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayOptions(_Section):
    """The gateway of the platform's own node, of kind `client`.

    Attributes:
        url: plain identifiers go there, so it is on this machine, or `https://`.
        token_file: a copy of the gateway's token that the platform may read, and nobody else.
    """

    url: str = "http://127.0.0.1:8090"
    token_file: ConfigPath = Field(default=Path("gateway.token"), validate_default=True)

    @field_validator("url")
    @classmethod
    def _near_or_secure(cls, url: str) -> str:
        parts = urlsplit(url)
        near = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.hostname or not (near or parts.scheme == "https"):
            raise ValueError("must be http:// on this machine, or https://")
        return url


class PagesOptions(_Section):
    """Pages for merchants and for the people of banks, the programme office, operators and the regulator.

    Attributes:
        origin: what people type, e.g. ``https://two-small.example.org``; passkeys need a name here, no bare address.
        key_file: the pages' secret; made where it is absent. Keep it in your backup.
    """

    origin: str
    key_file: ConfigPath = Field(default=Path("keys/pages.key"), validate_default=True)

    @field_validator("origin")
    @classmethod
    def _an_origin(cls, origin: str) -> str:
        return PageSite(origin).origin

    @property
    def site(self) -> PageSite:
        """Where the pages are served."""
        return PageSite(self.origin)


class PlatformConfig(_Section):
    """`platform.yaml`.

    Attributes:
        party_id: of the platform's own node, as consents name it.
        database: another than the hub's.
        key_file: 32 bytes that seal merchants' identifiers and find them again. Keep it in your backup.
        sign_key_file: signs events for banks.
        webhooks: banks whose core systems take events, and where.
        industries: that are eligible.
        pages: without this section the platform has its API alone.
        metrics_token_file: what a collector of metrics shows at `/metrics`; without the file nobody is let in.
    """

    party_id: PartyId
    listen: Listen = Listen(port=DEFAULT_PORT)
    tls: Tls | None = None
    database: DatabaseUrl = f"{SQLITE_PREFIX}platform.sqlite"
    database_password_file: ConfigPath | None = None
    key_file: ConfigPath = Field(default=Path("keys/identifiers.key"), validate_default=True)
    sign_key_file: ConfigPath = Field(default=Path("keys/events.pem"), validate_default=True)
    gateway: Annotated[GatewayOptions, Field(default_factory=GatewayOptions, validate_default=True)]
    webhooks: dict[PartyId, WebhookEndpoint] = {}
    industries: Industries = Industries()
    pages: PagesOptions | None = None
    logs: LogOutput = LogOutput()
    metrics_token_file: ConfigPath = Field(default=Path("metrics.token"), validate_default=True)

    @model_validator(mode="after")
    def _no_plain_text_beyond_loopback(self) -> Self:
        require_tls(self.listen, self.tls)
        return self


def load_platform_config(path: Path) -> PlatformConfig:
    """Read `platform.yaml`; PlatformConfigError names file, line and field."""
    return load_yaml_model(path, PlatformConfig, error=PlatformConfigError)


def sample_platform_config(party_id: str, port: int) -> str:
    """Return the text of a new `platform.yaml` with its comments."""
    return f"""\
# The Two Small platform 两小创业通平台配置. Paths are relative to this file. 路径相对于本文件。
# Of the platform's own node, of kind client. 本平台节点（client 类）的参与方编号。
party_id: {party_id}
listen:
  host: 127.0.0.1
  port: {port}
# Beyond loopback TLS is required. 非本机访问必须启用 TLS。
# tls: {{certificate: tls/platform.pem, key: tls/platform.key}}
# Pages for merchants and staff, as people type the address. 商户与工作人员页面的网址。
pages:
  origin: http://localhost:{port}
# A database of its own, never the hub's. 平台自有数据库，不得与枢纽共用。
# SQLite file, or postgresql+psycopg://user@host/name with database_password_file
database: sqlite:///platform.sqlite
# Secret files, mode 0600; back them up apart from the database. 密钥文件，权限 0600；请与数据库分开备份。
key_file: keys/identifiers.key
sign_key_file: keys/events.pem
# The node's gateway, and a copy of its token, mode 0600. 本节点网关及其令牌副本，权限 0600。
gateway:
  url: http://127.0.0.1:8090
  token_file: gateway.token
# Core systems of banks that take events. 接收事件的银行核心系统。
# webhooks:
#   bank-01: {{url: "https://core.bank-01.example.org/digua", ca_file: tls/bank-01.pem}}
# Eligible classes of GB/T 4754-2017. 准入的国民经济行业小类。
industries:
  supermarket: ["5212", "5213", "5219"]
  inn: ["6121", "6129", "6130", "6190"]
# Logs, on standard error, without anybody's data. 日志，不含个人信息。
# logs: {{format: json, level: info, requests: false}}
# A collector shows this token at /metrics; without the file nobody is let in. 指标采集令牌；无此文件则不开放 /metrics。
# metrics_token_file: metrics.token
"""
