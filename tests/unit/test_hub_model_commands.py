"""`digua-hub model list|compare|rollback` against a hub: what persons read in both languages, and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from crypto.wire.link import ProblemBody
from hub.errors import PeerRefused
from tests.card_world import CardWorld
from tests.hub_cli import Run, command_line
from tests.hub_merchants import MarketWorld, small_artefact


@pytest.fixture(scope="module")
def evaluated() -> CardWorld:
    return CardWorld()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path)
    yield world
    world.hub.close()


@pytest.fixture
def run(world: MarketWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "260")
    return command_line(world, "model", monkeypatch, capsys)


@pytest.fixture
def versions(world: MarketWorld, evaluated: CardWorld) -> list[str]:
    """Two released versions, both evaluated."""
    found = [world.released_model(seed) for seed in (1, 2)]
    for seed, model_id in enumerate(found, start=3):
        changes = {"model_id": model_id, "attempt": f"c-1/evaluation/{seed}"}
        world.hub.evaluations.keep(evaluated.evaluation(seed=seed).model_copy(update=changes))
    return found


def test_list_shows_versions_states_and_both_costs(
    run: Run, world: MarketWorld, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("list", "--json")
    lines = {each["version"]: each for each in json.loads(out)}
    assert code == 0
    assert [(lines[at]["model_id"], lines[at]["current"]) for at in (1, 2)] == [
        (versions[0], False),
        (versions[1], True),
    ]
    assert lines[2]["evaluation_epsilon"] == 1.5
    assert lines[2]["auc"]["low"] < lines[2]["auc"]["value"] < lines[2]["auc"]["high"]
    waits = world.hub.models.register(small_artefact(3).to_bytes(), campaign_id="c-1", attempt=None)

    def pending(_body: bytes) -> bytes:
        raise PeerRefused(
            "witness-zj", ProblemBody(code="approval-pending", title="No", detail="not yet", remedy="wait")
        )

    world.peers.handlers["witness-zj", "release-model"] = pending
    code, _, err = run("release", waits, "--json")
    problem = json.loads(err)
    assert (code, problem["party"], problem["remedy"]) == (1, "witness-zj", "wait")
    assert "approval-pending" in problem["detail"]
    for language, words in (("en", "waiting for the regulator"), ("zh", "等待监管方批准")):
        monkeypatch.setenv("DIGUA_LANG", language)
        code, out, _ = run("list")
        assert code == 0
        assert words in out.replace("\n", " ")


def test_rollback_is_said_in_both_languages_and_can_be_taken_back(
    run: Run, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")
    code, out, _ = run("rollback", "c-1", "--to", "1", "--reason", "drift")
    assert code == 0
    assert "version 1 is the current one" in out
    assert versions[1] in out
    code, out, _ = run("rollback", "c-1", "--to", "1", "--reason", "drift")
    assert (code, "already" in out) == (0, True)
    monkeypatch.setenv("DIGUA_LANG", "zh")
    assert "已回退" in run("list")[1]
    code, out, _ = run("rollback", "c-1", "--to", "2", "--reason", "it was the data", "--json")
    done = json.loads(out)
    assert (done["model_id"], done["over"], done["version"]) == (versions[1], [], 2)
    code, _, err = run("rollback", "c-1", "--to", "7", "--reason", "x", "--json")
    assert (code, json.loads(err)["field"]) == (1, "version")


def test_comparison_has_intervals_verdicts_and_points(
    run: Run, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("compare", *versions, "--json")
    found = json.loads(out)
    assert code == 0
    assert [each["name"] for each in found["figures"]] == ["AUC", "KS", "calibration"]
    for figure in found["figures"]:
        for side in ("before", "after"):
            assert figure[side]["low"] <= figure[side]["value"] <= figure[side]["high"]
        assert figure["beyond_noise"] is False
    assert found["evaluation_epsilon"] == [1.5, 1.5]
    assert found["stability"]["beyond_noise"] is False
    assert {each["change"] for each in found["features"]} == {"points"}
    for language, words in (
        (
            "en",
            (
                "within noise",
                "Defaults observed for each one predicted",
                "other points",
                "Stability index of the scores",
                "Advice: Keep",
            ),
        ),
        ("zh", ("在噪声范围内", "实际违约数", "分值不同", "评分稳定性指数", "结论：建议保留旧模型")),
    ):
        monkeypatch.setenv("DIGUA_LANG", language)
        code, out, _ = run("compare", *versions)
        assert code == 0
        for word in words:
            assert word in out


def test_points_are_written_as_a_file_in_the_form_of_its_name(run: Run, versions: list[str], tmp_path: Path) -> None:
    sheet, text = tmp_path / "points.xlsx", tmp_path / "points.csv"
    code, _, _ = run("points", versions[1], "--out", str(sheet), "--lang", "zh")
    assert code == 0
    assert openpyxl.load_workbook(sheet).sheetnames == ["分值", "等级", "评分与违约概率", "隐私与局限"]
    code, out, _ = run("points", versions[1], "--out", str(text), "--lang", "en", "--json")
    assert (code, json.loads(out)["bytes"]) == (0, text.stat().st_size)
    assert text.read_text("utf-8-sig").startswith("Source,Feature,Bin,Points,")
    code, _, err = run("points", versions[0].replace("sha256:", "sha256:0")[:71], "--out", str(text), "--json")
    assert (code, json.loads(err)["code"]) == (1, "hub-refused")
