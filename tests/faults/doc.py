"""Writes the matrix into docs/faults.md: `python -m tests.faults.doc`; a unit test compares them."""

from __future__ import annotations

from pathlib import Path

from tests.faults.matrix import legend, table

DOC = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- from tests/faults/matrix.py -->", "<!-- end -->"


def written(text: str) -> str:
    """The document with the matrix as it is now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([f"{before}{BEGIN}", "", *table(), "", *legend(), "", f"{END}{after}"])


if __name__ == "__main__":
    DOC.write_text(written(DOC.read_text(encoding="utf-8")), encoding="utf-8")
