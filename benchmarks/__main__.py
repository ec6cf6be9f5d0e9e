"""All benchmarks at small settings, as one table and one file that later releases are compared with.

Run: ``python -m benchmarks [--seeds 0 1 2] [--out benchmarks/results] [--cache DIR]``, about two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import crypto_speed, encoder_accuracy, scale, scorecard_accuracy, stages

ROWS = [28_000]
EPSILONS = [1.0, 3.0]
ENCODER_SHARES = [0.5]
SIZES = [28_000, 150_000]
RESULTS = Path(__file__).parent / "results"
Row = tuple[str, str, str]


def scorecard_rows(results: dict[str, float]) -> list[Row]:
    """AUC at every ε beside the two baselines."""
    rows = [(f"scorecard, {name}", "AUC", f"{value:.4f}") for name, value in results.items()]
    return [row for row in rows if not any(word in row[0] for word in (" ks", " calibration", " gap"))]


def encoder_rows(lines: list[dict[str, float]]) -> list[Row]:
    """Federated and central DP-SGD."""
    found: list[Row] = []
    for line in lines:
        name = f"encoder, {line['rows']:.0f} eps={line['epsilon']:g}"
        found += [(f"{name} {who}", "AUC", f"{line[who]:.4f}") for who in ("banks", "central", "logistic")]
    return found


def stage_rows(lines: list[dict[str, object]]) -> list[Row]:
    """AUC per choice of stages."""
    found: list[Row] = []
    for line in lines:
        name = f"stages, {line['schema']} eps={line['epsilon']}"
        found += [(f"{name} {key}", "AUC", str(each["auc"])) for key, each in line.items() if isinstance(each, dict)]
    return found


def scale_rows(lines: list[dict[str, float]]) -> list[Row]:
    """Seconds and memory per size of cohort."""
    units = {"seconds": "s", "cpu_seconds": "CPU s", "peak_mib": "MiB"}
    return [
        (f"scale, {line['merchants']:,.0f} merchants", unit, f"{line[name]:.4g}")
        for line in lines
        for name, unit in units.items()
    ]


def speed_rows(speed: dict[str, dict[str, float]]) -> list[Row]:
    """Seconds and ratios."""
    return [(f"speed, {name}", unit, f"{value:.4g}") for name, each in speed.items() for unit, value in each.items()]


def main() -> None:
    """Measure, print a table, write `<date>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, help="where the data set is kept")
    chosen = parser.parse_args()
    began = time.monotonic()
    speed = crypto_speed.measure()
    per_seed = scorecard_accuracy.measure(ROWS, chosen.seeds, chosen.cache)
    scorecard = {name: round(float(np.mean(values)), 4) for name, values in per_seed.items()}
    encoder = list(encoder_accuracy.measure(ROWS, EPSILONS, chosen.seeds, chosen.cache))
    choices = list(stages.measure(ROWS, EPSILONS, chosen.seeds, ENCODER_SHARES, chosen.cache))
    sizes = list(scale.measure(SIZES))
    table = Table(title="digua", title_justify="left")
    for column in ("Benchmark", "Figure", "Value"):
        table.add_column(column, no_wrap=True)
    for row in (
        *speed_rows(speed),
        *scale_rows(sizes),
        *scorecard_rows(scorecard),
        *encoder_rows(encoder),
        *stage_rows(choices),
    ):
        table.add_row(*row)
    Console(width=120).print(table)
    today = datetime.now(UTC).date().isoformat()
    report = {
        "date": today,
        "version": metadata.version("digua"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "seeds": chosen.seeds,
        "seconds": round(time.monotonic() - began, 1),
        "speed": {name: {key: float(f"{value:.4g}") for key, value in each.items()} for name, each in speed.items()},
        "scale": [{key: float(f"{value:.4g}") for key, value in line.items()} for line in sizes],
        "scorecard_accuracy": scorecard,
        "encoder_accuracy": encoder,
        "stages": choices,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    file = chosen.out / f"{today}.json"
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
