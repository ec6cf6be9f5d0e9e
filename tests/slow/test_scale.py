"""A million synthetic merchants at 24 nodes: how long a campaign takes, and that memory does not grow with them.

Tables come from `digua-hub synthesize`, the campaign from `digua-hub simulate`, each a process of its own. All 24
nodes, the witness and the hub are in one process there, so its peak is an upper bound for each of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import campaign, tables

pytestmark = [pytest.mark.figures, pytest.mark.alone, pytest.mark.timeout(1800)]

SMALL, LARGE = 150_000, 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@cache
def measured(folder: Path, merchants: int) -> dict[str, Any]:
    figures = campaign(tables(folder, merchants))
    print(f"\n{merchants:,} merchants: {figures}")
    return figures


def test_a_million_merchants_take_three_minutes_at_most(folder: Path) -> None:
    assert measured(folder, LARGE)["seconds"] <= 180


def test_memory_is_flat(folder: Path) -> None:
    small, large = measured(folder, SMALL), measured(folder, LARGE)
    assert large["peak_mib"] <= 1.3 * small["peak_mib"]


def test_the_large_table_is_as_useful_as_the_small_one(folder: Path) -> None:
    assert measured(folder, LARGE)["auc"] > measured(folder, SMALL)["auc"] - 0.01


def test_150_000_merchants_go_in_one_block(folder: Path) -> None:
    assert measured(folder, SMALL)["trips"] == 4


def test_without_noise_a_cohort_in_many_blocks_opens_to_the_joined_table(folder: Path) -> None:
    command = [str(Path(sys.executable).with_name("digua-hub")), "simulate", "--noise", "off", "--no-baselines"]
    command += ["--schema", "configs/lishui-merchants.yaml", "--table", str(tables(folder, 300_000))]
    done = subprocess.run(
        [*command, "--epsilon", "3", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    report = json.loads(done.stdout)
    assert report["table_equals_joined"] is True
    assert report["trips"] > 4
