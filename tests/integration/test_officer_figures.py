"""What a risk officer gets of models that a served hub trained with noise: tables, files, stability, comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import openpyxl
import pytest

from models.artefact import ModelArtefact, ScorecardEntry
from models.fit import FitOptions
from models.pooling import pooled
from models.published_table import PublishedTable
from models.scorecard_fit import train
from models.stability import stability_of
from models.tables import OpenedTable
from tests.assessments import assess
from tests.served_world import ServedWorld

PARTIES = ("witness", "bank-1", "bank-2", "bank-3", "tax-1", "tax-2", "utility-1", "utility-2")


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    made = ServedWorld(tmp_path_factory.mktemp("served"), budgets=dict.fromkeys(PARTIES, 100.0), merchants=1500)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def models(world: ServedWorld) -> tuple[str, str]:
    """Two released models, trained with noise; the second counts the first one's table."""
    found: list[str] = []
    for _ in range(2):
        state = world.ended(world.start(epsilon=8.0, earlier=list(found)))
        assert state["status"] == "succeeded", state["failure"]
        assess(world.hub, str(state["campaign_id"]))
        found.append(str(state["model_id"]))
        world.hub.models.release(found[-1], "release")
    return found[0], found[1]


def artefact_of(world: ServedWorld, model_id: str) -> ModelArtefact:
    return ModelArtefact.from_bytes(world.http.get(f"/v1/models/{model_id}").raise_for_status().content)


def table_of(world: ServedWorld, model_id: str) -> OpenedTable:
    answer = world.http.get(f"/v1/models/{model_id}/table").raise_for_status()
    return PublishedTable.model_validate_json(answer.content).opened(artefact_of(world, model_id))


def test_anyone_gets_the_table_and_fits_the_model_again(world: ServedWorld, models: tuple[str, str]) -> None:
    first, second = (table_of(world, each) for each in models)
    assert first.sigma_class > 0
    for model_id, table in zip(models, (first, pooled(second, [first])[0]), strict=True):
        artefact = artefact_of(world, model_id)
        assert ScorecardEntry.of(train(table, FitOptions(**artefact.fit_options))) == artefact.scorecard


def test_points_come_with_their_evidence(world: ServedWorld, models: tuple[str, str]) -> None:
    path = f"/v1/models/{models[0]}/points"
    rows = list(csv.reader(io.StringIO(world.http.get(path, params={"lang": "en"}).text.lstrip("\ufeff"))))
    shares = [float(row[4]) for row in rows[1:] if row[4]]
    features = artefact_of(world, models[0]).card().features
    assert len(shares) == sum(entry.feature.width for entry in features)
    assert sum(shares) == pytest.approx(len(features), abs=1e-4)
    book = openpyxl.load_workbook(io.BytesIO(world.http.get(path, params={"lang": "zh", "format": "xlsx"}).content))
    assert book["分值"].max_row == len(rows)


def test_stability_is_that_of_all_tables_that_were_counted(world: ServedWorld, models: tuple[str, str]) -> None:
    first, second = (table_of(world, each) for each in models)
    for model_id, table in zip(models, (first, pooled(second, [first])[0]), strict=True):
        answer = world.http.get(f"/v1/models/{model_id}/stability").raise_for_status().json()
        artefact = artefact_of(world, model_id)
        due = stability_of(table, artefact.card(), FitOptions(**artefact.fit_options))
        assert due is not None
        assert answer["correlation"] == pytest.approx(due.correlation)
        assert [each["spread"] for each in answer["features"]] == [pytest.approx(each.spread) for each in due.features]
        card = world.http.get(f"/v1/models/{model_id}/card", params={"lang": "zh", "format": "md"}).text
        for heading in ("## 稳定性", "## 无还款结果的商户（拒绝推断）"):
            assert heading in card


def test_a_comparison_has_moves_drift_and_advice(world: ServedWorld, models: tuple[str, str]) -> None:
    path = f"/v1/models/{models[0]}/comparison"
    found = world.http.get(path, params={"with": models[1], "lang": "en"}).raise_for_status().json()
    assert found["advice"]["verdict"] == "evaluate"
    assert sum(map(sum, found["migration"]["shares"])) == pytest.approx(1)
    # Two campaigns over the same merchants: nothing has moved.
    readings = {each["reading"] for each in found["drift"]}
    assert len(found["drift"]) == len(artefact_of(world, models[0]).card().features)
    assert readings <= {"stable", "unclear"}
    assert -1 <= found["points_correlation"] <= 1
