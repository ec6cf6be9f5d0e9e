"""The section on load of docs/benchmarks.md, from the newest `load-<date>.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCORE_OVER_ECHO = 1 / 8
P99_MS = 60.0
BATCH_OVER_SINGLE = 10.0


def newest(folder: Path) -> str:
    """The section of the newest results in a folder; empty if there are none."""
    files = sorted(folder.glob("load-*.json"))
    return section(json.loads(files[-1].read_text(encoding="utf-8"))) if files else ""


def section(report: Mapping[str, Any]) -> str:
    """Markdown: peaks and latencies, what each process takes of the CPU, and the targets beside what was measured."""
    machine, score, echo, batch = report["machine"], report["score"], report["echo"], report["batch"]
    ratios = report["ratios"]
    parts = [
        "## Load",
        "",
        "Consented scores of single merchants from three sources, asked of a bank's gateway: hub, witness, bank, tax "
        "bureau and utility as processes on loopback, databases on disk, beside a bare FastAPI echo of the same bodies "
        "with one worker in the same run. Open loop, Poisson arrivals, latencies from the moment at which a request "
        f"was to be sent. Sources answer after {report['floor_ms']} ms at the soonest. {machine['processor']}, "
        f"{machine['cores']} cores, Python {machine['python']}, {report['date']}.",
        "",
        "| | Peak a second | At half the peak: p50 ms | p99 ms | p99.9 ms | Errors |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        _line("Echo", echo),
        _line("Score", score),
        "",
        f"A batch of {batch['merchants']:,} merchants: {batch['merchants_per_s']:,.0f} merchants a second.",
        "",
        "| Target | Wanted | Measured |",
        "| --- | ---: | ---: |",
        f"| Peak of scores over that of the echo | {SCORE_OVER_ECHO} | {_figure(ratios['score_over_echo'])} |",
        f"| p99 at half the peak, ms, below | {P99_MS:g} | {_figure(score['half'].get('p99_ms'))} |",
        f"| Merchants of a batch over single scores | {BATCH_OVER_SINGLE:g} | {_figure(ratios['batch_over_single'])} |",
        "",
        "CPU milliseconds a merchant, by process:",
        "",
        "| | " + " | ".join(score["closed"]["cpu_ms"]) + " |",
        "| --- |" + " ---: |" * len(score["closed"]["cpu_ms"]),
        *(
            _cells(name, score["closed"]["cpu_ms"], each)
            for name, each in (("Echo", echo["closed"]), ("Single", score["closed"]), ("Batch", batch))
        ),
        "",
        f"The load of the machine at the end of the run, itself included, was {report['load_before']:.1f}. Where "
        "other work ran beside, seconds and latencies say that as well: read the CPU milliseconds.",
    ]
    return "\n".join(parts) + "\n"


def _line(name: str, found: Mapping[str, Any]) -> str:
    half = found["half"]
    errors = sum(half["errors"].values())
    quantiles = " | ".join(_figure(half.get(each)) for each in ("p50_ms", "p99_ms", "p999_ms"))
    return f"| {name} | {found['peak_per_s']:,.0f} | {quantiles} | {errors} |"


def _cells(name: str, names: Mapping[str, float], found: Mapping[str, Any]) -> str:
    return f"| {name} | " + " | ".join(_figure(found["cpu_ms"].get(each)) for each in names) + " |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
