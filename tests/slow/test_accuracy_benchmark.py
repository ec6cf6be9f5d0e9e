"""The accuracy benchmark at the size for continuous integration: every method once, as a process (needs `.[bench]`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.accuracy.methods import METHODS

pytestmark = [pytest.mark.figures, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]


def test_every_method_gives_a_model_worth_the_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["accuracy"]["gmsc-28k"]
    assert set(found["methods"]) == set(METHODS)
    for name, method in found["methods"].items():
        budgets = {"1", "3"} if METHODS[name].private else {""}
        assert set(method["at"]) == budgets
        for at in method["at"].values():
            assert 0.75 < at["auc"] < 0.9
            assert 0 < at["calibration_error"] < 0.1
    ours = found["methods"]["scorecard"]["at"]
    without = found["methods"]["lightgbm"]["at"][""]["auc"]
    assert without - 0.02 < ours["3"]["auc"] < without + 0.01
    assert found["methods"]["local-fedavg"]["at"]["1"]["auc"] < ours["1"]["auc"]
