"""`digua-hub simulate`: files, report and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from hub.commands.simulate import simulate
from hub.errors import HubError
from models.artefact import ModelArtefact
from models.schema import unsettled
from models.schema_file import load_schema
from tests.federation import small_schema

app = typer.Typer()
app.command()(simulate)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A schema file and a joined table without identifiers."""
    rng = np.random.default_rng(5)
    rows = 900
    bad = rng.random(rows) < 0.25
    frame = pl.DataFrame(
        {
            "b1": np.where(bad & (rng.random(rows) < 0.6), -1.0, rng.normal(1, 1, rows)),
            "b2": rng.choice(["a", "b", "c", "d"], rows),
            "t1": rng.normal(0.5, 1, rows),
            "t2": np.where(bad & (rng.random(rows) < 0.4), 5.0, rng.normal(0, 1, rows)),
            "u1": rng.choice(["a", "b", "c"], rows),
            "bad": bad.astype(int),
        }
    )
    table = tmp_path / "joined.csv"
    frame.write_csv(table)
    schema = tmp_path / "schema.yaml"
    schema.write_text(json.dumps(small_schema().model_dump(mode="json", exclude_none=True), ensure_ascii=False))
    return schema, table


def run(*args: object) -> dict:
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(next(line for line in result.output.splitlines() if line.startswith("{")))


