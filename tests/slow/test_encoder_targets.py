"""Measured target of the encoder stage: twelve banks that hold all columns, against central DP-SGD at the same ε.

Five split seeds, paired, at 28,000 rows; the same figures as `benchmarks/encoder_accuracy.py` prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.figures, pytest.mark.timeout(1800)]

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "encoder_accuracy.py"


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_twelve_banks_come_within_four_thousandths_of_central_training(epsilon: float, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--rows", "28000", "--epsilon", str(epsilon), "--cache", str(tmp_path)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    print(result)
    assert abs(result["central_minus_banks"]) <= 0.004
