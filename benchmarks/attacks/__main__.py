"""Membership inference against everything that a campaign publishes, and faults that it must find.

Run: ``python -m benchmarks.attacks [--trials 1000] [--epsilon 1 3 8] [--out FILE]``. A stopped run goes on from its
file. Exit status 1 if an attack got more than (ε, δ) allows, or a fault was not found.

Scores and reasons that a requester gets are not in it: they are answers about one merchant by that merchant's consent,
and no ε is claimed for them (docs/privacy.md).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from benchmarks.attacks import page, report
from benchmarks.attacks.controls import CONTROLS
from benchmarks.attacks.releases import Setting
from benchmarks.attacks.suite import RELEASES, attack


def main() -> int:
    """Attacks, controls, a file and the section of Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="of either world")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 3.0, 8.0])
    parser.add_argument("--release", nargs="+", choices=list(RELEASES), default=list(RELEASES))
    parser.add_argument("--no-controls", action="store_true")
    parser.add_argument("--out", type=Path, default=page.RESULTS)
    chosen = parser.parse_args()
    found, console = report.start(chosen.out, chosen.trials), Console(stderr=True)
    for epsilon in chosen.epsilon:
        for name in chosen.release:
            if report.done(found, name, epsilon):
                continue
            began = time.monotonic()
            found["results"] += [report.row(each) for each in attack(name, Setting(epsilon), chosen.trials)]
            report.save(chosen.out, found)
            console.print(f"epsilon {epsilon:g}, {name}: {time.monotonic() - began:.0f} s")
    for name, control in {} if chosen.no_controls else CONTROLS.items():
        if any(each["name"] == name for each in found["controls"]):
            continue
        began = time.monotonic()
        results = [report.row(each) for each in control.found(chosen.trials)]
        hit = any(each["broken"] for each in results)
        found["controls"].append({"name": name, "about": control.about, "found": hit, "results": results})
        report.save(chosen.out, found)
        console.print(f"fault, {name}: {time.monotonic() - began:.0f} s")
    print(page.section(found))
    wrong = report.failures(found)
    for each in wrong:
        console.print(each, style="bold red")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
