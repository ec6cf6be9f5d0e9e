"""All benchmarks: one report in results/, one page, docs/benchmarks.md.

Run: ``python -m benchmarks [--quick] [--only NAME …]``. A run that was cut off goes on where it was: each fit of the
accuracy part is kept as soon as it is made, each other part when it is done. NAME is a method, a set, METHOD/SET or a
part: speed, encoder, stages, log. What was not run stands in the report as the last report has it.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine, page
from benchmarks.accuracy.cells import CellStore
from benchmarks.accuracy.run import CELLS, arguments, measure, scope_of
from benchmarks.accuracy.summary import summary
from benchmarks.accuracy.tuning import read_tuned, tune
from benchmarks.parts import PARTS, Row

WAITING = Path(__file__).parent.parent / "out" / "bench"
"""Results of a run that has not come to its end."""


def report_of(cells: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """The report of what is there now."""
    accuracy = summary(CellStore(cells).newest(), read_tuned())
    rows = [
        [*row, parts[name]["date"]]
        for name, part in PARTS.items()
        if name in parts
        for row in part.rows(parts[name]["figures"])
    ]
    return {
        "date": _today(),
        "machine": machine.described(),
        "accuracy": accuracy,
        "parts": parts,
        "rows": rows,
    }


def accuracy_rows(accuracy: dict[str, Any]) -> list[Row]:
    """Mean AUC of each method on each set."""
    return [
        (f"accuracy, {name}: {method['title']}", f"AUC{f', ε = {e}' if e else ''}", f"{at['auc']:.4f}")
        for name, found in accuracy.items()
        for method in found["methods"].values()
        for e, at in method["at"].items()
    ]


def show(report: dict[str, Any]) -> None:
    """Print the report as one table."""
    table = Table(title="digua", title_justify="left")
    for column in ("Benchmark", "Figure", "Value"):
        table.add_column(column, no_wrap=True)
    for row in (*report["rows"], *accuracy_rows(report["accuracy"])):
        table.add_row(*row[:3])
    Console(width=120).print(table)


def _parts(names: list[str], cache: Path | None, console: Console) -> dict[str, Any]:
    """Figures of the parts named, measured where the last run did not come so far."""
    found: dict[str, Any] = {}
    for name in names:
        file = WAITING / f"{name}.json"
        if not file.exists():
            console.print(f"measuring {name}")
            began = time.monotonic()
            figures = PARTS[name].measure(cache)
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(".partial")
            kept = {"date": _today(), "processor": machine.processor(), "figures": figures}
            fresh.write_text(json.dumps(kept), encoding="utf-8")
            fresh.replace(file)
            console.print(f"{name}: {time.monotonic() - began:.0f} s")
        found[name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def main() -> None:
    """Measure what is missing, print a table, write the report and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments(parser)
    parser.add_argument("--report", action="store_true", help="measure nothing; write what is there")
    chosen = parser.parse_args()
    console = Console(stderr=True)
    if chosen.quick:
        scope, folder = scope_of(chosen)
        list(measure(scope.jobs(), CellStore(folder), chosen.cache, console))
        report = report_of(folder, {})
        (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        show(report)
        return
    only = [each for each in chosen.only if each not in PARTS]
    parts = [each for each in PARTS if each in chosen.only or not chosen.only]
    if not chosen.report and (only or not chosen.only):
        scope, folder = scope_of(chosen, only)
        jobs = scope.jobs()
        targets = [(job.method, job.dataset, job.epsilon) for job in jobs if job.epsilon is not None]
        tune(targets, chosen.cache, console.print)
        store = CellStore(folder)
        list(measure(jobs, store, chosen.cache, console))
        store.prune()
    known = page.newest().get("parts", {}) if list(page.RESULTS.glob("[0-9]*.json")) else {}
    measured = {} if chosen.report else _parts(parts, chosen.cache, console)
    report = report_of(CELLS, {**known, **measured})
    file = page.RESULTS / f"{report['date']}.json"
    file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page.write(report)
    for name in measured:
        (WAITING / f"{name}.json").unlink()
    show(report)
    print(file)


if __name__ == "__main__":
    main()
