"""Reading a table in blocks takes no more memory for more rows, whatever the source."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

FEW, MANY = 200_000, 1_600_000
BLOCK_ROWS = 16_384
MOST_MIB = 40
"""What eight times the rows may add: pages that the allocator keeps, not rows (these are 100 bytes each, 130 MiB)."""

_READ = """
import json, sys
from pathlib import Path
from sqlalchemy import make_url
from nodes.sources.csv import CsvSource
from nodes.sources.parquet import ParquetSource
from nodes.sources.sql import SqlSource
sort, path, block_rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if sort == "sql":
    source = SqlSource(make_url(f"sqlite:///{path}"), "SELECT * FROM rows")
else:
    source = CsvSource(path) if sort == "csv" else ParquetSource(path)
rows = largest = 0
for block in source.read_blocks(["id", *(f"x{at}" for at in range(6))], block_rows):
    rows, largest = rows + block.height, max(largest, block.height)
status = Path("/proc/self/status").read_text()  # not ru_maxrss, which begins at the parent's
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
print(json.dumps([rows, largest, peak / 1024]))
"""


def _write(sort: str, path: Path, rows: int) -> None:
    rng = np.random.default_rng(1)
    columns = {f"x{at}": rng.random(rows) for at in range(6)}
    table = pl.DataFrame({"id": [f"M{number:09d}" for number in range(rows)], **columns})
    if sort == "csv":
        table.write_csv(path)
    elif sort == "parquet":
        table.write_parquet(path, row_group_size=65_536)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE rows ({', '.join(table.columns)})")
            for block in table.iter_slices(100_000):
                connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * table.width)})", block.rows())
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["csv", "parquet", "sql"])
def test_memory_is_flat_in_rows(tmp_path: Path, sort: str) -> None:
    peaks: dict[int, float] = {}
    for rows in (FEW, MANY):
        path = tmp_path / f"{rows}"
        _write(sort, path, rows)
        done = subprocess.run(
            [sys.executable, "-c", _READ, sort, str(path), str(BLOCK_ROWS)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        read, largest, peaks[rows] = json.loads(done.stdout)
        assert (read, largest) == (rows, BLOCK_ROWS)
    print(f"{sort}: peak {peaks[FEW]:.0f} MiB of {FEW} rows, {peaks[MANY]:.0f} MiB of {MANY}")
    assert peaks[MANY] - peaks[FEW] < MOST_MIB
