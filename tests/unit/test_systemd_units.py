"""The units in configs/systemd are hardened alike, run commands that exist, and keep to one folder of their own.

What systemd itself says of them is in tests/deployment/test_systemd.py.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
INSTALLED = "/opt/digua/bin/"


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def text(request: pytest.FixtureRequest) -> str:
    return str(request.param.read_text(encoding="utf-8"))


def value(text: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    return str(found)


def hardening(text: str) -> str:
    return text.partition("# 加固")[2].partition("[Install]")[0]


def test_there_is_a_unit_for_every_service() -> None:
    assert sorted(each.stem for each in UNITS) == [
        "digua-gateway",
        "digua-hub",
        "digua-hub-worker",
        "digua-node",
        "digua-platform",
        "digua-witness",
    ]


def test_all_are_hardened_alike(text: str) -> None:
    block = hardening(text)
    assert block == hardening(UNITS[0].read_text(encoding="utf-8"))
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "CapabilityBoundingSet=",
        "LimitCORE=0",
    ):
        assert line in block.splitlines()


def test_each_has_a_user_and_a_folder_of_its_own(text: str) -> None:
    user = value(text, "User")
    assert (value(text, "Group"), value(text, "StateDirectory"), value(text, "StateDirectoryMode")) == (
        user,
        user,
        "0700",
    )
    assert f"--config %S/{user}/" in value(text, "ExecStart")
    declared = (FOLDER / "digua.sysusers").read_text(encoding="utf-8")
    assert re.search(rf'^u {user} +- "[a-z ]+" +/var/lib/{user}$', declared, re.MULTILINE)


def test_none_claims_to_notify_systemd(text: str) -> None:
    """No process of ours sends `READY=1`: with Type=notify systemd would wait in vain and kill it."""
    assert value(text, "Type") == "exec"


def test_commands_exist(text: str) -> None:
    program, *words = shlex.split(value(text, "ExecStart"))
    commands = list(itertools.takewhile(lambda word: not word.startswith("--"), words))
    options = words[len(commands) :]
    assert program.startswith(INSTALLED)
    modules = {"digua-hub": "hub.cli", "digua-node": "nodes.cli"}
    run = [sys.executable, "-m", modules[program.removeprefix(INSTALLED)], *commands, "--help"]
    said = subprocess.run(
        run, capture_output=True, text=True, check=True, env={"COLUMNS": "200", "TERM": "dumb"}
    ).stdout
    assert all(option in said for option in options if option.startswith("--"))
