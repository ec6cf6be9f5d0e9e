"""The report on an owner's data: shares, ranges, labels, drift against the last accepted campaign, in two languages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from models.codes import ABSENT
from models.drift import MOVED, MOVED_MUCH, stability_index
from models.errors import DataError
from models.i18n import catalogue
from models.schema import Schema
from models.schema_file import load_schema
from nodes.cli import app
from nodes.frozen_counts import BinCounts, FrozenCounts
from nodes.own_files import STORE_FILE
from nodes.quality import OUTCOMES, WARNINGS, assess
from nodes.sources.csv import CsvSource
from nodes.sources.table import NodeTable
from nodes.store import Store

SCHEMA = """\
name: quality
id: {column: id, type: opaque}
as_of: 2025-06-30
label: {column: bad, kind: bank, performance_months: 12, title: {zh: 违约, en: Default}}
kinds:
  bank:
    features:
      age: {title: {zh: 年龄, en: Age}, class: C2, bins: [30, 60], range: [18, 100], whole: true}
      late: {title: {zh: 逾期, en: Late}, class: C2, bins: [0, 1, 95], special_from: 95, range: [0, 95]}
      trade: {title: {zh: 行业, en: Trade}, class: C1, categories: [shop, inn]}
      both: {title: {zh: 年龄与行业, en: Age and trade}, class: C2, product: [age, trade]}
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200", "DIGUA_LANG": ""})


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node with forty merchants: two too old, four whose late payments are a code, ten without a trade."""
    (tmp_path / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    rows = 40
    pl.DataFrame(
        {
            "id": [f"m{at}" for at in range(rows)],
            "age": [200, 17, *[40] * 18, *[70] * 20],
            "late": [*[98] * 4, *[0] * 36],
            "trade": [*[None] * 10, *["shop"] * 20, *["mill"] * 10],
            "bad": [*[1] * 12, *[0] * 20, *[None] * 8],
        }
    ).write_csv(tmp_path / "table.csv")
    dataset = f"{tmp_path / 'schema.yaml'}={tmp_path / 'table.csv'}"
    party = ("--party-id", "bank-01", "--kind", "bank", "--region", "上海", "--hub-url", "http://127.0.0.1:1")
    assert call("init", "--dir", tmp_path / "n", *party, "--dataset", dataset).exit_code == 0
    return tmp_path / "n" / "node.yaml"


def report(*arguments: object) -> dict[str, object]:
    done = call("check-data", *arguments, "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["datasets"]
    return found


def test_shares_ranges_and_labels(node: Path) -> None:
    found = report("--config", node)
    age, late, trade, both = found["features"]
    assert (age["missing_share"], age["out_of_range"]) == (0.0, 2)
    # codes are no amounts, so the range does not speak of them
    assert (late["special_share"], late["out_of_range"]) == (0.1, 0)
    assert (trade["missing_share"], trade["other_share"], trade["out_of_range"]) == (0.25, 0.25, None)
    assert both["missing_share"] == 0.25
    assert age["counts"] == [
        {"bin": "≤ 30", "rows": 1},
        {"bin": "31–60", "rows": 18},
        {"bin": "> 60", "rows": 21},
        {"bin": "missing", "rows": 0},
    ]
    assert found["labels"] == {"defaulted": 12, "performing": 20, "no label": 8}
    assert found["default_rate"] == 0.375
    assert found["compared_with"] is None
    assert [(each["code"], each["params"]["feature"]) for each in found["warnings"]] == [
        ("out-of-range", "age"),
        ("many-others", "trade"),
    ]


def test_constant_columns_missing_values_and_few_defaults(node: Path) -> None:
    table = node.parents[1] / "table.csv"
    pl.read_csv(table).with_columns(late=pl.lit(0), trade=pl.lit(None), bad=pl.lit(0)).write_csv(table)
    codes = [each["code"] for each in report("--config", node)["warnings"]]
    # a product without a value at either side has none
    assert codes == [
        "out-of-range", "constant", "constant", "mostly-missing", "constant", "mostly-missing", "few-of-a-class"
    ]  # fmt: skip


def frozen(node: Path, ages: list[int]) -> None:
    """Keep counts as an accepted campaign does: these ages, all else as it is."""
    schema = _schema(node)
    table = NodeTable.load(CsvSource(node.parents[1] / "table.csv"), schema, "bank")
    codes = table.codes.copy()
    codes[:, 0] = ages
    codes = np.vstack([codes, np.full((5, codes.shape[1]), ABSENT, dtype=np.uint8)])
    counts = BinCounts(schema.widths("bank"))
    counts.add(codes[:13])
    counts.add(codes[13:])
    store = Store.open(node.parent / "data" / STORE_FILE)
    FrozenCounts(store).keep(schema.hash(), "c-1", datetime(2025, 7, 1, 8, tzinfo=UTC), counts)
    store.close()


def _schema(node: Path) -> Schema:
    return load_schema(node.parents[1] / "schema.yaml")


@pytest.mark.parametrize(
    ("ages", "code"),
    [
        ([0, *[1] * 18, *[2] * 21], None),
        ([0, *[1] * 26, *[2] * 13], "moved"),
        ([*[0] * 20, *[1] * 19, 2], "moved-much"),
    ],
)
def test_drift_against_the_last_accepted_campaign(node: Path, ages: list[int], code: str | None) -> None:
    frozen(node, ages)
    found = report("--config", node)
    assert found["compared_with"] == {"campaign_id": "c-1", "accepted_at": "2025-07-01T08:00:00+00:00"}
    before = [ages.count(bin) for bin in range(4)]
    assert found["features"][0]["stability_index"] == round(stability_index(before, [1, 18, 21, 0]), 4)
    assert [each["stability_index"] for each in found["features"][1:3]] == [0.0, 0.0]
    moved = [each["code"] for each in found["warnings"] if each["params"]["feature"] == "age"]
    assert moved == ["out-of-range", *([code] if code else [])]


def test_counts_of_another_campaign_take_the_place_of_the_last(tmp_path: Path) -> None:
    store = Store.open(tmp_path / STORE_FILE)
    kept = FrozenCounts(store)
    for number, code in (("1", 0), ("2", 1)):
        counts = BinCounts((2,))
        counts.add(np.array([[code], [ABSENT]], dtype=np.uint8))
        kept.keep("ab" * 32, f"c-{number}", datetime(2025, 7, 1, tzinfo=UTC), counts)
    last = kept.last("ab" * 32)
    assert last is not None
    assert (last.campaign_id, last.counts) == ("c-2", ((0, 1),))
    assert kept.last("cd" * 32) is None
    assert [(each.campaign_id, each.rows) for each in kept.campaigns()] == [("c-1", 1), ("c-2", 1)]
    store.close()


def test_the_stability_index() -> None:
    assert stability_index([1000, 2000, 0], [10_000, 20_000, 0]) == pytest.approx(0, abs=0.001)
    # by hand: shares 2/3, 1/3 before and 1/3, 2/3 after: 2 · (1/3) · ln 2
    assert stability_index([20_000, 10_000], [10_000, 20_000]) == pytest.approx(2 / 3 * np.log(2), rel=1e-3)
    assert MOVED < stability_index([60, 40], [40, 60]) < MOVED_MUCH
    assert np.isfinite(stability_index([0, 10], [10, 0]))
    with pytest.raises(DataError):
        stability_index([1, 2], [1, 2, 3])


def test_both_languages_and_bins(node: Path) -> None:
    frozen(node, [*[0] * 20, *[1] * 19, 2])
    chinese = call("check-data", "--config", node, "--lang", "zh", "--bins")
    assert chinese.exit_code == 0, chinese.output
    for text in (
        "超出范围",
        "漂移",
        "年龄与行业",
        "缺失",
        "2025-07-01 08:00 UTC 为训练活动 c-1 冻结",
        "! age：自训练活动 c-1 以来，数据分布漂移很大",
    ):
        assert text in chinese.stdout
    english = call("check-data", "--config", node, "--lang", "en")
    assert "! age: 2 values lie outside the range that the schema expects" in english.stdout
    assert "缺失" not in english.stdout
    for text in (*WARNINGS.values(), *OUTCOMES):
        assert catalogue("nodes").has("zh", text), text


def test_the_report_is_written_for_its_owner_alone(node: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert call("check-data", "--config", node, "--out", out).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    (written,) = json.loads(out.read_text(encoding="utf-8"))["datasets"]
    assert written["rows"] == 40
    for identifier in ("m1", "M1"):
        assert f'"{identifier}"' not in out.read_text(encoding="utf-8")


def test_one_schema_of_several(node: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(SCHEMA.replace("name: quality", "name: second"), encoding="utf-8")
    node.write_text(
        node.read_text(encoding="utf-8").replace("datasets:", f"datasets:\n  - {{schema: {other}, csv: absent.csv}}"),
        encoding="utf-8",
    )
    assert report("--config", node, "--schema", "quality")["schema"] == "quality"
    assert report("--config", node, "--schema", tmp_path / "schema.yaml")["schema"] == "quality"
    assert call("check-data", "--config", node).exit_code == 1
    assert call("check-data", "--config", node, "--schema", "third").exit_code == 1


def test_a_table_that_cannot_take_part_exits_1_and_names_duplicates(node: Path) -> None:
    table = node.parents[1] / "table.csv"
    rows = pl.read_csv(table)
    pl.concat([rows, rows.head(2)]).write_csv(table)
    done = call("check-data", "--config", node, "--json")
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)["datasets"]
    assert "2 problems" in found["problem"]["what"]
    assert "row 42, column id: identifier ** is already in row 2" in found["problem"]["what"]


def test_what_is_wrong_with_a_table_is_said_in_both_languages(node: Path) -> None:
    table = node.parents[1] / "table.csv"
    cells = pl.read_csv(table, infer_schema=False)
    rows = pl.concat(
        [cells.with_columns(age=pl.when(pl.col("id") == "m3").then(pl.lit("old")).otherwise("age")), cells[0]]
    )
    rows.write_csv(table)
    chinese = call("check-data", "--config", node, "--lang", "zh", "--json")
    assert chinese.exit_code == 1
    (problem,) = [each["problem"] for each in json.loads(chinese.stdout)["datasets"]]
    first, *lines = problem["what"].splitlines()
    assert first.endswith("table.csv：2 处问题")
    assert lines == ["第 5 行，age 列：是文本，不是数值", "第 42 行，id 列：标识 ** 已在第 2 行出现"]
    assert problem["remedy"] == "请更正这些单元格；值未知处请留空"
    english = call("check-data", "--config", node, "--lang", "en", "--json")
    (problem,) = [each["problem"] for each in json.loads(english.stdout)["datasets"]]
    assert "row 5, column age: is text, not a number" in problem["what"]
    table.unlink()
    absent = call("check-data", "--config", node, "--lang", "zh")
    assert absent.exit_code == 1
    assert "无法读取" in absent.stderr


def test_shares_of_a_table_are_over_its_rows(node: Path) -> None:
    schema = _schema(node)
    table = NodeTable.load(CsvSource(node.parents[1] / "table.csv"), schema, "bank")
    quality = assess(table, schema, "bank", None)
    for feature in quality.features:
        assert sum(feature.counts) == quality.rows == 40
