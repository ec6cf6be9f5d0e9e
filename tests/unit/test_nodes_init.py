"""`digua-node init`: asked at a terminal or answered from a file; whole or not at all; replaced only on demand."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from nodes.cli import app
from nodes.config import load_node_config
from nodes.errors import ConfigError
from nodes.initialisation import InitAnswers, make_node
from nodes.keys import load_keys
from nodes.questions import with_defaults
from tests.unit.test_nodes_runtime import SCHEMA, write_table

NOW = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)
PARTY = {"party_id": "bank-01", "kind": "bank", "region": "上海", "hub_url": "http://127.0.0.1:1"}


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")


def answers(**more: object) -> InitAnswers:
    return with_defaults(InitAnswers.model_validate({**PARTY, **more}))


def init(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["init", *(str(each) for each in arguments)], input=typed)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "bank.csv"
    write_table(path, 4)
    return path


def test_every_kind_gets_a_configuration_that_loads(tmp_path: Path, table: Path) -> None:
    for kind, more in {
        "bank": {"dataset": (f"{SCHEMA}={table}",), "gateway_port": 8090, "pages_port": 8080},
        "tax": {"dataset": (f"{SCHEMA}={table}",), "proxy": "env", "hub_url": "https://hub.example.org"},
        "client": {"gateway_port": 8091},
        "witness": {"approval": "owner", "pages_port": 8081, "epsilon": 8.0},
    }.items():
        folder = tmp_path / kind
        made, keys = make_node(folder, answers(kind=kind, **more), force=False, now=NOW)
        config = load_node_config(made.configuration)
        assert (config.kind, load_keys(config.keys_dir, kind=kind).identity.public) == (kind, keys.identity.public)
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(config.keys_dir.stat().st_mode) == 0o700
        assert (config.gateway is None, config.pages is None) == ("gateway_port" not in more, "pages_port" not in more)
        assert config.model_release.approval == more.get("approval", "automatic")
        assert sorted(each.name for each in folder.iterdir()) == ["keys", "node.yaml"]


@pytest.mark.parametrize("place", ["os.replace", "nodes.initialisation.create_keys"])
def test_what_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place, fail)
    with pytest.raises(OSError, match="No space"):
        make_node(tmp_path, answers(), force=False, now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_attempt_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "keys.making").mkdir()
    (tmp_path / "keys.making" / "sign.pem").write_text("half")
    (tmp_path / ".node.yaml.making").write_text("party_id:")
    make_node(tmp_path, answers(), force=False, now=NOW)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["keys", "node.yaml"]


def test_a_configuration_is_shown_and_replaced_only_by_force(tmp_path: Path) -> None:
    options = [each for name, value in PARTY.items() for each in (f"--{name.replace('_', '-')}", value)]
    assert init("--dir", tmp_path, *options, "--no-checks").exit_code == 0
    path = tmp_path / "node.yaml"
    trust = "trust: {hub_id: h, hub_sign_key: A, witness_id: w, witness_sign_key: A}".replace("A", "A" * 43)
    path.write_text(path.read_text() + trust + "\n")
    before, keys = path.read_bytes(), load_keys(tmp_path / "keys", kind="bank").identity.public

    again = init("--dir", tmp_path, *options)
    assert (again.exit_code, path.read_bytes()) == (1, before)
    assert "SHA256:" in again.stdout
    assert "--force" in again.stderr

    done = init("--dir", tmp_path, *options, "--epsilon", "5", "--force", "--no-checks", "--json")
    assert done.exit_code == 0, done.output
    config = load_node_config(path)
    assert (config.budget.epsilon, config.require_trust().hub_id) == (5.0, "h")
    assert Path(json.loads(done.stdout)["backup"]).read_bytes() == before
    assert load_keys(tmp_path / "keys", kind="bank").identity.public == keys

    with pytest.raises(ConfigError, match="another party"):
        make_node(tmp_path, answers(party_id="bank-02"), force=True, now=NOW)
    assert load_node_config(path).party_id == "bank-01"


def test_answers_from_a_file_have_paths_beside_it_and_options_go_first(tmp_path: Path, table: Path) -> None:
    (tmp_path / "s.yaml").write_bytes(SCHEMA.read_bytes())
    file = tmp_path / "answers.yaml"
    file.write_text(yaml.safe_dump({**PARTY, "dataset": [f"s.yaml={table.name}"], "epsilon": 2}, allow_unicode=True))
    done = init("--dir", tmp_path / "n", "--answers", file, "--region", "杭州", "--json")
    assert done.exit_code == 0, done.output
    config = load_node_config(tmp_path / "n" / "node.yaml")
    assert (config.region, config.budget.epsilon, config.datasets[0].file) == ("杭州", 2.0, table)
    states = {each["check"]: each["state"] for each in json.loads(done.stdout)["checks"]}
    assert (states["source"], states["hub"], states["clock"]) == ("ok", "fault", "skipped")

    file.write_text("party_id: bank-01\nsurprise: 1\n")
    wrong = init("--dir", tmp_path / "m", "--answers", file)
    assert wrong.exit_code == 1
    assert "surprise" in wrong.stderr


def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path) -> None:
    done = init("--dir", tmp_path, "--party-id", "bank-01", "--json")
    assert done.exit_code == 2
    problem = json.loads(done.stderr)
    assert (problem["code"], problem["field"]) == ("config-invalid", "kind")
    assert "--kind, --region, --hub-url must be given" in problem["what"]
    assert "--answers" in problem["remedy"]
    assert list(tmp_path.iterdir()) == []
    wrong = init("--dir", tmp_path, "--approval", "nobody", "--json")
    assert json.loads(wrong.stderr)["field"] == "approval"


def test_wrong_answers_are_asked_again(tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.commands.init.at_terminal", lambda: True)
    lines = ["Bank 1", "bank-01", "bank", "", "上海", "", "http://hub.example.org", "http://127.0.0.1:1"]
    lines += ["no-file.yaml=x", f"{SCHEMA}={table}", "", "-1", "2.5", "", "99999", "8090", ""]
    done = init("--dir", tmp_path / "n", "--no-checks", typed="\n".join(lines) + "\n")
    assert done.exit_code == 0, done.output
    config = load_node_config(tmp_path / "n" / "node.yaml")
    assert (config.party_id, config.region, config.hub.url) == ("bank-01", "上海", "http://127.0.0.1:1")
    assert (config.budget.epsilon, config.budget.delta, len(config.datasets)) == (2.5, 1e-5, 1)
    assert (config.gateway is not None and config.gateway.port, config.pages) == (8090, None)
    said = done.stderr
    assert re.search("there is no file .*/no-file.yaml", said)
    assert "needs TLS" in said


def test_at_a_real_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nodes.cli", "init", "--dir", str(tmp_path / "w"), "--no-checks"]
    master, slave = pty.openpty()
    environment = {**os.environ, "DIGUA_LANG": "zh", "TERM": "dumb"}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True)
    os.close(slave)
    typed = {
        "机构编号": "witness",
        "机构类型": "witness",
        "所在地区": "丽水",
        "机构名称": "",
        "枢纽地址": "http://127.0.0.1:1",
    }
    typed |= {"模型发布": "", "ε 上限": "", "δ": "", "网页端口": ""}
    try:
        for question, answer in typed.items():
            assert question in "".join(_until(master, question))
            os.write(master, answer.encode() + b"\n")
        rest = "".join(_until(master, "下一步"))
        assert re.search("SHA256:", rest)
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    config = load_node_config(tmp_path / "w" / "node.yaml")
    assert (config.kind, config.model_release.approval, config.budget.epsilon) == ("witness", "owner", 8.0)


def _until(terminal: int, wanted: str, seconds: float = 60.0) -> Iterator[str]:
    """What the terminal shows, until it holds a text."""
    seen, end = b"", time.monotonic() + seconds
    while wanted not in seen.decode(errors="replace"):
        assert time.monotonic() < end, seen.decode(errors="replace")
        if select.select([terminal], [], [], 1.0)[0]:
            seen += os.read(terminal, 4096)
    yield seen.decode(errors="replace")
