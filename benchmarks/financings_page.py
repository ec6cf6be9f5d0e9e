"""The section on financings of docs/benchmarks.md, from the newest `financings-<date>.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIVES_PER_S = 100.0
_STAGES = {
    "opening": "Application to disbursement, in batches",
    "year": "A year of payments to the end, in batches",
    "singles": "Whole lives, one order a call",
}


def newest(folder: Path) -> str:
    """The section of the newest results in a folder; empty if there are none."""
    files = sorted(folder.glob("financings-*.json"))
    return section(json.loads(files[-1].read_text(encoding="utf-8"))) if files else ""


def section(report: Mapping[str, Any]) -> str:
    """Markdown: rates of each stage, whole lives beside the target, and what was checked."""
    machine, audit, lives = report["machine"], report["audit"], report["lives"]
    parts = [
        "## Financings of the Two Small platform",
        "",
        "Whole lives of financings over the platform's HTTP API on loopback: `digua-hub platform serve` as one "
        "process, SQLite on disk with `synchronous=FULL`, twelve banks, two of which send at the same time; change, "
        "audit entry and answer of a call are one transaction. Every tenth call is sent twice. "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {report['date']}.",
        "",
        "| | Financings | Orders | Calls | Seconds | CPU seconds of the platform | Financings/s | Financings/CPU s "
        "| Orders/s | Call p50 ms | p99 ms |",
        "| --- |" + " ---: |" * 10,
        *(_line(title, report[name]) for name, title in _STAGES.items()),
        "",
        "| Target | Wanted | Measured |",
        "| --- | ---: | ---: |",
        f"| Whole lives a second, in batches | {LIVES_PER_S:g} | {lives['per_s']:,.1f} |",
        f"| The same a CPU second of the platform | {LIVES_PER_S:g} | {lives['per_cpu_s']:,.1f} |",
        "",
        f"The record has {audit['entries']:,} entries of these orders, exactly as many as were sent, calls sent twice "
        f"counted once; its chain was verified in {audit['verified_in_seconds']:g} s, and every financing is in the "
        "state that was ordered.",
        "",
        f"The load of the machine before the run was {report['load_before']:g}; where other work ran beside, seconds "
        "say that as well: read the CPU seconds.",
    ]
    return "\n".join(parts) + "\n"


def _line(title: str, each: Mapping[str, Any]) -> str:
    cells = [
        *(f"{each[name]:,}" for name in ("financings", "orders", "calls")),
        *(f"{each[name]:.1f}" for name in ("seconds", "cpu_seconds", "financings_per_s", "financings_per_cpu_s")),
        *(f"{each[name]:,.0f}" for name in ("orders_per_s", "call_p50_ms", "call_p99_ms")),
    ]
    return f"| {title} | " + " | ".join(cells) + " |"
