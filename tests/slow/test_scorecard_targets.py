"""Measured targets of the scorecard stage on Give Me Some Credit: 12/6/6 nodes, 30 % held out, split seeds 0–4.

Every figure comes from `digua-hub simulate` as a process: the whole protocol over LocalGrid, noise on.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.datasets import default_cache, give_me_some_credit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCHEMA = Path(__file__).resolve().parents[2] / "configs" / "give-me-some-credit.yaml"
SEEDS = range(5)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "joined.csv"
    give_me_some_credit(default_cache()).write_csv(path)
    return path


@cache
def simulate(table: Path, epsilon: float, seed: int, merchants: int) -> dict[str, Any]:
    """Run one simulation; the report, with the process's peak memory and nothing else added."""
    command = [
        str(Path(sys.executable).with_name("digua-hub")),
        "simulate",
        "--schema",
        str(SCHEMA),
        "--table",
        str(table),
    ]
    command += ["--nodes", "bank=12,tax=6,utility=6", "--epsilon", str(epsilon), "--seed", str(seed), "--json"]
    command += ["--merchants", str(merchants), "--out", str(table.parent / f"{merchants}-{epsilon}-{seed}")]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        watched = psutil.Process(run.pid)
        while True:
            try:
                out, err = run.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, watched.memory_info().rss)
    assert run.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    report["peak_mib"] = peak / 2**20
    return report


def simulated(table: Path, epsilon: float, merchants: int) -> list[dict[str, Any]]:
    """Reports of all split seeds, two processes at a time: each has one thread, and nothing here is of time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda seed: simulate(table, epsilon, seed, merchants), SEEDS))


def mean(values: list[float]) -> float:
    return statistics.fmean(values)


@pytest.mark.alone
def test_large_campaign_is_quick_and_small(joined: Path) -> None:
    report = simulate(joined, 3.0, 0, 150_000)  # the others may run two at a time
    stages = report["seconds"]["scorecard"] + report["seconds"]["fit"]
    print(f"\n150,000 rows: stages {stages:.1f} s, peak {report['peak_mib']:.0f} MiB, trips {report['trips']}")
    assert stages <= 30
    assert report["peak_mib"] < 2048


@pytest.mark.parametrize(
    ("merchants", "epsilon", "least"),
    [(150_000, 1.0, 0.855), (150_000, 3.0, 0.857), (28_000, 1.0, 0.840), (28_000, 3.0, 0.847)],
)
def test_auc_reaches_its_target(joined: Path, merchants: int, epsilon: float, least: float) -> None:
    reports = simulated(joined, epsilon, merchants)
    found = [report["auc"] for report in reports]
    print(f"\n{merchants:,} rows, epsilon {epsilon}: mean {mean(found):.4f}, each {[round(x, 4) for x in found]}")
    assert all(report["epsilon"] <= epsilon for report in reports)
    assert mean(found) >= least


@pytest.mark.parametrize(("epsilon", "most"), [(1.0, 0.010), (3.0, 0.004)])
def test_privacy_costs_little_beside_a_logistic_regression(joined: Path, epsilon: float, most: float) -> None:
    reports = simulated(joined, epsilon, 28_000)
    gaps = [report["auc_nonprivate"] - report["auc"] for report in reports]
    print(f"\n28,000 rows, epsilon {epsilon}: mean gap {mean(gaps):+.4f}, each {[round(x, 4) for x in gaps]}")
    assert mean(gaps) <= most
