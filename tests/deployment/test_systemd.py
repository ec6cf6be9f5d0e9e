"""What systemd says of the units in configs/systemd: they load without a complaint, and little is left open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.sandbox import REPOSITORY

pytestmark = pytest.mark.deployment

FOLDER = REPOSITORY / "configs" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXPOSURE = 1.5
"""As `systemd-analyze security` counts: 0 is closed, below 2.5 is OK, 10 is open."""


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def here(tmp_path: Path) -> list[Path]:
    """The units with the commands of this environment: systemd looks whether they can be run."""
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/digua/bin", str(Path(sys.executable).parent))
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return sorted(tmp_path.glob("*.service"))


def test_systemd_loads_the_units(here: list[Path]) -> None:
    done = analyze("verify", "--man=no", *here)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_a_fault_in_a_unit(here: list[Path]) -> None:
    """The check above can fail."""
    here[0].write_text(here[0].read_text(encoding="utf-8").replace("ProtectSystem=", "ProtectSytem="), encoding="utf-8")
    assert "ProtectSytem" in analyze("verify", "--man=no", here[0]).stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_little_is_left_open(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={int(10 * EXPOSURE)}", "--json=short", unit)
    assert done.returncode == 0, done.stdout
    open_weights = [each["exposure"] for each in json.loads(done.stdout) if each["set"] is False]
    assert all(float(weight) <= 0.5 for weight in open_weights)


def test_an_open_unit_passes_the_threshold(tmp_path: Path) -> None:
    """The check above can fail."""
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert analyze("security", "--offline=true", f"--threshold={int(10 * EXPOSURE)}", bare).returncode != 0
