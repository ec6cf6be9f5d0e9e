"""Files of synthetic merchants: whole or not at all, the same in three formats, and marked as synthetic."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from crypto.identifiers import normalise
from hub import synthesis
from hub.campaign_errors import SynthesisError
from hub.cli import app
from hub.synthesis import MANIFEST, Placement, SynthesisOptions, joined_blocks, synthesise
from hub.synthetic_files import SUFFIXES, Format
from models.lishui.blocks import BLOCK_ROWS, KINDS, draw_block
from models.schema_file import load_schema

SCHEMA = load_schema(Path(__file__).parents[2] / "configs" / "lishui-merchants.yaml")
NODES = {"bank": 4, "tax": 3, "utility": 2}
MERCHANTS = 3_000


def made(out: Path, form: Format = "csv", merchants: int = MERCHANTS, **nodes: int) -> Path:
    synthesise(SynthesisOptions(merchants, 5, out, form, nodes), lambda _done, _total: None)
    return out


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        return pl.read_csv(path, schema_overrides={"origin": pl.String, "province": pl.String})
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    with create_engine(f"sqlite:///{path}").connect() as connection:
        return pl.read_database("SELECT * FROM merchants", connection, infer_schema_length=None)


@pytest.fixture(scope="module")
def joined() -> pl.DataFrame:
    return pl.concat(joined_blocks(5, MERCHANTS))


@pytest.mark.parametrize("form", sorted(SUFFIXES))
def test_a_joined_table_in_each_format(tmp_path: Path, joined: pl.DataFrame, form: Format) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "deep" / "out"
    synthesise(SynthesisOptions(MERCHANTS, 5, out, form), lambda *each: seen.append(each))
    assert seen == [(MERCHANTS, MERCHANTS)]
    assert {each.name for each in out.iterdir()} == {f"joined{SUFFIXES[form]}", MANIFEST}
    table = read(out / f"joined{SUFFIXES[form]}")
    assert table.columns == joined.columns
    assert table.sort("uscc").equals(joined.sort("uscc"), null_equal=True)
    assert [each.name for each in out.parent.iterdir()] == ["out"]


def test_blocks_follow_one_another(tmp_path: Path, joined: pl.DataFrame) -> None:
    table = read(made(tmp_path / "out", "parquet", BLOCK_ROWS + 10) / "joined.parquet")
    assert table.height == BLOCK_ROWS + 10
    assert table["uscc"].n_unique() == table.height
    assert table.head(MERCHANTS).equals(joined)
    assert table.tail(10).drop("uscc").equals(draw_block(5, 1).joined().head(10))


@pytest.mark.parametrize("form", ["csv", "sqlite"])
def test_tables_of_nodes_hold_every_record_once(tmp_path: Path, joined: pl.DataFrame, form: Format) -> None:
    out = made(tmp_path / "out", form, **NODES)
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    assert [each["party"] for each in manifest["tables"]][:5] == ["bank-01", "bank-02", "bank-03", "bank-04", "tax-01"]
    for kind in KINDS:
        tables = [read(out / each["file"]) for each in manifest["tables"] if each["kind"] == kind]
        assert len(tables) == NODES[kind]
        assert all(table.height for table in tables)
        assert all({"uscc", *SCHEMA.columns(kind)} <= set(table.columns) for table in tables)
        assert all(("default_24m" in table.columns) == (kind == "bank") for table in tables)
        together = pl.concat(tables, how="vertical_relaxed").sort("uscc")
        expected = joined.select(together.columns).sort("uscc")
        own = [name for name in together.columns if name != "uscc"]
        assert together.equals(expected.filter(~pl.all_horizontal(pl.col(own).is_null())))


def test_the_manifest_says_what_the_files_are(tmp_path: Path) -> None:
    out = made(tmp_path / "out", **NODES)
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["synthetic"] is True
    assert "SYNTHETIC" in manifest["notice"]["en"]
    assert "合成数据" in manifest["notice"]["zh"]
    assert (manifest["seed"], manifest["merchants"]) == (5, MERCHANTS)
    assert 0.04 < manifest["default_rate"] < 0.10
    for each in manifest["tables"]:
        content = (out / each["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"]
        assert (len(content), content.count(b"\n") - 1) == (each["bytes"], each["rows"])
    again = json.loads((made(tmp_path / "again", **NODES) / MANIFEST).read_text(encoding="utf-8"))
    assert again == manifest


def test_identifiers_are_valid_and_of_the_place_of_business(joined: pl.DataFrame) -> None:
    assert [normalise("uscc", code) for code in joined["uscc"]] == joined["uscc"].to_list()
    assert (joined["uscc"].str.slice(2, 6) == joined["province"]).all()


def test_where_a_merchant_is_does_not_depend_on_the_total() -> None:
    nodes = {"bank": 12, "tax": 6, "utility": 6}
    block = draw_block(5, 1)
    first, second = (Placement(5, nodes).holders(block) for _ in range(2))
    for kind in KINDS:
        assert (first[kind] == second[kind]).all()
        assert ((first[kind] >= 0) == block.records[kind].present).all()
        assert set(first[kind]) - {-1} == set(range(nodes[kind]))
    # a tax bureau is of a few provinces: knowing the province tells much about the node
    frame = pl.DataFrame({"place": block.merchants.province, "node": first["tax"]}).filter(pl.col("node") >= 0)
    largest = frame.group_by("place").agg(pl.col("node").value_counts(sort=True).first().struct.field("count"))
    assert largest["count"].sum() / frame.height > 0.5


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = made(tmp_path / "out")
    before = (out / "joined.csv").stat().st_mtime_ns
    with pytest.raises(SynthesisError, match="is there already"):
        made(out)
    assert (out / "joined.csv").stat().st_mtime_ns == before

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthesis, "_digest", full)
    with pytest.raises(SynthesisError, match="No space left") as caught:
        made(tmp_path / "new", **NODES)
    assert caught.value.field == "out"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("merchants", "seed", "nodes", "field"),
    [
        (0, 0, {}, "merchants"),
        (10**10, 0, {}, "merchants"),
        (10, -1, {}, "seed"),
        (1000, 0, {"bank": 2}, "nodes"),
        (1000, 0, {"bank": 2, "tax": 2, "water": 1}, "nodes"),
        (1000, 0, {"bank": 2, "tax": 0, "utility": 1}, "nodes"),
        (29, 0, {"bank": 3, "tax": 1, "utility": 1}, "merchants"),
    ],
)
def test_refusals(tmp_path: Path, merchants: int, seed: int, nodes: dict[str, int], field: str) -> None:
    with pytest.raises(SynthesisError) as caught:
        synthesise(SynthesisOptions(merchants, seed, tmp_path / "out", "csv", nodes), lambda *_: None)
    assert caught.value.field == field
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    runner = CliRunner()
    arguments = ["synthesize", "--merchants", "500", "--seed", "2", "--nodes", "bank=2,tax=1,utility=1"]
    done = runner.invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC" in done.output
    assert "bank-02.csv" in done.output
    done = runner.invoke(app, [*arguments, "--out", str(tmp_path / "more"), "--format", "parquet", "--json"])
    assert json.loads(done.stdout)["tables"][3]["file"] == "utility-01.parquet"
    for wrong, field in ((["--format", "xls"], "format"), (["--joined"], "nodes")):
        failed = runner.invoke(app, [*arguments, "--out", str(tmp_path / "no"), *wrong])
        assert isinstance(failed.exception, SynthesisError)
        assert failed.exception.field == field
