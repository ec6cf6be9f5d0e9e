"""The sections of docs/benchmarks.md on scale and on rivals say what their results say, no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale_page
from benchmarks.rivals import page

MACHINE = {
    "machine": {"processor": "AMD EPYC", "cores": 2, "python": "3.11.7"},
    "date": "2026-11-28",
    "load_before": 0.5,
}


def point(merchants: int, nodes: int, cpu: float) -> dict[str, Any]:
    return {
        "merchants": merchants,
        "nodes": nodes,
        "seconds": 1.5 * cpu,
        "cpu_seconds": cpu,
        "peak_mib": 512.3,
        "trips": 4,
        "sent_mib": 1523.4,
        "steps": {"cosign": 1.25, "share": 20.0},
        "load_before": 0.5,
    }


def ours(seconds: float) -> dict[str, Any]:
    return {"rows": 105_000, "seconds": seconds, "cpu_seconds": seconds, "epsilon": 3.0, "auc": 0.8571}


SPU = {"version": "0.9.5", "rows": 105_000, "seconds": 180.0, "cpu_seconds": 300.0, "auc": 0.8512}
SIZE = {
    "merchants": 150_000,
    "columns": 103,
    "digua": {"24 nodes": ours(6.0)},
    "digua_every_row": {"24 nodes": ours(7.5)},
    "spu": SPU,
    "spu_every_row": {**SPU, "rows": 150_000, "seconds_per_iteration": 5.1, "seconds": 255.0, "auc": None},
    "flare": {"not_installed": "no matching distribution"},
    "times_faster_than_spu": {"24 nodes": {"seconds": 34.0, "cpu_seconds": 40.0}},
}


def test_scale_is_a_line_per_point_in_order() -> None:
    text = scale_page.section({**MACHINE, "points": [point(150_000, 500, 150.0), point(28_000, 24, 4.2)]})
    small, large = "| 28,000 | 24 | 6.3 | 4.2 | 150.0 | 512 | 4 | 1,523 |", "| 150,000 | 500 |"
    assert text.index(small) < text.index(large)
    assert "Five million" not in text
    assert "| 1.2 |" in text


def test_linearity_is_that_of_cpu_seconds_a_merchant() -> None:
    report = {**MACHINE, "points": [point(1_000_000, 24, 25.0), point(5_000_000, 24, 137.5), point(28_000, 100, 9.0)]}
    assert scale_page.linear(report) == pytest.approx(1.1)
    assert "1.10 times the CPU time" in scale_page.section(report)


def test_a_rival_that_cannot_be_installed_is_said_so() -> None:
    text = page.section({**MACHINE, "sizes": [SIZE]})
    assert "could not be installed: no matching distribution" in text
    assert "| SPU SS-LR 0.9.5 | shares until opened; no noise | 180.0 | 300.0 | 0.8512 |" in text
    assert "With 24 nodes digua is **34 times** faster (40 times in CPU)." in text


def test_without_spu_no_ratio_is_claimed() -> None:
    missing = {"not_installed": "no matching distribution"}
    size = {**SIZE, "spu": missing, "spu_every_row": missing, "times_faster_than_spu": {}}
    assert "times** faster" not in page.section({**MACHINE, "sizes": [size]})


def test_the_newest_results_are_shown(tmp_path: Path) -> None:
    assert scale_page.newest(tmp_path) == page.newest(tmp_path) == ""
    for day in ("2026-11-27", "2026-11-28"):
        for name, found in (("scale", {"points": [point(28_000, 24, 4.2)]}), ("rivals", {"sizes": [SIZE]})):
            report = {**MACHINE, "date": day, **found}
            (tmp_path / f"{name}-{day}.json").write_text(json.dumps(report), encoding="utf-8")
    for section in (scale_page.newest(tmp_path), page.newest(tmp_path)):
        assert "2026-11-28" in section
        assert "2026-11-27" not in section
