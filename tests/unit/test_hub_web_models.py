"""The operator's pages of one model and of two beside each other, in both languages, and the files they give."""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import openpyxl
import pytest
from fastapi.testclient import TestClient

from hub.app import create_app
from hub.web.operator_models import TONES, VERDICT_TONES
from models.advice import VERDICTS
from models.web.rights import Role
from tests.card_world import CardWorld
from tests.hub_merchants import MarketWorld
from tests.rights_walk import People


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketWorld]:
    world = MarketWorld(tmp_path_factory.mktemp("models"))
    yield world
    world.hub.close()


@pytest.fixture(scope="module")
def versions(world: MarketWorld) -> list[str]:
    """Two released versions, both evaluated."""
    found, evaluated = [world.released_model(seed) for seed in (1, 2)], CardWorld()
    for seed, model_id in enumerate(found, start=3):
        changes = {"model_id": model_id, "attempt": f"c-1/evaluation/{seed}"}
        world.hub.evaluations.keep(evaluated.evaluation(seed=seed).model_copy(update=changes))
    return found


@pytest.fixture(scope="module")
def client(world: MarketWorld) -> TestClient:
    """An operator's browser."""
    people = People(create_app(world.hub))
    return people.client(people.session(Role.OPERATOR), accept="text/html")


def page(client: TestClient, path: str, lang: str = "en") -> str:
    answer = client.get(path, params={"lang": lang, **dict(parse_qsl(urlsplit(path).query))}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_list_leads_to_each_model(client: TestClient, versions: list[str]) -> None:
    text = page(client, "/operator/models")
    for model_id in versions:
        assert f'href="/operator/models/{model_id}"' in text
        assert f'href="/operator/models/{model_id}/card"' in text


@pytest.mark.parametrize(("lang", "words"), [("en", ("version 2", "Model card")), ("zh", ("第 2 版", "模型卡"))])
def test_a_model_shows_where_it_stands_and_its_files(
    client: TestClient, versions: list[str], lang: str, words: tuple[str, ...]
) -> None:
    text = page(client, f"/operator/models/{versions[1]}", lang)
    for word in (*words, versions[0], "points?format=xlsx", "points?format=csv"):
        assert word in text


def test_the_table_of_points_is_given_as_a_file(client: TestClient, versions: list[str]) -> None:
    answer = client.get(f"/operator/models/{versions[0]}/points?lang=zh", follow_redirects=True)
    assert answer.headers["content-disposition"].endswith('.xlsx"')
    assert openpyxl.load_workbook(io.BytesIO(answer.content)).sheetnames[0] == "分值"
    answer = client.get(f"/operator/models/{versions[0]}/points?format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.content.startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ("Champion and challenger", "Keep the older model.", "within noise", "Points that changed most")),
        ("zh", ("冠军模型与挑战者模型", "建议保留旧模型", "在噪声范围内", "变化最大的分值", "无法估计等级迁移")),
    ],
)
def test_two_models_stand_beside_each_other_the_older_one_first(
    client: TestClient, versions: list[str], lang: str, words: tuple[str, ...]
) -> None:
    text = page(client, f"/operator/models/{versions[0]}/comparison?with={versions[1]}", lang)
    for word in words:
        assert word in text
    other = page(client, f"/operator/models/{versions[1]}/comparison?with={versions[0]}", lang)
    main = other[other.index("<h1>") :]
    assert main.index(versions[0]) < main.index(versions[1])


def test_what_is_not_there_is_refused(client: TestClient, versions: list[str]) -> None:
    unknown = "sha256:" + "0" * 64
    for path in (unknown, f"{unknown}/points", f"{versions[0]}/comparison?with={unknown}"):
        assert client.get(f"/operator/models/{path}").status_code == 404
    answer = client.get(f"/operator/models/{versions[0]}/comparison")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/operator/models/{versions[0]}")


def test_every_verdict_and_reading_has_its_tone() -> None:
    assert set(VERDICT_TONES) == set(VERDICTS)
    assert set(TONES) == {"stable", "unclear", "moved", "moved-much"}
