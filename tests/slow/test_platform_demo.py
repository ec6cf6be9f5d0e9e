"""`make demo PLATFORM=1` as processes, at full size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.figures, pytest.mark.alone, pytest.mark.timeout(2700)]


def test_the_platform_demo_shows_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [str(Path(sys.executable).with_name("digua-hub")), "demo", "--platform", "--exit", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SYNTHETIC" in done.stdout
    assert "合成数据" in done.stdout
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert (report["merchants"], report["financings"]) == (28_000, 12_000)
    assert report["load_seconds"] <= 360  # three minutes on an idle machine of two cores; twice that on a busy one
    assert report["audit_entries"] > 200_000
    assert report["subsidy_fen"] > 0
    worlds = report["worlds"]
    assert len(worlds) == 3
    assert "yearly budget" in worlds[0]["refused"]
    for each in worlds:
        assert each["within"] > 0.75 * each["compared"]
