"""Five hundred nodes in one process: every store, key, mask and sealed box is real, under a shell's usual limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.federation import small_schema

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NODES = "bank=250,tax=125,utility=125"


def test_the_table_of_500_nodes_is_the_joined_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 4000
    b1, t1 = rng.normal(1, 1, rows), rng.normal(0.5, 1, rows)
    frame = pl.DataFrame(
        {
            "b1": b1,
            "b2": rng.choice(["a", "b", "c", "d"], rows),
            "t1": t1,
            "t2": rng.normal(0, 1, rows),
            "u1": rng.choice(["a", "b", "c"], rows),
            "bad": (rng.random(rows) < 1 / (1 + np.exp(1.5 + b1 - t1))).astype(int),  # a fit needs something to find
        }
    )
    frame.write_csv(tmp_path / "joined.csv")
    schema = small_schema().model_dump(mode="json", exclude_none=True)
    (tmp_path / "schema.yaml").write_text(json.dumps(schema, ensure_ascii=False), encoding="utf-8")
    program = str(Path(sys.executable).with_name("digua-hub"))
    command = [program, "simulate", "--schema", "schema.yaml", "--table", "joined.csv", "--nodes", NODES]
    command += ["--noise", "off", "--epsilon", "1", "--no-baselines", "--json"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -Sn 1024 && exec "$@"', "sh", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert report["nodes"] == {"bank": 250, "tax": 125, "utility": 125}
    assert report["table_equals_joined"] is True
    assert (report["attempts"], report["lost"]) == (1, {})
    assert all(report["bytes_per_node"].values())
