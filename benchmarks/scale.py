"""What a campaign takes as the cohort grows: seconds, CPU seconds, peak memory at 24 nodes.

Tables are synthetic (`digua-hub synthesize`); the campaign is `digua-hub simulate` without comparisons, a process of
its own that holds hub, witness and all nodes. Times are those of the stages, from the first message to the fitted
model; the peak is that of the process up to there.

Run: ``python benchmarks/scale.py [--merchants 150000 1000000]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

SCHEMA = Path(__file__).parent.parent / "configs" / "lishui-merchants.yaml"
NODES = "bank=12,tax=6,utility=6"
_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def tables(folder: Path, merchants: int) -> Path:
    """A folder with every node's table of this many merchants, made where it is not there yet."""
    out = folder / str(merchants)
    if not out.exists():
        _run("synthesize", "--merchants", str(merchants), "--nodes", NODES, "--format", "parquet", "--out", str(out))
    return out


def campaign(table: Path, *, epsilon: float = 3.0) -> dict[str, float]:
    """Figures of one campaign over the tables of a folder."""
    report = json.loads(
        _run("simulate", "--schema", str(SCHEMA), "--table", str(table), "--epsilon", str(epsilon), "--no-baselines")
    )
    return {
        "merchants": report["merchants"],
        "seconds": report["seconds"]["scorecard"] + report["seconds"]["fit"],
        "cpu_seconds": report["cpu_seconds"],
        "peak_mib": report["peak_mib"],
        "trips": report["trips"],
        "largest_node_mib": max(report["bytes_per_node"].values()) / 2**20,
        "auc": report["auc"],
    }


def measure(sizes: Sequence[int]) -> Iterator[dict[str, float]]:
    """Figures of one campaign per size."""
    with tempfile.TemporaryDirectory(prefix="digua-scale-") as scratch:
        for merchants in sizes:
            yield campaign(tables(Path(scratch), merchants))


def _run(command: str, *arguments: str) -> str:
    program = str(Path(sys.executable).with_name("digua-hub"))
    done = subprocess.run(  # noqa: S603  (our own program)
        [program, command, *arguments, "--json"], stdout=subprocess.PIPE, check=True, env={**os.environ, **_THREADS}
    )
    return done.stdout.decode()


def main() -> None:
    """Print one JSON line per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merchants", type=int, nargs="+", default=[150_000, 1_000_000])
    for line in measure(parser.parse_args().merchants):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