def test_bins_that_a_schema_leaves_to_quantiles_are_found_and_written(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    plain = small_schema().model_dump(mode="json", exclude_none=True)
    for feature in (feature for kind in plain["kinds"] for feature in kind["features"] if "bins" in feature):
        del feature["bins"]
        feature["quantiles"] = {"count": 4, "range": [-3.0, 6.0]}
    schema.write_text(json.dumps(plain, ensure_ascii=False))
    out = tmp_path / "out"
    report = run(
        "--schema", schema, "--table", table, "--epsilon", 1, "--noise", "off", "--nodes", "bank=4,tax=2,utility=2",
        "--stages", "scorecard,evaluation", "--absent", "tax=0.1", "--out", out, "--json",
    )  # fmt: skip
    assert report["stages"] == ["bins", "scorecard", "evaluation"]
    assert report["table_equals_joined"] is True
    assert 0.6 < report["auc"] < 1
    found = load_schema(out / "schema.json")
    assert not unsettled(found)
    assert found == ModelArtefact.from_bytes((out / "model.json").read_bytes()).schema_of()
    # given to the next simulation as it is, the bins cost nothing again
    again = run(
        "--schema", out / "schema.json", "--table", table, "--epsilon", 2, "--nodes", "bank=4,tax=2,utility=2", "--json"
    )
    assert again["stages"] == ["scorecard"]
    with pytest.raises(HubError, match="leaves bins to quantiles"):
        run("--schema", schema, "--table", table, "--epsilon", 1, "--stages", "encoder", "--json")


def test_without_noise_the_report_says_that_tables_are_equal(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    out = tmp_path / "out"
    report = run(
        "--schema", schema, "--table", table, "--epsilon", 1, "--noise", "off", "--nodes", "bank=4,tax=2,utility=2",
        "--absent", "tax=0.2", "--absent", "utility=0.3", "--out", out, "--json",
    )  # fmt: skip
    assert report["table_equals_joined"] is True
    assert report["epsilon"] is None
    assert 0.6 < report["auc"] < 1
    assert report["trips"] == 4
    assert len(report["bytes_per_node"]) == 9
    promised = "auc ks epsilon delta auc_nonprivate auc_lightgbm seconds bytes_per_node trips table_equals_joined"
    assert set(promised.split()) <= report.keys()
    sizes = [pl.read_csv(path).height for path in sorted((out / "nodes").glob("bank-*.csv"))]
    assert sum(sizes) == 900
    assert max(sizes) > 1.3 * min(sizes)
    ids = pl.concat([pl.read_csv(path)["id"] for path in (out / "nodes").glob("bank-*.csv")])
    assert ids.n_unique() == 900
    tax = sum(pl.read_csv(path).height for path in (out / "nodes").glob("tax-*.csv"))
    assert 650 < tax < 800
    artefact = ModelArtefact.from_bytes((out / "model.json").read_bytes())
    assert artefact.model_id == report["model_id"]
    assert "No privacy" in (out / "model_card.md").read_text()
    assert (out / "model_card.zh.md").read_text() != (out / "model_card.md").read_text()
    assert json.loads((out / "report.json").read_text()) == report


def test_with_noise_the_spent_budget_is_the_ledgers(files: tuple[Path, Path]) -> None:
    schema, table = files
    args = ["--schema", schema, "--table", table, "--epsilon", 2, "--merchants", 600, "--json"]
    first, second = run(*args, "--seed", 3), run(*args, "--seed", 3)
    assert 1.9 < first["epsilon"] <= 2.0
    assert first["merchants"] == 600
    assert first["nodes"] == {"bank": 3, "tax": 3, "utility": 3}
    # The seed fixes split and hold-out, never the noise.
    assert first["held_out"] == second["held_out"]
    assert first["auc_nonprivate"] == second["auc_nonprivate"]
    assert first["table_digest"] != second["table_digest"]


def test_a_folder_of_nodes_tables_gives_what_the_joined_table_gave(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    common = ["--schema", schema, "--epsilon", 1, "--noise", "off", "--json"]
    joined = run(
        *common, "--table", table, "--nodes", "bank=3,tax=2,utility=2", "--absent", "tax=0.3", "--out", tmp_path / "a"
    )
    tables = tmp_path / "a" / "nodes"
    pl.read_csv(tables / "tax-02.csv", infer_schema=False).write_parquet(tables / "tax-02.parquet")
    (tables / "tax-02.csv").unlink()
    (tables / "notes.txt").write_text("not a table")
    report = run(*common, "--table", tables, "--no-baselines", "--out", tmp_path / "b")
    assert report["table_equals_joined"] is True
    assert (report["nodes"], report["merchants"]) == ({"bank": 3, "tax": 2, "utility": 2}, 900)
    same = ("table_digest", "held_out", "auc")
    assert [report[name] for name in same] == [joined[name] for name in same]
    assert (report["auc_nonprivate"], report["auc_lightgbm"]) == (None, None)
    assert joined["auc_lightgbm"] is not None
    cards = [(tmp_path / folder / "model_card.md").read_text(encoding="utf-8") for folder in ("a", "b")]
    assert ["LightGBM" in card for card in cards] == [True, False]
    assert report["cpu_seconds"] > 0
    assert report["peak_mib"] > 50
    for further in (["--nodes", "bank=3,tax=2,utility=2"], ["--merchants", "50"], ["--absent", "tax=0.1"]):
        with pytest.raises(HubError):
            run(*common, "--table", tables, *further)
    (tables / "tax-02.csv").write_text("id,t1,t2\n")
    with pytest.raises(HubError, match="kind tax"):
        run(*common, "--table", tables)


def test_made_up_identifiers_are_said(files: tuple[Path, Path]) -> None:
    schema, table = files
    result = CliRunner().invoke(
        app,
        ["--schema", str(schema), "--table", str(table), "--epsilon", "1", "--noise", "off"],
        catch_exceptions=False,
    )
    assert "random identifiers were made up" in result.output
    assert "no privacy guarantee" in result.output


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--nodes", "bank=2"], "nodes"),
        (["--nodes", "bank=two,tax=1,utility=1"], "nodes"),
        (["--absent", "bank=0.2"], "absent"),
        (["--absent", "tax=1.5"], "absent"),
        (["--stages", "trees"], "stages"),
        (["--noise", "some"], "noise"),
        (["--merchants", "2"], "table"),
    ],
)
def test_options_that_do_not_fit_are_typed_errors(files: tuple[Path, Path], options: list[str], field: str) -> None:
    schema, table = files
    with pytest.raises(HubError) as caught:
        CliRunner().invoke(
            app, ["--schema", str(schema), "--table", str(table), "--epsilon", "1", *options], catch_exceptions=False
        )
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_table_without_the_schemas_columns_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    short = tmp_path / "short.csv"
    pl.read_csv(table).drop("t2").write_csv(short)
    with pytest.raises(HubError, match="t2"):
        CliRunner().invoke(
            app, ["--schema", str(schema), "--table", str(short), "--epsilon", "1"], catch_exceptions=False
        )


def test_a_cell_that_does_not_fit_is_named_as_the_node_names_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    spoiled = tmp_path / "spoiled.csv"
    frame = pl.read_csv(table, infer_schema=False)
    frame.with_columns(pl.Series("t2", ["many", *frame["t2"].to_list()[1:]])).write_csv(spoiled)
    with pytest.raises(HubError, match="t2"):
        CliRunner().invoke(
            app, ["--schema", str(schema), "--table", str(spoiled), "--epsilon", "1"], catch_exceptions=False
        )


@pytest.mark.parametrize("stages", ["encoder", "encoder,scorecard"])
def test_encoder_stages_are_simulated_too(files: tuple[Path, Path], stages: str) -> None:
    schema, table = files
    args = ["--schema", schema, "--table", table, "--epsilon", 3, "--nodes", "bank=2,tax=1,utility=1", "--json"]
    exact = run(*args, "--stages", stages, "--noise", "off")
    assert 0.6 < exact["auc"] < 1
    assert exact["table_equals_joined"] is (True if "scorecard" in stages else None)
    assert exact["stages"] == stages.split(",")
    assert list(exact["seconds"])[1:-2] == stages.split(",")
    noisy = run(*args, "--stages", stages, "--merchants", 600)
    assert 2.9 < noisy["epsilon"] <= 3.0
    assert noisy["encoder_model_id"].startswith("sha256:")
    assert (noisy["model_id"] == noisy["encoder_model_id"]) is (stages == "encoder")


@pytest.mark.parametrize("stages", ["scorecard,evaluation", "encoder,evaluation"])
def test_an_evaluation_stands_beside_the_exact_figure(files: tuple[Path, Path], stages: str, tmp_path: Path) -> None:
    schema, table = files
    args = ["--schema", schema, "--table", table, "--epsilon", 3, "--nodes", "bank=2,tax=1,utility=1", "--json"]
    off = ["--noise", "off", "--parity", "b2", "--out", tmp_path / "out"]
    exact = run(*args, "--stages", stages, "--holdout", 0.5, *off)
    low, high = exact["auc_private_interval"]
    assert low < exact["auc_counted"] < high
    assert exact["auc_private"] == pytest.approx(exact["auc_counted"], abs=0.03)
    assert exact["counted"] == exact["held_out"]
    noisy = run(*args, "--stages", stages, "--holdout", 0.5)
    assert 2.9 < noisy["epsilon"] <= 3.0
    low, high = noisy["auc_private_interval"]
    assert low <= noisy["auc_private"] <= high


def test_one_held_out_merchant_is_told_how_its_data_count(files: tuple[Path, Path], tmp_path: Path) -> None:
    schema, table = files
    plain = json.loads(schema.read_text(encoding="utf-8"))
    for kind in plain["kinds"]:
        for feature in kind["features"]:
            if "bins" in feature:
                feature["actionable"] = "either"
    schema.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")
    out = tmp_path / "out"
    arguments = ["--schema", schema, "--table", table, "--epsilon", 1, "--noise", "off", "--no-baselines", "--out", out]
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    chinese, english = ((out / name).read_text("utf-8") for name in ("explanation.zh.md", "explanation.md"))
    assert "以上仅说明模型如何计分" in chinese
    assert "it promises nothing" in english
    assert english.count("On record at") == 3
    for text in (chinese, english):
        for line in text.split("\n\n"):
            assert line.strip() in done.output
    report = (out / "report.json").read_text(encoding="utf-8")
    assert "promises" not in report  # figures alone: nothing of any one merchant
