"""docs/benchmarks.md, made from the newest file in results/: never written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import financings_page, scale_page
from benchmarks.attacks import page as attacks
from benchmarks.load import page as load
from benchmarks.rivals import page as rivals

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGE = FOLDER.parent / "docs" / "benchmarks.md"


def _attacks(results: Path) -> str:
    file = results / "attacks.json"
    return attacks.section(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else ""


SECTIONS: tuple[Callable[[Path], str], ...] = (
    scale_page.newest,
    load.newest,
    financings_page.newest,
    rivals.newest,
    _attacks,
)
"""Further sections: each takes the results' folder and gives Markdown, empty where it has nothing to show."""


def newest(results: Path = RESULTS) -> dict[str, Any]:
    """The newest report.

    Raises:
        SystemExit: there is none.
    """
    files = sorted(results.glob("[0-9]*.json"))
    if not files:
        raise SystemExit(f"{results} has no report: run make bench")
    return dict(json.loads(files[-1].read_text(encoding="utf-8")))


def rendered(report: Mapping[str, Any], results: Path = RESULTS) -> str:
    """The page of a report."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  (Markdown of our own figures)
    )
    environment.filters.update(auc=_auc, gap=_gap, grid=_grid)
    sections = [text for each in SECTIONS if (text := each(results).strip())]
    return environment.get_template("benchmarks.md.jinja").render(report=report, sections=sections)


def write(report: Mapping[str, Any]) -> None:
    """Write the page."""
    PAGE.write_text(rendered(report), encoding="utf-8")


def _auc(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def _gap(found: Mapping[str, float]) -> str:
    text = f"{found['mean']:+.4f}".replace("0.", ".")
    if math.isnan(found["low"]):
        return f"{text} (one split)"
    low, high = (f"{found[end]:+.4f}".replace("0.", ".") for end in ("low", "high"))
    return f"{text} [{low}, {high}]"


def _grid(grid: Mapping[str, list[float]]) -> str:
    return "; ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in grid.items())


if __name__ == "__main__":
    write(newest())
