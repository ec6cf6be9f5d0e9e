"""The owner's table: CSV reading, row numbers, and refusals that name everything wrong at once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from models.errors import SchemaError
from models.schema import Schema
from nodes.errors import SourceError
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable

TITLE = {"zh": "甲", "en": "A"}
HEADER = "id,age,trade,bad\n"


def schema(id_type: str = "opaque") -> Schema:
    bank = {
        "age": {"title": TITLE, "class": "C2", "bins": [25, 30]},
        "trade": {"title": TITLE, "class": "C1", "categories": ["shop", "inn"]},
    }
    return Schema.model_validate(
        {
            "name": "demo",
            "id": {"column": "id", "type": id_type},
            "as_of": "2025-06-30",
            "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
            "kinds": {
                "bank": {"features": bank},
                "tax": {"features": {"turnover": {"title": TITLE, "class": "C2", "bins": [0]}}},
            },
        }
    )


def csv(folder: Path, text: str | bytes, **options: object) -> CsvSource:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return CsvSource(path, **options)  # type: ignore[arg-type]


def refusal(source: CsvSource, kind: str = "bank", id_type: str = "opaque") -> SourceError:
    with pytest.raises(SourceError) as caught:
        NodeTable.load(source, schema(id_type), kind)
    return caught.value


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_loads_a_table(tmp_path: Path, start: str, block_rows: int) -> None:
    text = start + HEADER + 'm1,25,inn,0\r\n"m2",,"bar\nfoo",\nm3,31,,1\n\n'
    table = NodeTable.load(csv(tmp_path, text), schema(), "bank", block_rows=block_rows)
    assert table.ids == ["M1", "M2", "M3"]
    assert table.codes.tolist() == [[0, 1], [3, 2], [2, 3]]
    assert table.outcome is not None
    assert table.outcome.tolist() == [1, 2, 0]


def test_other_kinds_have_no_outcome(tmp_path: Path) -> None:
    table = NodeTable.load(csv(tmp_path, "turnover,x,id\n1,?,b\n,?,a\n"), schema(), "tax")
    assert table.ids == ["B", "A"]
    assert table.codes.tolist() == [[1], [2]]
    assert table.outcome is None


def test_problems_are_named_together_by_row(tmp_path: Path) -> None:
    text = HEADER + "merchant-0001,old,inn,0\n,25,inn,0\n\nm3,inf,shop,2\nmerchant-0001,25,inn,1\n"
    error = refusal(csv(tmp_path, text))
    lines = str(error).splitlines()
    assert lines[0].endswith("table.csv: 5 problems")
    assert lines[1:] == [
        "row 2, column age: is text, not a number",
        "row 3, column id: has no identifier",
        "row 5, column age: is infinite",
        "row 5, column bad: is neither 1 nor 0",
        "row 6, column id: identifier ME*********01 is already in row 2",
    ]
    assert error.field == "age"
    assert error.remedy
    assert "MERCHANT-0001" not in str(error).upper()


def test_duplicates_are_found_after_normalisation_and_across_blocks(tmp_path: Path) -> None:
    source = csv(tmp_path, HEADER + "ab,1,,\nx,1,,\nＡＢ,1,,\n")
    with pytest.raises(SourceError, match=r"row 4, column id: .* already in row 2"):
        NodeTable.load(source, schema(), "bank", block_rows=1)


def test_twenty_problems_at_most(tmp_path: Path) -> None:
    rows = "".join(f"m{i},x,y,z\n" for i in range(3000))
    lines = str(refusal(csv(tmp_path, HEADER + rows))).splitlines()
    assert len(lines) == 22
    assert lines[0].endswith("6000 problems")
    assert lines[1].startswith("row 2, column age")
    assert lines[20].startswith("row 11, column bad")
    assert lines[21] == "and 5980 more"


def test_identifiers_are_checked_and_masked(tmp_path: Path) -> None:
    good, bad = "91350100M000100Y43", "91350100M000100Y44"
    error = refusal(csv(tmp_path, HEADER + f"{good},1,,\n{bad},1,,\n"), id_type="uscc")
    assert "row 3, column id" in str(error)
    assert "row 2" not in str(error)
    assert bad not in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,age,bad\na,1,0\n", "missing columns: trade"),
        ("", "the file is empty"),
        (HEADER, "no rows"),
        (HEADER + "\n\n", "no rows"),
        ("id,age,age,trade,bad\n", "row 1: the column 'age' occurs twice"),
        (HEADER + "a,1,inn,0\nb,1\n", "row 3 has 2 cells, the header has 4"),
        (HEADER + "a,1,inn,0,9\n", "row 2 has 5 cells, the header has 4"),
        (HEADER + 'a,1,"inn,0\n', "badly quoted"),
        (HEADER + 'a,1,"in"n,0\n', "badly quoted"),
        (HEADER.encode() + "a,1,店,0\n".encode("gb18030"), "not UTF-8 text"),
    ],
)
def test_unreadable_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    error = refusal(csv(tmp_path, text))
    assert message in str(error)
    assert error.field
    assert error.remedy


def test_absent_files_and_columns(tmp_path: Path) -> None:
    assert "cannot be read" in str(refusal(CsvSource(tmp_path / "none.csv")))
    source = csv(tmp_path, HEADER + "a,1,inn,0\n")
    with pytest.raises(SourceError, match="missing columns: size"):
        list(source.read_blocks(["id", "size"]))
    with pytest.raises(SchemaError):
        NodeTable.load(source, schema(), "utility")


def test_separator_and_null_values(tmp_path: Path) -> None:
    source = csv(tmp_path, "id;age;trade;bad\na;NA;inn;NA\n", separator=";", null_values=("NA",))
    table = NodeTable.load(source, schema(), "bank")
    assert table.codes.tolist() == [[3, 1]]
    assert table.outcome is not None
    assert table.outcome.tolist() == [2]


def test_blocks_keep_order_and_size(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": [str(i) for i in range(10_000)], "age": range(10_000)})
    frame.write_csv(tmp_path / "table.csv")
    blocks = list(CsvSource(tmp_path / "table.csv").read_blocks(["age"], 999))
    assert max(block.height for block in blocks) <= 999
    assert pl.concat(blocks)["age"].to_list() == [str(i) for i in range(10_000)]


def test_records_of_several_lines_and_blank_ones_meet_the_ends_of_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.sources.csv._SEGMENT_ROWS", 2)
    text = HEADER + '\n\nm1,25,"in\nn",0\r\n"m2",26,"a ""b""\n\nc",1\n\n"m3",31,shop,1\n\n\nm4,1,inn,'
    source = csv(tmp_path, text)
    blocks = list(source.read_blocks(["id", "trade"], 10))
    assert [block.height for block in blocks] == [2, 2, 2, 2, 1]
    cells = pl.concat(blocks)["id"].to_list()
    assert cells == [None, None, "m1", "m2", None, "m3", None, None, "m4"]
    assert pl.concat(blocks)["trade"].to_list()[2:4] == ["in\nn", 'a "b"\n\nc']
    with pytest.raises(SourceError, match=r"row 10, column id: identifier .* is already in row 4"):
        NodeTable.load(csv(tmp_path, text.replace("m4", "m1")), schema(), "bank")


def test_a_file_that_is_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = csv(tmp_path, HEADER + "a,1,inn,0\nb,2,inn,0\n")
    source.columns()
    csv(tmp_path, HEADER + "a,1,inn,0\n")
    with pytest.raises(SourceError, match="changed while it was read"):
        list(source.read_blocks(["id"]))
