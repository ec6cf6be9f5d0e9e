"""The section on rivals of docs/benchmarks.md, from `rivals-<date>.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_HEAD = ("System", "Guarantee", "Seconds", "CPU seconds, all parties", "AUC, held out")


def newest(folder: Path) -> str:
    """The section of the newest results in a folder; empty if there are none."""
    files = sorted(folder.glob("rivals-*.json"))
    return section(json.loads(files[-1].read_text(encoding="utf-8"))) if files else ""


def section(report: Mapping[str, Any]) -> str:
    """Markdown: a table per size, ratios, and what was run."""
    machine = report["machine"]
    parts = [
        "## Beside other vertical systems",
        "",
        "Give Me Some Credit over bank, tax bureau and utility. All systems ran one after the other on one machine: "
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {report['date']}; the "
        f"load before a size was at most {report['load_before']:g}. Where other work ran beside, "
        "compare CPU seconds. Finding the merchants that sources share (pseudonyms, PSI) is counted for none of them.",
    ]
    for size in report["sizes"]:
        parts += ["", *_size(size)]
    parts += [
        "",
        "* **digua**: `digua-hub simulate`, hub, witness and all nodes in one process, from the first message to "
        "the fitted scorecard; all that is published is (ε, δ)-private per merchant.",
        "* **SPU SS-LR**: logistic regression on secret shares, semi2k over a 64-bit ring, two processes over "
        "loopback; 50 full-batch iterations on the same one-hot rows. The time on every row is 50 times the mean of "
        "the iterations that were run. Sharing the rows is not counted. The opened weights carry no noise.",
        "* **FLARE**: vertical XGBoost, histogram v2, three sites in FLARE's simulator, on the raw columns, 50 trees "
        "of depth 4; `seconds` are those of the rounds, without the simulator's start. Its wheel holds no encryption "
        "plugin: asked for `secure=True` the job ran to its end without one, its log naming no encrypted gradient. "
        "So this is plain mode: gradients travel in the clear, and there is no noise.",
        "",
        "Neither rival was tuned beyond SPU's learning rate, chosen on a sample that is not reported.",
    ]
    return "\n".join(parts) + "\n"


def _size(size: Mapping[str, Any]) -> list[str]:
    spu, trees = size["spu"], size["flare"]
    lines = [f"### {size['merchants']:,} merchants, {size['columns']} columns", ""]
    rows = [
        (f"digua, {name}", f"ε = {run['epsilon']:g}, δ = 1e-5", run["seconds"], run["cpu_seconds"], run["auc"])
        for name, run in size["digua"].items()
    ]
    rows.append(_rival("SPU SS-LR", "shares until opened; no noise", spu))
    rows.append(_rival("NVIDIA FLARE, XGBoost", "rows stay; no encryption, no noise", trees))
    lines += _table(_HEAD, rows)
    ratios, every = size["times_faster_than_spu"], size["spu_every_row"]
    if ratios:
        lines += ["", f"Training on all {every['rows']:,} rows, with nobody held out: SPU takes "]
        lines[-1] += f"{every['seconds_per_iteration']:g} s an iteration, {every['seconds']:g} s for 50. "
        lines[-1] += " ".join(
            f"With {name} digua is **{each['seconds']:g} times** faster ({each['cpu_seconds']:g} times in CPU)."
            for name, each in ratios.items()
        )
    return lines


def _rival(name: str, guarantee: str, run: Mapping[str, Any]) -> tuple[str, str, Any, Any, Any]:
    if "not_installed" in run:
        return name, f"could not be installed: {run['not_installed']}", None, None, None
    return f"{name} {run['version']}", guarantee, run["seconds"], run["cpu_seconds"], run["auc"]


def _table(head: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    return lines + ["| " + " | ".join("–" if each is None else str(each) for each in row) + " |" for row in rows]
