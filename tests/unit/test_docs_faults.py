"""What docs/operations.md says of processes that die is what the fault tests kill, cell by cell."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.faults.cells import CAMPAIGN, QUERY, points, table
from tests.faults.doc import DOC, written
from tests.faults.matrix import CAMPAIGNS, CELLS, ELSEWHERE, FAULTS, OPERATIONS

MANUAL = Path(__file__).parents[2] / "docs" / "operations.md"


def test_the_documented_table_is_the_matrix() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    section = text.partition("## What happens when a process dies\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")] == table()


def test_the_documented_matrix_is_what_is_tested() -> None:
    text = DOC.read_text(encoding="utf-8")
    assert written(text) == text, "python -m tests.faults.doc"


def test_every_fault_and_every_operation_is_tried() -> None:
    cells = [str(each) for each in (*CELLS, *CAMPAIGNS, *ELSEWHERE)]
    assert len(cells) == len(set(cells))
    tried = (*CELLS, *CAMPAIGNS, *ELSEWHERE)
    assert {each.fault for each in tried} == set(FAULTS)
    assert {each.operation for each in tried} == set(OPERATIONS)


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
