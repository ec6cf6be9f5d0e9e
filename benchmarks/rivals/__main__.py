"""digua, SecretFlow's SPU and NVIDIA FLARE on the same rows, one after the other, in one run on one machine.

Run: ``python -m benchmarks.rivals [--rows 28000 150000] [--out benchmarks/results] [--quick]``, about a quarter of an
hour on an idle machine. A size that the file of the day has already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.rivals import flare, ours, page, ss_lr
from benchmarks.rivals.environment import NotInstalledError
from benchmarks.rivals.rows import prepare

RESULTS = Path(__file__).parent.parent / "results"
_QUICK = 3  # iterations and rounds


def compare(merchants: int, cache: Path | None, *, quick: bool) -> dict[str, Any]:
    """All systems on so many merchants: on every row for the time, on the rows not held out for time and AUC."""
    rows = prepare(merchants, cache)
    every = {name: ours.run(rows, nodes, holdout=0.0) for name, nodes in ours.FEDERATIONS.items()}
    trained = {name: ours.run(rows, nodes) for name, nodes in ours.FEDERATIONS.items()}
    spu_every = _try(lambda: ss_lr.run(rows, iterations=_QUICK, every_row=True))
    spu = _try(lambda: ss_lr.run(rows, iterations=_QUICK if quick else ss_lr.ITERATIONS, every_row=False))
    trees = _try(lambda: flare.run(rows, rounds=_QUICK if quick else flare.ROUNDS))
    return {
        "merchants": merchants,
        "columns": rows.columns,
        "digua_every_row": every,
        "digua": trained,
        "spu_every_row": spu_every,
        "spu": spu,
        "flare": trees,
        "times_faster_than_spu": _ratios(every, spu_every),
    }


def _try(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return run()
    except NotInstalledError as missing:
        return {"not_installed": str(missing)}


def _ratios(every: dict[str, dict[str, Any]], spu: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Federation → 50 iterations of SPU over one campaign of ours, on every row: wall clock, and CPU of all parties."""
    if "seconds" not in spu:
        return {}
    clocks = ("seconds", "cpu_seconds")
    return {name: {clock: round(spu[clock] / mine[clock], 1) for clock in clocks} for name, mine in every.items()}


def main() -> None:
    """Measure, write `rivals-<date>.json`, print the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[28_000, 150_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, help="where the data set is kept")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} iterations and rounds; gives no AUC of SPU")
    chosen = parser.parse_args()
    today = datetime.now(UTC).date().isoformat()
    file = chosen.out / f"rivals-{today}.json"
    report: dict[str, Any] = {"date": today, "machine": machine.described(), "load_before": 0.0, "sizes": []}
    if file.exists():
        report = json.loads(file.read_text(encoding="utf-8"))
    done = {size["merchants"] for size in report["sizes"]}
    chosen.out.mkdir(parents=True, exist_ok=True)
    for merchants in (each for each in chosen.rows if each not in done):
        report["load_before"] = max(report["load_before"], round(os.getloadavg()[1], 2))
        report["sizes"].append(compare(merchants, chosen.cache, quick=chosen.quick))
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(page.section(report))
    print(file)


if __name__ == "__main__":
    main()
