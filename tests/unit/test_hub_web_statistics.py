"""The operator's page of programme statistics and its file: who gets them, and that others have none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from hub.app import create_app
from hub.statistics_reports import StatisticsReports
from models.campaign_file import CampaignFile
from models.statistics.privacy import ReportPrivacy
from models.statistics.report import MEASURES, make_report
from models.web.rights import Role
from tests.hub_merchants import MarketWorld
from tests.rights_walk import People
from tests.statistics_world import FEATURES, Programme, statistics_schema

PATH = "/operator/campaigns/s-2025/statistics"


@pytest.fixture(scope="module")
def people(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    world = MarketWorld(tmp_path_factory.mktemp("statistics"))
    yield People(create_app(world.hub))
    world.hub.close()


@pytest.fixture(scope="module")
def client(people: People) -> TestClient:
    return people.client(people.session(Role.OPERATOR), accept="text/html")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign whose counts were opened; how they are read is tests/integration/test_statistics_report.py's."""
    report = make_report(Programme(2_000, seed=103).table(np.random.default_rng(1), 6.0), FEATURES)
    monkeypatch.setattr(StatisticsReports, "report", lambda self, campaign: (report, ReportPrivacy(1.0, 1e-5, 1)))


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(("lang", "title"), [("zh", "2025 年扶持政策统计"), ("en", "Programme statistics 2025")])
def test_the_page_is_one_file_without_scripts(client: TestClient, lang: str, title: str) -> None:
    answer = client.get(PATH, params={"lang": lang}, follow_redirects=True)
    assert answer.status_code == 200
    assert title in answer.text
    assert answer.headers["Content-Language"] == lang
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.usefixtures("opened")
def test_the_file_is_a_download(client: TestClient) -> None:
    answer = client.get(f"{PATH}.csv", follow_redirects=True)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="digua-statistics-2025-')
    assert {line["figure"] for line in csv.DictReader(io.StringIO(answer.text))} == set(MEASURES)


def test_a_campaign_without_statistics_has_neither(client: TestClient) -> None:
    for path in (PATH, f"{PATH}.csv"):
        assert client.get(path).status_code == 404


@pytest.mark.usefixtures("opened")
def test_strangers_see_nothing(people: People) -> None:
    stranger = people.client(None, accept="text/html")
    for path in (PATH, f"{PATH}.csv"):
        assert stranger.get(path, follow_redirects=False).status_code in (303, 401, 403)


def test_what_was_counted_without_noise_or_has_not_succeeded_is_never_published(people: People) -> None:
    hub, schema = people.app.state.hub, statistics_schema()
    orders = {"exact": {"noise": "off"}, "failed": {}, "cells": {"statistics": {"year": 2025, "by_label": ["county"]}}}
    for name, changes in {**orders, "good": {}}.items():
        asked = {"statistics": {"year": 2025, "report": FEATURES.model_dump()}, **changes}
        whole = {"name": name, "schema": "programme.yaml", "stages": ["statistics"], "epsilon": 1, "holdout": 0}
        hub.campaigns.book.create(CampaignFile.model_validate(whole | asked), schema, f"s-{name}")
        hub.campaigns.book.end(f"s-{name}", "failed" if name == "failed" else "succeeded")
    everybody = people.client(None)
    listed = everybody.get("/v1/programme-statistics").json()["reports"]
    assert listed == [{"campaign_id": "s-good", "year": 2025}]
    for name in (*orders, "good", "none"):  # of the good one nothing was opened here
        refused = everybody.get(f"/v1/programme-statistics/s-{name}")
        assert (refused.status_code, refused.json()["code"]) == (404, "not-found"), name
