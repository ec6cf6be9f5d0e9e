"""Results of the suite as plain data, kept in one file that a stopped run goes on from."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.attacks.suite import Result

Report = dict[str, Any]


def start(file: Path, trials: int) -> Report:
    """The report in a file if it has the same number of trials, else an empty one."""
    empty = {"trials": trials, "machine": platform.machine(), "cores": os.cpu_count(), "results": [], "controls": []}
    if not file.exists():
        return empty
    found: Report = json.loads(file.read_text(encoding="utf-8"))
    return found if found.get("trials") == trials else empty


def save(file: Path, report: Report) -> None:
    """Writes the report, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def row(result: Result) -> Report:
    """One attack as plain numbers."""
    verdict, claims = result.verdict, result.claims
    low, high = verdict.best.interval
    return {
        "release": result.release,
        "attack": result.attack,
        "epsilon_campaign": result.setting.epsilon,
        "epsilon": _short(claims.epsilon),
        "delta": claims.delta,
        "mu": _short(claims.mu),
        "in": verdict.best.found.trials,
        "out": verdict.best.alarms.trials,
        "advantage": _short(verdict.best.advantage),
        "interval": [_short(low), _short(high)],
        "allowed": _short(claims.advantage),
        "allowed_by_mu": _short(claims.advantage_of_mu),
        "allowed_by_epsilon": _short(claims.advantage_of_epsilon),
        "epsilon_low": _short(verdict.epsilon_low),
        "epsilon_one_run": _short(result.one_run),
        "roc": [
            {
                "false_alarms": nominal,
                "measured": _short(point.alarms.value),
                "found": _short(point.found.value),
                "interval": [_short(point.found.low(0.025)), _short(point.found.high(0.025))],
                "allowed": _short(claims.found_at(point.alarms.value)),
            }
            for nominal, point in verdict.roc.items()
        ],
        "broken": [[_short(epsilon), _short(delta)] for epsilon, delta in verdict.broken],
    }


def done(report: Report, release: str, epsilon: float) -> bool:
    """Whether a released thing was attacked at this ε already."""
    return any(each["release"] == release and each["epsilon_campaign"] == epsilon for each in report["results"])


def failures(report: Report) -> list[str]:
    """What must not be: claims that an attack broke, and faults that no attack found."""
    broken = [
        f"{each['release']}, {each['attack']}, epsilon {each['epsilon_campaign']:g}: more than is claimed"
        for each in report["results"]
        if each["broken"]
    ]
    missed = [f"{each['name']}: not found" for each in report["controls"] if not each["found"]]
    return [*broken, *missed]


def _short(value: float) -> float:
    return float(f"{value:.4g}")
