"""What docs/operations.md says of processes that die is what the fault tests kill, cell by cell."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.faults.cells import CAMPAIGN, QUERY, points, table

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_documented_table_is_the_matrix() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    section = text.partition("## What happens when a process dies\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")] == table()


def test_cells_have_names_of_their_own() -> None:
    names = [each.name + each.stage + each.point for each in (*CAMPAIGN, *QUERY)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("point", points())
def test_every_point_is_a_function_of_the_product(point: str) -> None:
    module, _, path = point.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert callable(found)
