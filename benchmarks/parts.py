"""The benchmarks beside accuracy: what each measures, and its rows in the report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import crypto_speed, encoder_accuracy, log_speed, stages

Row = tuple[str, str, str]
_SEEDS = (0, 1, 2)
_ROWS, _EPSILONS, _SHARES = [28_000], [1.0, 3.0], [0.5]
_LOG = {"entries": 1_000_000, "writers": 200, "each": 100}


@dataclass(frozen=True)
class Part:
    """One benchmark.

    Attributes:
        measure: cache of data sets → figures, plain JSON.
        rows: figures → lines of the report.
    """

    measure: Callable[[Path | None], Any]
    rows: Callable[[Any], list[Row]]


def speed_rows(speed: dict[str, dict[str, float]]) -> list[Row]:
    """Seconds and ratios."""
    return [(f"speed, {name}", unit, f"{value:.4g}") for name, each in speed.items() for unit, value in each.items()]


def encoder_rows(lines: list[dict[str, float]]) -> list[Row]:
    """Federated and central DP-SGD."""
    found: list[Row] = []
    for line in lines:
        name = f"encoder, {line['rows']:.0f} eps={line['epsilon']:g}"
        found += [(f"{name} {who}", "AUC", f"{line[who]:.4f}") for who in ("banks", "central", "logistic")]
    return found


def stage_rows(lines: list[dict[str, Any]]) -> list[Row]:
    """AUC per choice of stages."""
    found: list[Row] = []
    for line in lines:
        name = f"stages, {line['schema']} eps={line['epsilon']}"
        found += [(f"{name} {key}", "AUC", str(each["auc"])) for key, each in line.items() if isinstance(each, dict)]
    return found


def log_rows(figures: dict[str, dict[str, float]]) -> list[Row]:
    """A large audit log."""
    return [(f"log, {name}", what, f"{value:.4g}") for name, each in figures.items() for what, value in each.items()]


def _log(_: Path | None) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="digua-log-") as folder:
        return _short(log_speed.measure(Path(folder), **_LOG))


def _short(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {key: float(f"{value:.4g}") for key, value in each.items()} for name, each in figures.items()}


PARTS: dict[str, Part] = {
    "speed": Part(lambda _: _short(crypto_speed.measure()), speed_rows),
    "encoder": Part(
        lambda cache: list(encoder_accuracy.measure(_ROWS, _EPSILONS, list(_SEEDS), cache)),
        encoder_rows,
    ),
    "stages": Part(lambda cache: list(stages.measure(_ROWS, _EPSILONS, list(_SEEDS), _SHARES, cache)), stage_rows),
    "log": Part(_log, log_rows),
}
