"""Consented scores under load: how many a second, how long each takes, where the CPU goes, beside a bare echo.

Hub, witness, a bank, a tax bureau and a utility run as processes on loopback, each as its owner would run it, with
their databases on disk; the bank's gateway is asked for scores of merchants who consented, each from three sources. The
echo is a bare FastAPI application with one worker, as the gateway and the hub have one each; it gets the same bodies
from the same client in the same run, and is the yardstick: seconds differ from machine to machine, ratios do so less.

A peak is found by raising the rate of an open loop until it is no longer sustained (see `sustained`). Latencies are
reported at half the peak. A batch's rate is merchants a second, over the peak of single scores.

Run: ``python -m benchmarks.load [--merchants 3000] [--seconds 10] [--floor-ms 20] [--out FILE]``; the federation is
made once in ``out/load`` and kept. ``--quick`` measures one rate and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.load import world
from benchmarks.load.client import Target, Window, closed_loop, open_loop

RESULTS = Path(__file__).parent.parent / "results"
MADE = Path("out") / "load"
CALLERS = 128
BATCH = 2000
_STEP = 1.12
_SLOW_S = 1.0


def sustained(window: Window) -> bool:
    """Whether a rate was held: no error, nearly all that came was answered meanwhile, and one in a hundred or fewer
    waited for more than a second."""
    return not window.errors and window.rate >= 0.95 * window.arrived and window.quantile(0.99) < _SLOW_S


def peak(ask: Callable[[float], Window], start: float) -> tuple[float, list[Window]]:
    """The highest rate of answers that was sustained, on a ladder of steps of an eighth from `start` up, or down where
    that is too much."""
    tried: list[Window] = []
    rate = start
    best = 0.0
    while len(tried) < 12:
        window = ask(rate)
        tried.append(window)
        if sustained(window):
            best = max(best, window.rate)
            if any(not sustained(each) for each in tried):
                break
            rate *= _STEP
        else:
            if best:
                break
            rate /= _STEP
    return best, tried


class Load:
    """Asks a running federation and counts what its processes take."""

    def __init__(self, processes: world.Processes, seconds: float) -> None:
        self._processes = processes
        self._seconds = seconds
        self._seed = 0

    def at(self, target: Target, rate: float) -> tuple[Window, dict[str, float]]:
        """One window in the open loop, and the CPU milliseconds a good answer of each process."""
        self._seed += 1
        return self._counted(lambda: open_loop(target, rate=rate, seconds=self._seconds, seed=self._seed))

    def saturated(self, target: Target, callers: int = CALLERS) -> tuple[Window, dict[str, float]]:
        """One window in the closed loop."""
        return self._counted(lambda: closed_loop(target, callers=callers, seconds=self._seconds))

    def _counted(self, ask: Callable[[], Window]) -> tuple[Window, dict[str, float]]:
        before, own = self._processes.cpu_seconds(), sum(os.times()[:2])
        window = ask()
        after = self._processes.cpu_seconds() | {"client": sum(os.times()[:2])}
        answered = max(1, len(window.latencies))
        before["client"] = own
        spent = {name: after[name] - before.get(name, 0.0) for name in after}
        return window, {name: round(1e3 * each / answered, 3) for name, each in spent.items()}


def _say(what: str, window: Window, cpu: dict[str, float]) -> None:
    print(json.dumps({"what": what, **window.report(), "cpu_ms": cpu}), file=sys.stderr, flush=True)


def measure(processes: world.Processes, seconds: float, batch: int) -> dict[str, Any]:
    """All figures of one federation."""
    load = Load(processes, seconds)
    found: dict[str, Any] = {}
    for name, target in (("echo", processes.echoes()), ("score", processes.scores())):
        window, cpu = load.saturated(target)
        _say(f"{name}, closed loop", window, cpu)
        closed = window.report() | {"callers": CALLERS, "cpu_ms": cpu}

        def ask(rate: float, name: str = name, target: Target = target) -> Window:
            window, cpu = load.at(target, rate)
            _say(f"{name}, open loop", window, cpu)
            return window

        best, ladder = peak(ask, 0.8 * window.rate)
        half, cpu = load.at(target, max(1.0, best / 2))
        _say(f"{name}, half the peak", half, cpu)
        found[name] = {
            "closed": closed,
            "ladder": [each.report() | {"sustained": sustained(each)} for each in ladder],
            "peak_per_s": round(best, 2),
            "half": half.report() | {"cpu_ms": cpu},
        }
    items = processes.asked[:batch]
    before = processes.cpu_seconds()
    took = processes.batch(items)
    after = processes.cpu_seconds()
    found["batch"] = {
        "merchants": len(items),
        "seconds": round(took, 3),
        "merchants_per_s": round(len(items) / took, 1),
        "cpu_ms": {name: round(1e3 * (after[name] - before.get(name, 0.0)) / len(items), 3) for name in after},
    }
    score, echo = found["score"]["peak_per_s"], found["echo"]["peak_per_s"]
    found["ratios"] = {
        "score_over_echo": round(score / echo, 4) if echo else None,
        "batch_over_single": round(found["batch"]["merchants_per_s"] / score, 2) if score else None,
    }
    return found


def main() -> None:
    """Make the federation where it is not there yet; measure; write `load-<date>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merchants", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--floor-ms", type=int, default=None, help="answer_time_floor_ms of the sources, if not theirs")
    parser.add_argument("--batch", type=int, default=BATCH, help="merchants in the batch, at most")
    parser.add_argument("--made", type=Path, default=MADE, help="where the federation is kept between runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="closed loop only; write nothing")
    chosen = parser.parse_args()
    made = chosen.made.resolve() / f"{chosen.merchants}"
    if not made.exists():
        world.make_kept(made, chosen.merchants)
    with world.running(made, floor_ms=chosen.floor_ms) as processes:
        if chosen.quick:
            load = Load(processes, chosen.seconds)
            for name, target in (("echo", processes.echoes()), ("score", processes.scores())):
                _say(name, *load.saturated(target))
            return
        figures = measure(processes, chosen.seconds, chosen.batch)
        floor = processes.floor_ms
    today = datetime.now(UTC).date().isoformat()
    report = {
        "date": today,
        "machine": machine.described(),
        "load_before": os.getloadavg()[0],
        "seconds_a_window": chosen.seconds,
        "floor_ms": floor,
        **figures,
    }
    out = chosen.out / f"load-{today}.json" if chosen.out.is_dir() else chosen.out
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"peak_per_s": figures["score"]["peak_per_s"], **figures["ratios"]}))


if __name__ == "__main__":
    main()
