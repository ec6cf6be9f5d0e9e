"""What a campaign takes as cohort and federation grow: seconds per step, CPU seconds, peak memory, bytes.

Tables are synthetic (`digua-hub synthesize`); the campaign is `digua-hub simulate` without comparisons, a process of
its own that holds hub, witness and all nodes. Times are those of the stages, from the first message to the fitted
model; the peak is that of the process up to there; bytes are those of all messages that crossed the grid.

Run: ``python -m benchmarks.scale [--merchants 28000 150000 1000000 5000000] [--nodes 24 100 500] [--out DIR]``. A point
that the file of the day has already is not measured again, so a run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks import machine

SCHEMA = Path(__file__).parent.parent / "configs" / "lishui-merchants.yaml"
RESULTS = Path(__file__).parent / "results"
NODES = {24: "bank=12,tax=6,utility=6", 100: "bank=50,tax=25,utility=25", 500: "bank=250,tax=125,utility=125"}
# Large cohorts at 24 nodes, large federations at the cohorts that the platform has.
POINTS = [(merchants, 24) for merchants in (28_000, 150_000, 1_000_000, 5_000_000)] + [
    (merchants, nodes) for merchants in (28_000, 150_000) for nodes in (100, 500)
]
_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def tables(folder: Path, merchants: int, nodes: int = 24) -> Path:
    """A folder with every node's table of this many merchants, made where it is not there yet."""
    out = folder / f"{merchants}-{nodes}"
    if not out.exists():
        counts = ["--nodes", NODES[nodes], "--format", "parquet", "--out", str(out)]
        _run("synthesize", "--merchants", str(merchants), *counts)
    return out


def campaign(table: Path, *, epsilon: float = 3.0) -> dict[str, Any]:
    """Figures of one campaign over the tables of a folder."""
    report = json.loads(
        _run("simulate", "--schema", str(SCHEMA), "--table", str(table), "--epsilon", str(epsilon), "--no-baselines")
    )
    seconds, sent = report["seconds"], report["bytes_per_node"]
    return {
        "merchants": report["merchants"],
        "nodes": sum(report["nodes"].values()),
        "seconds": seconds["scorecard"] + seconds["fit"],
        "load_seconds": seconds["load"],
        "steps": seconds["steps"],
        "cpu_seconds": report["cpu_seconds"],
        "peak_mib": report["peak_mib"],
        "trips": report["trips"],
        "sent_mib": sum(sent.values()) / 2**20,
        "largest_node_mib": max(sent.values()) / 2**20,
        "auc": report["auc"],
    }


def measure(sizes: Sequence[int], nodes: Sequence[int] = (24,)) -> Iterator[dict[str, Any]]:
    """Figures of one campaign per size and number of nodes."""
    yield from _points(list(product(sizes, nodes)))


def _points(points: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="digua-scale-") as scratch:
        for merchants, nodes in points:
            table = tables(Path(scratch), merchants, nodes)
            yield campaign(table)
            shutil.rmtree(table)


def _run(command: str, *arguments: str) -> str:
    program = str(Path(sys.executable).with_name("digua-hub"))
    done = subprocess.run(  # noqa: S603  (our own program)
        [program, command, *arguments, "--json"], stdout=subprocess.PIPE, check=True, env={**os.environ, **_THREADS}
    )
    return done.stdout.decode()


def main() -> None:
    """Measure what is not measured yet; print one JSON line per point, keep all in `scale-<date>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merchants", type=int, nargs="+", help="instead of the usual points, with --nodes")
    parser.add_argument("--nodes", type=int, nargs="+", default=[24], choices=sorted(NODES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    today = datetime.now(UTC).date().isoformat()
    file = chosen.out / f"scale-{today}.json"
    report: dict[str, Any] = {
        "date": today,
        "machine": machine.described(),
        "points": [],
    }
    if file.exists():
        report = json.loads(file.read_text(encoding="utf-8"))
    done = {(line["merchants"], line["nodes"]) for line in report["points"]}
    wanted = POINTS if chosen.merchants is None else list(product(chosen.merchants, chosen.nodes))
    chosen.out.mkdir(parents=True, exist_ok=True)
    for point in (each for each in wanted if each not in done):
        load = os.getloadavg()[0]
        for line in _points([point]):
            report["points"].append({**line, "load_before": round(load, 2)})
            file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
