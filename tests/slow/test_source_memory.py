"""Reading a table in blocks takes no more memory for more rows, whatever the source."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pytest

from tests.databases import Server

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
sort, place, block_rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
if sort in ("sqlite", "postgresql"):
    source = SqlSource(make_url(place), "SELECT * FROM merchants")
else:
    source = CsvSource(Path(place)) if sort == "csv" else ParquetSource(Path(place))
rows = largest = 0
for block in source.read_blocks(["id", *(f"x{at}" for at in range(6))], block_rows):
    rows, largest = rows + block.height, max(largest, block.height)
status = Path("/proc/self/status").read_text()  # not ru_maxrss, which begins at the parent's
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
print(json.dumps([rows, largest, peak / 1024]))
"""


def _write(sort: str, path: Path, rows: int, server: Server) -> str:
    """A table of so many rows; returns its path or address."""
    rng = np.random.default_rng(1)
    columns = {f"x{at}": rng.random(rows) for at in range(6)}
    table = pl.DataFrame({"id": [f"M{number:09d}" for number in range(rows)], **columns})
    if sort == "csv":
        table.write_csv(path)
    elif sort == "parquet":
        table.write_parquet(path, row_group_size=65_536)
    elif sort == "sqlite":
        with sqlite3.connect(path) as connection:
            connection.execute(f"CREATE TABLE merchants ({', '.join(table.columns)})")
            for block in table.iter_slices(100_000):
                connection.executemany(f"INSERT INTO merchants VALUES ({', '.join('?' * table.width)})", block.rows())
        connection.close()
        return f"sqlite:///{path}"
    else:
        url = server.fresh()
        with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
            numbers = ", ".join(f"{name} double precision" for name in columns)
            connection.execute(f"CREATE TABLE merchants (id text, {numbers})".encode())
            with connection.cursor().copy("COPY merchants FROM STDIN (FORMAT csv)") as copy:
                copy.write(table.write_csv(include_header=False))
        return url
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["csv", "parquet", "sqlite", "postgresql"])
def test_memory_is_flat_in_rows(tmp_path: Path, sort: str, postgresql: Server) -> None:
    peaks: dict[int, float] = {}
    for rows in (FEW, MANY):
        place = _write(sort, tmp_path / f"{rows}", rows, postgresql)
        done = subprocess.run(
            [sys.executable, "-c", _READ, sort, place, str(BLOCK_ROWS)],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        read, largest, peaks[rows] = json.loads(done.stdout)
        assert (read, largest) == (rows, BLOCK_ROWS)
    print(f"{sort}: peak {peaks[FEW]:.0f} MiB of {FEW} rows, {peaks[MANY]:.0f} MiB of {MANY}")
    assert peaks[MANY] - peaks[FEW] < MOST_MIB
