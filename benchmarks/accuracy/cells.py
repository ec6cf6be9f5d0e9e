"""Results of single fits, one JSON line each, so that a run that was cut off goes on where it was."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

Key = tuple[str, str, float | None, int, int | None]


class Cell(BaseModel):
    """One fit and what it gave on held-out rows.

    Attributes:
        dataset, method: names in `sets.SETS` and `methods.METHODS`.
        epsilon, noise: None where nothing is private.
        split: seed of the split.
        code: digest of the method's code, its setting and its libraries.
        rows: digest of the very rows. With other code or rows it is another cell.
        setting: what was tuned, if anything was.
        figures: from `measures.measured`.
        seconds: processor time of the fit and the prediction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    method: str
    epsilon: float | None = None
    split: int
    noise: int | None = None
    code: str
    rows: str
    setting: dict[str, float | bool] | None = None
    figures: dict[str, float]
    seconds: float

    @property
    def key(self) -> Key:
        """Which fit it is, whatever code and setting made it."""
        return (self.dataset, self.method, self.epsilon, self.split, self.noise)


class CellStore:
    """A folder with one file of cells per data set; later lines win."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cells: dict[tuple[Key, str, str], Cell] = {}
        for file in sorted(folder.glob("*.jsonl")):
            for cell in _read(file):
                self._keep(cell)

    def find(self, key: Key, code: str, rows: str) -> Cell | None:
        """The cell of this very code, setting and data."""
        return self._cells.get((key, code, rows))

    def add(self, cell: Cell) -> None:
        """Keep a cell, on disk first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder), (self.folder / f"{cell.dataset}.jsonl").open("a", encoding="utf-8") as file:
            file.write(cell.model_dump_json(exclude_none=True) + "\n")
        self._keep(cell)

    def newest(self) -> list[Cell]:
        """The last cell of every key."""
        return list({cell.key: cell for cell in self._cells.values()}.values())

    def prune(self) -> int:
        """Leave the last cell of every key alone in the files, others' cells of now too; returns how many went."""
        if not self.folder.exists():
            return 0
        with _alone(self.folder):
            now = CellStore(self.folder)
            kept = now.newest()
            for file in self.folder.glob("*.jsonl"):
                lines = [cell.model_dump_json(exclude_none=True) for cell in kept if cell.dataset == file.stem]
                fresh = file.with_suffix(".partial")
                fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                fresh.replace(file)
        dropped = len(now._cells) - len(kept)
        self._cells = {(cell.key, cell.code, cell.rows): cell for cell in kept}
        return dropped

    def _keep(self, cell: Cell) -> None:
        # taken out first, so that the last one written comes last
        self._cells.pop((cell.key, cell.code, cell.rows), None)
        self._cells[(cell.key, cell.code, cell.rows)] = cell


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other run writes meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(file: Path) -> list[Cell]:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    cells: list[Cell] = []
    for number, line in enumerate(lines, 1):
        try:
            cells.append(Cell.model_validate_json(line))
        except ValidationError as problem:
            # A run that was killed while it wrote leaves part of a line, without its end.
            if number == len(lines) and not text.endswith("\n"):
                file.write_text("".join(f"{each}\n" for each in lines[:-1]), encoding="utf-8")
                break
            raise SystemExit(f"{file}, line {number}, is not a cell: delete the line, and run again") from problem
    return cells
