"""digua on the rows: `digua-hub simulate`, a process that holds hub, witness and every node."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from benchmarks.rivals.environment import one_thread, our_program
from benchmarks.rivals.rows import HOLDOUT, SCHEMA, SEED, Rows

FEDERATIONS = {"3 nodes": "bank=1,tax=1,utility=1", "24 nodes": "bank=12,tax=6,utility=6"}
EPSILON = 3.0


def run(rows: Rows, nodes: str, *, holdout: float = HOLDOUT) -> dict[str, Any]:
    """Seconds from the first message to the fitted model, CPU seconds of all parties, and the AUC if rows are held out.

    Args:
        rows: prepared.
        nodes: kind → number, as `--nodes` takes it.
        holdout: 0 to train on every row.
    """
    command = [our_program("digua-hub"), "simulate", "--schema", str(SCHEMA), "--nodes", nodes, "--seed", str(SEED)]
    command += ["--table", str(rows.folder / "joined.parquet"), "--epsilon", str(EPSILON), "--holdout", str(holdout)]
    done = subprocess.run(  # noqa: S603  (our own program)
        [*command, "--no-baselines", "--json"], stdout=subprocess.PIPE, check=True, env=one_thread()
    )
    report = json.loads(done.stdout)
    if holdout and report["held_out"] != int((~rows.train).sum()):
        raise SystemExit("the simulation held other rows out than the rivals")
    return {
        "rows": report["merchants"] - report["held_out"],
        "seconds": round(report["seconds"]["scorecard"] + report["seconds"]["fit"], 2),
        "cpu_seconds": round(report["cpu_seconds"], 2),
        "peak_mib": round(report["peak_mib"]),
        "sent_mib": round(sum(report["bytes_per_node"].values()) / 2**20, 1),
        "trips": report["trips"],
        "epsilon": EPSILON,
        "auc": None if report["auc"] is None else round(report["auc"], 4),
    }
