"""SecretFlow's SPU: logistic regression on secret shares (SS-LR), semi2k between two processes over loopback.

Party 0 is the bank with the label, party 1 the tax bureau and the utility together. Full-batch gradient descent on the
one-hot rows of our public bins; no noise: whoever sees the weights has no privacy guarantee.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rivals.environment import one_thread, python_with
from benchmarks.rivals.rows import Rows

REQUIREMENTS = ("spu==0.9.5",)
ITERATIONS = 50
LEARNING_RATE = 8.0  # the largest of 0.5 to 12 that raised the AUC of a sample that is not reported
_PROGRAM = Path(__file__).parent / "programs" / "spu_party.py"


def run(rows: Rows, *, iterations: int, every_row: bool) -> dict[str, Any]:
    """Trains between two processes.

    Args:
        rows: prepared.
        iterations: full-batch steps to take; `seconds` are of 50 at their mean.
        every_row: train on the held-out rows too, for the time alone.

    Raises:
        NotInstalledError: `spu` cannot be installed.
    """
    python = python_with("spu", REQUIREMENTS)
    ports = _free_ports(2)
    with tempfile.TemporaryDirectory(prefix="digua-spu-") as scratch:
        chosen = ["--rows", str(rows.folder), "--out", scratch, "--iterations", str(iterations)]
        chosen += ["--rate", str(LEARNING_RATE), "--ports", *map(str, ports), *(["--every-row"] if every_row else [])]
        parties = [
            subprocess.Popen([str(python), str(_PROGRAM), "--rank", str(rank), *chosen], env=one_thread())  # noqa: S603
            for rank in range(2)
        ]
        codes = [party.wait() for party in parties]
        if any(codes):
            raise SystemExit(f"SPU's parties ended with {codes}")
        reports = [json.loads((Path(scratch) / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
        weights = np.load(Path(scratch) / "weights.npy").ravel()
    each = [max(pair) for pair in zip(*(report["seconds"] for report in reports), strict=True)]
    cpu = sum(sum(report["cpu_seconds"]) for report in reports) / iterations
    mean = float(np.mean(each))
    return {
        "version": reports[0]["version"],
        "rows": reports[0]["rows"],
        "columns": rows.columns,
        "iterations_run": iterations,
        "seconds_per_iteration": round(mean, 3),
        "slowest_iteration": round(max(each), 3),
        "cpu_seconds_per_iteration": round(cpu, 3),
        "seconds": round(mean * ITERATIONS, 1),
        "cpu_seconds": round(cpu * ITERATIONS, 1),
        "share_seconds": round(max(report["share_seconds"] for report in reports), 2),
        "peak_mib": round(sum(report["peak_mib"] for report in reports)),
        "auc": rows.auc(rows.one_hot() @ weights) if iterations == ITERATIONS and not every_row else None,
    }


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody holds now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
