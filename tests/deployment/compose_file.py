"""`docker-compose.yml` as the tests need it: services with command, mounts, networks, user, health check and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SECONDS = re.compile(r"^(\d+)s$")


@dataclass(frozen=True)
class Mount:
    """A bind mount (`source` a path) or a named volume (`source` a name)."""

    source: str
    target: str
    read_only: bool

    @property
    def is_volume(self) -> bool:
        """True for a named volume."""
        return not self.source.startswith((".", "/"))


@dataclass(frozen=True)
class HealthCheck:
    """How the engine asks a service whether it works."""

    test: tuple[str, ...]
    interval: int
    retries: int
    start_period: int


@dataclass(frozen=True)
class Service:
    """One service, with everything that its container would have."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    tmpfs: tuple[str, ...]
    secrets: Mapping[str, str]
    networks: Mapping[str, tuple[str, ...]]
    user: str | None
    read_only: bool
    cap_drop: tuple[str, ...]
    cap_add: tuple[str, ...]
    security_opt: tuple[str, ...]
    depends_on: Mapping[str, str]
    health: HealthCheck | None
    published: tuple[str, ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True)
class Compose:
    """The whole file.

    Attributes:
        secrets: name → path beside the compose file.
        internal: networks without a way out.
    """

    folder: Path
    services: Mapping[str, Service]
    secrets: Mapping[str, str]
    volumes: frozenset[str]
    networks: frozenset[str]
    internal: frozenset[str]

    def start_order(self, wanted: set[str]) -> list[str]:
        """Names of the wanted services, each after those that it depends on."""
        order: list[str] = []

        def visit(name: str) -> None:
            if name in order:
                return
            for other in self.services[name].depends_on:
                visit(other)
            if name in wanted:
                order.append(name)

        for name in self.services:
            visit(name)
        return order


def read_compose(path: Path) -> Compose:
    """Read the file. Keys that the tests do not know raise, so that none of them goes untested."""
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    networks = plain.pop("networks")
    compose = Compose(
        folder=path.parent,
        services={name: _service(name, dict(body)) for name, body in plain.pop("services").items()},
        secrets={name: body["file"] for name, body in plain.pop("secrets").items()},
        volumes=frozenset(plain.pop("volumes")),
        networks=frozenset(networks),
        internal=frozenset(name for name, body in networks.items() if (body or {}).get("internal")),
    )
    plain.pop("name")
    unknown = [key for key in plain if not key.startswith("x-")]
    if unknown:
        raise ValueError(f"{path}: unknown keys {unknown}")
    return compose


def _service(name: str, body: dict[str, Any]) -> Service:
    health = body.pop("healthcheck", None)
    service = Service(
        name=name,
        image=body.pop("image"),
        command=_words(body.pop("command", [])),
        environment={key: str(value) for key, value in body.pop("environment", {}).items()},
        mounts=tuple(_mount(each) for each in body.pop("volumes", [])),
        tmpfs=tuple(body.pop("tmpfs", [])),
        secrets=_secrets(body.pop("secrets", [])),
        networks=_networks(body.pop("networks")),
        user=body.pop("user", None),
        read_only=body.pop("read_only", False),
        cap_drop=tuple(body.pop("cap_drop", [])),
        cap_add=tuple(body.pop("cap_add", [])),
        security_opt=tuple(body.pop("security_opt", [])),
        depends_on={other: spec["condition"] for other, spec in body.pop("depends_on", {}).items()},
        health=None if health is None else _health(health),
        published=tuple(body.pop("ports", [])),
        profiles=tuple(body.pop("profiles", [])),
    )
    for known in ("build", "restart", "stop_grace_period", "init"):
        body.pop(known, None)
    if body:
        raise ValueError(f"service {name}: unknown keys {sorted(body)}")
    return service


def _words(value: list[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError("write commands as lists: no shell splits them")
    return tuple(str(word).replace("$$", "$") for word in value)


def _mount(text: str) -> Mount:
    source, target, *mode = text.split(":")
    return Mount(source, target, read_only=mode == ["ro"])


def _secrets(given: list[Any]) -> dict[str, str]:
    """Target path → name."""
    found = {}
    for each in given:
        name = each if isinstance(each, str) else each["source"]
        target = each if isinstance(each, str) else each.get("target", name)
        found[f"/run/secrets/{target}"] = name
    return found


def _networks(given: Any) -> dict[str, tuple[str, ...]]:
    """Network → further names of the service on it."""
    if isinstance(given, list):
        return dict.fromkeys(given, ())
    return {name: tuple((body or {}).get("aliases", ())) for name, body in given.items()}


def _health(body: Mapping[str, Any]) -> HealthCheck:
    test = _words(body["test"])
    if test[0] != "CMD":
        raise ValueError("write health checks as [CMD, …]: the images need not have a shell")
    return HealthCheck(
        test=test[1:],
        interval=_seconds(body["interval"]),
        retries=int(body["retries"]),
        start_period=_seconds(body.get("start_period", "0s")),
    )


def _seconds(text: str) -> int:
    found = _SECONDS.match(text)
    if found is None:
        raise ValueError(f"write {text!r} in seconds")
    return int(found.group(1))
