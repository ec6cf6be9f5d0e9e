"""The section on scale of docs/benchmarks.md, from `scale-<date>.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEAD = ("Merchants", "Nodes", "Seconds", "CPU seconds", "CPU µs a merchant", "Peak MiB", "Trips", "MiB sent, all")
_STEPS = {
    "cosign": "T0 the witness checks",
    "accept": "T1 accept",
    "seeds": "T1′ seeds",
    "exchange": "T2 the first block's rows",
    "share": "T3 shares, and the further blocks' rows",
    "release": "T3′, T4",
    "outcome": "T4 told to the nodes",
}


def newest(folder: Path) -> str:
    """The section of the newest results in a folder; empty if there are none."""
    files = sorted(folder.glob("scale-*.json"))
    return section(json.loads(files[-1].read_text(encoding="utf-8"))) if files else ""


def linear(report: Mapping[str, Any]) -> float | None:
    """CPU seconds a merchant with five million over those with one million, at 24 nodes; None if one is missing."""
    found = {each["merchants"]: each for each in report["points"] if each["nodes"] == 24}
    if not {1_000_000, 5_000_000} <= found.keys():
        return None
    one, five = found[1_000_000], found[5_000_000]
    return float(five["cpu_seconds"] / five["merchants"] / (one["cpu_seconds"] / one["merchants"]))


def section(report: Mapping[str, Any]) -> str:
    """Markdown: a line per point, seconds per step, and whether time is linear in rows."""
    machine = report["machine"]
    points = sorted(report["points"], key=lambda each: (each["nodes"], each["merchants"]))
    parts = [
        "## Scale",
        "",
        "One scorecard campaign (`digua-hub simulate`, synthetic merchants of Lishui, ε = 3) from the first message to "
        "the fitted model. Hub, witness and all nodes share one process: seconds and memory are those of all parties "
        f"together. {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {report['date']}.",
        "",
        *_table(_HEAD, [_line(each) for each in points]),
    ]
    ratio = linear(report)
    if ratio is not None:
        parts += ["", f"Five million merchants take {ratio:.2f} times the CPU time a merchant that one million take."]
    parts += ["", "Seconds per step of the protocol:", ""]
    head = ["Merchants", "Nodes", *_STEPS.values()]
    parts += _table(
        head, [[*_size(each), *(f"{each['steps'].get(step, 0):.1f}" for step in _STEPS)] for each in points]
    )
    parts += [
        "",
        f"The largest load of the machine before a point was {max(each['load_before'] for each in points):g}; where it "
        "is above 1, seconds say more of the machine's other work than of this: read the CPU seconds.",
    ]
    return "\n".join(parts) + "\n"


def _size(each: Mapping[str, Any]) -> list[str]:
    return [f"{each['merchants']:,}", str(each["nodes"])]


def _line(each: Mapping[str, Any]) -> list[str]:
    return [
        *_size(each),
        f"{each['seconds']:.1f}",
        f"{each['cpu_seconds']:.1f}",
        f"{1e6 * each['cpu_seconds'] / each['merchants']:.1f}",
        f"{each['peak_mib']:.0f}",
        str(each["trips"]),
        f"{each['sent_mib']:,.0f}",
    ]


def _table(head: tuple[str, ...] | list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---:" for _ in head) + " |"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
