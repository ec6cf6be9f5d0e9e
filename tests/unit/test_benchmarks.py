"""Benchmarks of speed run, at sizes that say nothing about speed, and compare like with like."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import log_speed
from benchmarks.crypto_speed import measure
from benchmarks.parts import speed_rows


def test_every_speed_is_compared_with_something_plain() -> None:
    found = measure(merchants=300, items=20, entries=200)
    parts = {
        "tables": ("secure_s", "plain_s"),
        "pseudonyms": ("pseudonym_ms", "verify_ms"),
        "log": ("entry_ms", "row_ms"),
    }
    assert set(found) == set(parts)
    for name, (above, below) in parts.items():
        figures = found[name]
        assert all(value > 0 for value in figures.values())
        assert figures["ratio"] == pytest.approx(figures[above] / figures[below])
    assert len(speed_rows(found)) == sum(map(len, found.values()))


def test_the_logs_speed_is_measured_in_one_run(tmp_path: Path) -> None:
    found = log_speed.measure(tmp_path, entries=2000, writers=4, each=25)
    assert set(found) == {"log", "search_ms", "proof_ms", "export_s", "appends_per_s"}
    assert all(value > 0 for figures in found.values() for value in figures.values())
    appends = found["appends_per_s"]
    assert appends["ratio"] == pytest.approx(appends["grouped"] / appends["alone"])
