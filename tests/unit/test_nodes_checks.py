"""Checks of an installation: each fault that is planted is found, with the party and what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from typer.testing import CliRunner

from crypto.keys import IdentityKey
from models.findings import Finding, sound
from nodes.checks import machine
from nodes.checks.hub import check_hub
from nodes.checks.machine import check_disk, check_secrets, check_versions
from nodes.checks.sources import check_sources
from nodes.cli import app
from nodes.config import HubAddress, NodeConfig
from nodes.dataset_config import DatasetConfig
from nodes.runtime import NodeRuntime
from tests.connect_proxy import ConnectProxy
from tests.node_world import SignerWorld
from tests.tls_hub import LOCAL, NAME, TlsHub
from tests.unit.test_nodes_runtime import SCHEMA, write_table


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    world = SignerWorld(tmp_path)
    world.now = datetime.now(UTC)
    return world


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


Serve = Callable[..., TlsHub]


@pytest.fixture
def serve(world: SignerWorld, authority: trustme.CA) -> Iterator[Serve]:
    served: list[TlsHub] = []

    def start(certificate: trustme.LeafCert | None = None) -> TlsHub:
        served.append(TlsHub(world, authority, certificate=certificate))
        return served[-1]

    yield start
    for hub in served:
        hub.close()


def one(findings: Iterator[Finding] | list[Finding], check: str) -> Finding:
    (found,) = [each for each in findings if each.check == check]
    return found


def at(world: SignerWorld, hub: TlsHub, **address: object) -> NodeConfig:
    url = HubAddress.model_validate({"url": f"https://{LOCAL}:{hub.port}", **address})
    return world.config().model_copy(update={"hub": url})


def test_a_sound_way_to_the_hub(world: SignerWorld, serve: Serve, ca_file: Path) -> None:
    config = at(world, serve(), ca_file=ca_file)
    runtime = NodeRuntime.open(config)
    runtime.roster.update(world.roster(1))
    runtime.close()
    findings = list(check_hub(config))
    assert [(each.check, each.state) for each in findings] == [
        ("hub", "ok"),
        ("tls", "ok"),
        ("clock", "ok"),
        ("enrolment", "ok"),
    ]
    assert str(one(findings, "enrolment").what).endswith("(version 1)")


def test_through_a_proxy_that_lets_it_pass_and_one_that_does_not(
    world: SignerWorld, serve: Serve, ca_file: Path
) -> None:
    hub = serve()
    with ConnectProxy() as proxy:
        far = {"url": f"https://{NAME}:{hub.port}", "ca_file": ca_file, "proxy": f"http://127.0.0.1:{proxy.port}"}
        findings = list(check_hub(at(world, hub, **far)))
        assert one(findings, "tls").state == "ok"
        assert f"through http://127.0.0.1:{proxy.port}" in str(one(findings, "hub").what)
        proxy.account = "Basic somebody-else"
        refused = list(check_hub(at(world, hub, **far)))
    assert one(refused, "proxy").state == "fault"
    assert "hub.proxy_auth_file" in str(one(refused, "proxy").remedy)
    assert (one(refused, "clock").state, one(refused, "enrolment").state) == ("skipped", "skipped")


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [("authority", "hub.ca_file"), ("name", "another name"), ("expired", "has expired"), ("early", "not valid yet")],
)
def test_what_is_wrong_with_a_certificate(
    world: SignerWorld, serve: Serve, authority: trustme.CA, ca_file: Path, fault: str, remedy: str
) -> None:
    day, now = timedelta(days=1), datetime.now(UTC)
    made = {
        "authority": lambda: trustme.CA().issue_cert(LOCAL),
        "name": lambda: authority.issue_cert("other.example.org"),
        "expired": lambda: authority.issue_cert(LOCAL, not_after=now - day, not_before=now - 2 * day),
        "early": lambda: authority.issue_cert(LOCAL, not_before=now + day, not_after=now + 2 * day),
    }[fault]()
    found = one(list(check_hub(at(world, serve(made), ca_file=ca_file))), "tls")
    assert (found.state, found.party) == ("fault", "bank-01")
    assert remedy in str(found.remedy)


def test_a_certificate_that_ends_soon_is_the_hubs_matter(
    world: SignerWorld, serve: Serve, authority: trustme.CA, ca_file: Path
) -> None:
    soon = authority.issue_cert(LOCAL, not_after=datetime.now(UTC) + timedelta(days=3))
    found = one(list(check_hub(at(world, serve(soon), ca_file=ca_file))), "tls")
    assert (found.state, found.party) == ("warning", "hub")


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "ok"), (12, "warning"), (-12, "warning"), (90, "fault"), (-90, "fault")]
)
def test_a_clock_that_is_off(world: SignerWorld, serve: Serve, ca_file: Path, seconds: int, state: str) -> None:
    config = at(world, serve(), ca_file=ca_file)
    found = one(list(check_hub(config, clock=lambda: datetime.now(UTC) + timedelta(seconds=seconds))), "clock")
    assert found.state == state
    if state != "ok":
        assert ("ahead of" if seconds > 0 else "behind") in str(found.what)
        assert "NTP" in str(found.remedy)


def test_keys_other_than_the_pinned_ones(world: SignerWorld, serve: Serve, ca_file: Path) -> None:
    hub = serve()
    hub.info = hub.info.model_copy(update={"sign_key": IdentityKey.generate().public})
    faults = [each for each in check_hub(at(world, hub, ca_file=ca_file)) if each.state == "fault"]
    assert [(each.check, each.party) for each in faults] == [("enrolment", "hub")]
    assert "telephone" in str(faults[0].remedy)


def test_a_hub_of_another_version_or_out_of_reach(world: SignerWorld, serve: Serve, ca_file: Path) -> None:
    hub = serve()
    hub.info = hub.info.model_copy(update={"software": "digua-hub/9.9"})
    assert one(list(check_hub(at(world, hub, ca_file=ca_file))), "versions").state == "warning"
    away = one(list(check_hub(world.config())), "hub")
    assert (away.state, "hub.url" in str(away.remedy)) == ("fault", True)


def test_secrets_that_others_can_read(world: SignerWorld) -> None:
    config = world.config()
    assert sound(check_secrets(config))
    (config.keys_dir / "sign.pem").chmod(0o640)
    found = list(check_secrets(config))
    assert [each.check for each in found if each.state == "fault"] == ["permissions", "keys"]
    assert f"chmod 600 {config.keys_dir / 'sign.pem'}" in str(one(found, "permissions").remedy)
    (config.keys_dir / "sign.pem").chmod(0o600)
    (config.keys_dir / "box.pem").unlink()
    assert [each.check for each in check_secrets(config) if each.state == "fault"] == ["keys"]
    config.keys_dir.chmod(0o755)
    assert "chmod 700" in str(one(list(check_secrets(config)), "permissions").remedy)


def test_a_full_disk(world: SignerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((10 << 30, "ok"), (3 << 30, "warning"), (1 << 20, "fault")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _place, free=free: SimpleNamespace(free=free))
        assert one(list(check_disk(world.config())), "disk").state == state


def test_libraries_of_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [each.state for each in check_versions("bank-01")] == ["ok"]
    monkeypatch.setattr(
        machine, "requires", lambda _package: ["rich<2", "no-such-library>=1", "pytest; extra == 'dev'"]
    )
    found = list(check_versions("bank-01"))
    assert [str(each.what).split()[0] for each in found if each.state == "fault"] == ["rich", "no-such-library"]
    monkeypatch.setattr(machine, "PYTHON", (99, 0))
    assert "is too old" in str(next(check_versions("bank-01")).what)


def test_tables_that_do_not_fit(world: SignerWorld, tmp_path: Path) -> None:
    csv = tmp_path / "bank.csv"
    write_table(csv, 4)
    config = world.config(datasets=(DatasetConfig.model_validate({"schema": SCHEMA, "csv": csv}),))
    assert "4 rows fit" in str(one(list(check_sources(config)), "source").what)
    csv.write_text(csv.read_text().replace("id-1,1", "id-1,many"))
    found = one(list(check_sources(config)), "source")
    assert (found.state, "row 3" in str(found.what)) == ("fault", True)
    csv.unlink()
    assert one(list(check_sources(config)), "source").state == "fault"
    assert one(list(check_sources(world.config())), "source").state == "warning"
    assert one(list(check_sources(world.config(kind="client"))), "source").state == "ok"


def test_the_command_shows_findings_in_both_languages_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    party = ("--party-id", "bank-01", "--kind", "bank", "--region", "x", "--hub-url", "http://127.0.0.1:1")
    assert CliRunner().invoke(app, ["init", "--dir", str(tmp_path), *party]).exit_code == 0
    config = ["--config", str(tmp_path / "node.yaml")]
    done = CliRunner().invoke(app, ["check", *config, "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["ok"]) == (1, False)
    by_check = {each["check"]: each for each in found["findings"]}
    assert by_check["hub"]["state"] == "fault"
    assert by_check["hub"]["party"] == "bank-01"
    assert "hub.url" in by_check["hub"]["remedy"]
    monkeypatch.setenv("DIGUA_LANG", "zh")
    shown = CliRunner().invoke(app, ["check", *config])
    assert shown.exit_code == 1
    assert "故障  枢纽连接" in shown.stdout
    assert "处理办法" in shown.stdout
    assert "未检查  时钟" in shown.stdout
