"""What docker-compose.yml and the Dockerfile promise, without starting anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.deployment import requirements
from tests.deployment.compose_file import Compose, Service, read_compose
from tests.deployment.sandbox import user_of

ROOT = Path(__file__).parents[2]
COMPOSE = read_compose(ROOT / "docker-compose.yml")
NAMES = sorted(COMPOSE.services)


@pytest.fixture(scope="module")
def compose() -> Compose:
    return COMPOSE


@pytest.fixture(params=NAMES)
def service(request: pytest.FixtureRequest) -> Service:
    return COMPOSE.services[request.param]


def test_services_run_with_the_least_rights(service: Service) -> None:
    assert user_of(service)[0] != 0
    assert service.read_only
    assert service.cap_drop == ("ALL",)
    assert service.cap_add == ()
    assert service.security_opt == ("no-new-privileges:true",)
    assert service.health is not None


def test_no_secret_stands_in_the_environment(service: Service) -> None:
    for name, value in service.environment.items():
        word = any(part in name for part in ("PASSWORD", "TOKEN", "SECRET", "KEY"))
        assert not word or value.startswith("/run/secrets/"), name


def test_writable_places_are_volumes_and_memory_alone(service: Service) -> None:
    for mount in service.mounts:
        assert mount.is_volume or mount.read_only, mount


def test_every_volume_network_and_secret_is_used(compose: Compose) -> None:
    services = compose.services.values()
    assert {mount.source for each in services for mount in each.mounts if mount.is_volume} == compose.volumes
    assert {network for each in services for network in each.networks} == compose.networks
    assert {name for each in services for name in each.secrets.values()} == set(compose.secrets)


def test_a_volume_has_one_user(compose: Compose) -> None:
    for volume in compose.volumes:
        users = {
            user_of(each) for each in compose.services.values() if volume in {mount.source for mount in each.mounts}
        }
        assert len(users) == 1, (volume, users)


def test_the_hubs_network_is_closed_and_nodes_are_not_on_it(compose: Compose) -> None:
    assert "core" in compose.internal
    for name in ("witness", "bank-a", "bank-b", "tax", "utility", "platform"):
        assert set(compose.services[name].networks) == {"outside"}
    for name in ("postgres", "hub", "worker"):
        assert "outside" not in compose.services[name].networks
    ways_in = {name for name, each in compose.services.items() if each.published}
    assert ways_in <= {"proxy", "superlink"}


def _commands() -> list[tuple[str, ...]]:
    """Programs and subcommands of ours that services and health checks run, without options."""
    lines = [
        line for each in COMPOSE.services.values() for line in (each.command, each.health.test if each.health else ())
    ]
    ours = {
        tuple(word for word in line if not word.startswith(("-", "/")))
        for line in lines
        if line and line[0].startswith("digua-")
    }
    return sorted(ours)


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_commands_are_those_of_the_command_line(command: tuple[str, ...]) -> None:
    program = {"digua-hub": "hub.cli", "digua-node": "nodes.cli"}[command[0]]
    done = subprocess.run(
        [sys.executable, "-m", program, *command[1:], "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout


def test_the_file_follows_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests" / "vectors" / "compose_spec.json").read_text(encoding="utf-8"))
    checker = jsonschema.Draft201909Validator(schema)
    plain = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert plain.pop("name") == "digua"  # a later addition to the specification
    assert [error.message for error in checker.iter_errors(plain)] == []
    plain["services"]["hub"]["readonly"] = plain["services"]["hub"].pop("read_only")
    assert not checker.is_valid(plain)


def test_what_the_image_needs_is_copied() -> None:
    """A package that the image lacks would be missed at the first start only."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for package in ("crypto", "models", "nodes", "hub"):
        assert f"COPY {package} {package}\n" in text
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[0] == "*"


def test_the_dockerfile_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_anchors_leave_no_unknown_key() -> None:
    """`read_compose` refuses keys that it does not know; this shows that it does."""
    plain = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(plain["services"]) == set(NAMES)


def test_a_machine_that_cannot_run_the_topology_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.shutil, "which", lambda program: None if program == "bwrap" else f"/bin/{program}")
    assert "install --no-install-recommends bubblewrap" in (requirements.complaint() or "")
    monkeypatch.setattr(requirements.shutil, "which", lambda program: f"/bin/{program}")
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    assert "root" in (requirements.complaint() or "")
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 0)
    assert requirements.complaint() is None
