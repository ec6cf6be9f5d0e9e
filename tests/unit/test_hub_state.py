"""Configuration, key files, migrations, start-up checks and the command line."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import delete, update

from hub import cli
from hub.config import HubConfig, load_config
from hub.console import decode_key, encode_key
from hub.db import Database
from hub.doctor import examine
from hub.errors import HubConfigError, RequestError, StateError
from hub.initialisation import initialise
from hub.keys import create_keys, load_keys
from hub.log import NewEntry
from hub.migrations.runner import check_schema, differences, migrate
from hub.services import Hub
from hub.tables.log import LogEntryRow, LogTileRow
from hub.tables.parties import EnrolmentTokenRow, HubIdentityRow
from tests.hub_world import HubWorld, lines_of, write_lines


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["digua-hub", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_versions_lead_to_the_declared_tables(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/x.sqlite")
    with pytest.raises(StateError, match="none"):
        check_schema(db)
    migrate(db)
    check_schema(db)
    assert differences(db) == []
    migrate(db)  # again: nothing to do
    db.close()


def test_sessions_commit_or_roll_back(tmp_path: Path) -> None:
    world = HubWorld(tmp_path)

    def add_and_fail() -> None:
        with world.hub.db.session() as session:
            session.add(EnrolmentTokenRow(token_sha256=b"t", kind="k", party_id="p", replace=False, expires_at=0))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        add_and_fail()
    with world.hub.db.reading() as session:
        assert session.get(EnrolmentTokenRow, b"t") is None
    world.hub.close()


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("surprise: 1", "surprise"),
        ("listen: {host: 0.0.0.0}", "listen"),
        ("database: 'sqlite:///:memory:'", "database"),
        ("database: mysql://x", "database"),
        ("public_url: ftp://x", "public_url"),
        ("voprf_quota: {default: -1}", "voprf_quota.default"),
    ],
)
def test_wrong_configuration_names_line_and_field(tmp_path: Path, line: str, field: str) -> None:
    path = tmp_path / "hub.yaml"
    fields = {"hub_id": "hub_id: hub-1", "public_url": "public_url: http://127.0.0.1:1"}
    fields[line.partition(":")[0]] = line
    path.write_text("\n".join(fields.values()) + "\n")
    with pytest.raises(HubConfigError, match=f"{path}:\\d+: .*{field.split('.')[0]}"):
        load_config(path)


def test_paths_are_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.yaml"
    path.write_text("hub_id: hub-1\npublic_url: http://127.0.0.1:1\n")
    config = load_config(path)
    assert config.keys_dir == tmp_path / "keys"
    assert config.database == f"sqlite:///{tmp_path}/hub.sqlite"
    assert config.log_origin == "digua/hub-1"
    postgres = HubConfig.model_validate(
        {"hub_id": "h", "public_url": "http://x", "database": "postgresql+psycopg://u:secret@h/d"}
    )
    assert "secret" not in repr(postgres)
    with pytest.raises(ValidationError):
        HubConfig.model_validate({"hub_id": "Hub", "public_url": "http://x"})


def test_keys_are_private_files(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys")
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = load_keys(tmp_path / "keys")
    assert (again.identity.public, again.voprf.public) == (keys.identity.public, keys.voprf.public)
    with pytest.raises(StateError, match="never overwritten"):
        create_keys(tmp_path / "keys")
    os.chmod(tmp_path / "keys" / "sign.pem", 0o640)
    with pytest.raises(StateError, match="may be read by others"):
        load_keys(tmp_path / "keys")
    with pytest.raises(StateError, match="cannot be read"):
        load_keys(tmp_path / "absent")


def test_initialisation_overwrites_nothing(tmp_path: Path) -> None:
    initialise(tmp_path, hub_id="hub-1", port=8440).close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "sqlite" not in path.name}
    with pytest.raises(StateError, match="never overwritten"):
        initialise(tmp_path, hub_id="hub-1", port=8440)
    assert before == {path: path.read_bytes() for path in before}
    with pytest.raises(HubConfigError):
        initialise(tmp_path / "other", hub_id="No Id", port=8440)
    assert not (tmp_path / "other" / "hub.yaml").exists()


@pytest.mark.parametrize("change", ["sign", "voprf", "hub_id", "origin", "identity"])
def test_hub_of_mixed_state_does_not_open(tmp_path: Path, change: str) -> None:
    world = HubWorld(tmp_path / "a")
    config = world.hub.config
    other = HubWorld(tmp_path / "b")
    match change:
        case "sign" | "voprf":
            name = "sign.pem" if change == "sign" else "voprf.seed"
            (config.keys_dir / name).write_bytes((other.hub.config.keys_dir / name).read_bytes())
        case "identity":
            with world.hub.db.session() as session:
                session.execute(delete(HubIdentityRow))
        case _:
            config = config.model_copy(update={change: "other"})
    with pytest.raises(StateError):
        Hub.open(config)
    Hub.open(other.hub.config).close()
    world.hub.close()
    other.hub.close()


def test_doctor_finds_what_start_up_cannot(tmp_path: Path) -> None:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    with world.hub.db.session() as session:
        world.hub.log.append_many(session, [NewEntry("query", "bank-01", facts={"item": i}) for i in range(600)])
    world.settle()
    assert examine(world.hub) == []
    with world.hub.db.session() as session:
        session.execute(update(LogEntryRow).where(LogEntryRow.index == 77).values(leaf=b"{}"))
    world.hub.log.check()  # tiles and checkpoint still agree
    assert examine(world.hub) == ["the bytes of entry 77 do not have its hash"]
    with world.hub.db.session() as session:
        session.execute(update(LogTileRow).where(LogTileRow.level == 1).values(data=b"\x00" * 64))
    assert "tile 1/0 is not what the entries give" in examine(world.hub)
    with world.hub.db.session() as session:
        session.execute(delete(LogEntryRow).where(LogEntryRow.index == 5))
    assert examine(world.hub)[-1] == "entry 5 is missing"
    world.hub.close()


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    home = tmp_path / "h"
    assert run(monkeypatch, "init", "--dir", str(home), "--hub-id", "hub-1", "--port", "18441", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert made["hub_id"] == "hub-1"
    assert run(monkeypatch, "init", "--dir", str(home), "--json") == 1
    assert json.loads(capsys.readouterr().err)["code"] == "hub-state-mismatch"
    monkeypatch.chdir(home)
    assert run(monkeypatch, "enrol-token", "--kind", "bank", "--party", "bank-01") == 0
    token = capsys.readouterr().out.strip()
    assert len(token) == 32
    assert run(monkeypatch, "parties", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(monkeypatch, "doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert run(monkeypatch, "migrate") == 0
    assert run(monkeypatch, "enrol-token") == 2
    assert run(monkeypatch, "doctor", "--config", "absent.yaml") == 1
    error = capsys.readouterr().err
    assert "hub-config-invalid" in error
    assert "Remedy" in error
    assert "Traceback" not in error


def test_audit_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world = HubWorld(tmp_path / "h")
    world.join(world.witness)
    world.hub.enrolment.issue_token("bank", "bank-01", valid_for=timedelta(hours=1))
    world.settle()
    config, out = str(tmp_path / "h" / "hub.yaml"), tmp_path / "x.ndjson"
    assert run(monkeypatch, "audit", "export", "--config", config, "--out", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 5
    keys = ["--hub-key", encode_key(world.hub.keys.identity.public)]
    keys += ["--witness-key", encode_key(world.witness.identity.public)]
    kept = tmp_path / "kept"
    kept.write_text(world.hub.log.reader.checkpoint())
    assert run(monkeypatch, "audit", "verify", str(out), *keys, "--checkpoint", str(kept)) == 0
    assert "whole" in capsys.readouterr().out
    lines = lines_of(out)
    lines[1]["entry"] = str(lines[1]["entry"]).replace("hub-lishui", "hub-other")
    assert run(monkeypatch, "audit", "verify", str(write_lines(out, lines)), *keys, "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["ok"] is False
    assert verdict["findings"][0] == {
        "kind": "entry-altered",
        "first": 0,
        "last": 0,
        "detail": "the bytes of entry 0 do not have the hash beside them",
    }
    monkeypatch.setenv("DIGUA_LANG", "zh")
    assert run(monkeypatch, "audit", "verify", str(out), *keys) == 1
    assert "日志不完整" in capsys.readouterr().out
    assert run(monkeypatch, "audit", "verify", str(out), "--hub-key", "x", "--witness-key", "y") == 1
    journal = tmp_path / "journal.ndjson"
    journal.touch()
    assert run(monkeypatch, "audit", "reconcile", str(out), str(journal), "--node", "bank-01", "--json") == 0
    # The hub's own export is nobody's journal.
    assert run(monkeypatch, "audit", "reconcile", str(out), str(out), "--node", "bank-01", "--json") == 1
    world.hub.close()


def test_keys_on_command_lines() -> None:
    key = bytes(range(224, 256))
    for text in (encode_key(key), encode_key(key) + "=", encode_key(key).replace("-", "+").replace("_", "/")):
        assert decode_key(text, "--key") == key
    for text in ("", "abc", encode_key(key)[:-1], encode_key(key) + "AA", "é" * 43):
        with pytest.raises(RequestError):
            decode_key(text, "--key")


def test_served_hub_ends_cleanly(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    initialise(tmp_path, hub_id="hub-1", port=port).close()
    command = [sys.executable, "-m", "hub.cli", "serve", "--config", str(tmp_path / "hub.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            for _ in range(300):
                try:
                    health = httpx.get(f"http://127.0.0.1:{port}/v1/health", trust_env=False).json()
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            process.terminate()
            _, log = process.communicate(timeout=120)
        finally:
            process.kill()
    assert health["status"] == "ok"
    assert process.returncode == 0
    assert all(isinstance(json.loads(line), dict) for line in log.splitlines())
