"""Published statistics at the platform: fetched once, kept as they are, shown to the office, given to its systems."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from hub.platform.callers import Caller, CallerKind
from hub.platform.lending_errors import GatewayAwayError
from hub.platform.statistics_errors import StatisticsUnknownError
from models.errors import DataError
from models.statistics.export import COLUMNS
from models.statistics.published import PublishedStatistics, read_published
from models.statistics.report import MEASURES, make_report
from models.web.rights import Role
from tests.platform_desks import Desks
from tests.statistics_world import FEATURES, Programme

API = "/v1/programme-statistics"
TABLE = Programme(2_000, seed=105).table(np.random.default_rng(2), 6.0)


def published(campaign_id: str = "s-2025", **changes: Any) -> PublishedStatistics:
    facts: dict[str, Any] = {
        "campaign_id": campaign_id,
        "attempt": f"{campaign_id}/statistics/1",
        "schema_document": TABLE.schema.canonical_json().decode(),
        "choice": TABLE.choice,
        "members": dict(TABLE.members),
        "cohort_size": TABLE.cohort_size,
        "sigma": TABLE.sigma,
        "epsilon": 0.9,
        "delta": 1e-6,
        "t_collude": 1,
        "counts": tuple(TABLE.to_vector().tolist()),
        "opened_at": "2026-02-01T08:00:00Z",
        "log_index": 417,
    }
    return PublishedStatistics.model_validate(facts | changes)


@pytest.fixture
def desks(tmp_path: Path) -> Iterator[Desks]:
    made = Desks(tmp_path)
    yield made
    made.close()


def core(desks: Desks, kind: CallerKind = "government", party: str = "office") -> TestClient:
    """A core system with a key of its own."""
    key = desks.platform.callers.make(Caller(kind, party), actor="operator:test")
    return TestClient(desks.app, headers={"Authorization": f"Bearer {key}", "Accept-Language": "zh"})


def test_a_report_is_the_same_after_it_was_written_and_read() -> None:
    its = published()
    again = read_published(its.model_dump_json())
    assert again == its
    assert again.report() == make_report(TABLE, FEATURES)
    assert (again.privacy.epsilon, again.privacy.delta, again.privacy.t_collude) == (0.9, 1e-6, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": (1.0, 2.0)},
        {"members": {"platform": 2_000}},
        {"sigma": 0.0},
        {"choice": {"year": 2025, "by_label": ["county"]}},
        {"schema_document": "{}"},
    ],
)
def test_what_makes_no_report_is_refused(changes: dict[str, Any]) -> None:
    document = published().model_dump(mode="json") | changes
    with pytest.raises(DataError) as refused:
        read_published(PublishedStatistics.model_construct(**document).model_dump_json(warnings=False))
    assert refused.value.field
    assert refused.value.remedy


def test_each_report_is_fetched_once_and_one_that_is_refused_is_asked_for_again(desks: Desks) -> None:
    book, gateway = desks.platform.statistics, desks.consents
    assert (book.take_new(), book.all()) == (0, [])
    gateway.published |= {"s-2024": None, "s-2025": published()}
    assert (book.take_new(), book.take_new()) == (1, 0)
    gateway.published["s-2024"] = published("s-2024", choice=FEATURES.choice(2024))
    assert book.take_new() == 1
    assert [each.published.campaign_id for each in book.all()] == ["s-2025", "s-2024"]  # by year
    written = [each.subject for each in desks.platform.audit.entries() if each.action == "statistics-take"]
    assert written == ["s-2025", "s-2024"]
    assert desks.platform.audit.verify()[0] >= 2
    with pytest.raises(StatisticsUnknownError):
        book.get("s-2023")


def test_a_gateway_that_is_away_is_said_and_changes_nothing(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_campaign_id: str) -> PublishedStatistics:
        raise GatewayAwayError("away", field="gateway", remedy="start it")

    desks.consents.published["s-2025"] = published()
    monkeypatch.setattr(desks.consents, "report", away)
    with pytest.raises(GatewayAwayError):
        desks.platform.statistics.take_new()
    assert desks.platform.statistics.all() == []


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("zh", ("政策成效", "户均贷款额", "已同意的商户数", "ε = 0.9", "基期年度")),
        ("en", ("The programme's effect", "Average credit", "Merchants who agreed", "ε = 0.9", "Baseline year")),
    ],
)
def test_the_office_sees_the_newest_report_and_what_it_cost(
    desks: Desks, language: str, texts: tuple[str, ...]
) -> None:
    desks.consents.published |= {
        "s-2024": published("s-2024", choice=FEATURES.choice(2024)),
        "s-2025": published(),
    }
    desks.platform.statistics.take_new()
    reader = desks.reader(Role.GOVERNMENT, language=language)
    page = reader.text("/office/statistics")
    for text in (*texts, "2,000", "s-2025", "417", 'href="/office/statistics/s-2024"'):
        assert text.replace("'", "&#39;") in page, text
    found = make_report(TABLE, FEATURES).everybody.figures["with_credit"]
    assert found is not None
    assert f"{found.value:,.0f}" in page
    assert f"{found.low:,.0f} – {found.high:,.0f}" in page
    whole = reader.get("/office/statistics/s-2025")
    assert "<svg" in whole.text
    assert "<script" not in whole.text
    assert "script-src" not in whole.headers["Content-Security-Policy"]
    file = reader.get("/office/statistics/s-2025/figures.csv")
    assert f"two-small-statistics-2025-{language}.csv" in file.headers["Content-Disposition"]
    lines = csv.DictReader(io.StringIO(file.text))
    assert {each["figure"] for each in lines} == set(MEASURES)
    assert tuple(lines.fieldnames or ()) == COLUMNS
    assert reader.get("/office/statistics/none").status_code == 404


def test_the_offices_systems_get_every_figure_and_banks_none(desks: Desks) -> None:
    desks.consents.published["s-2025"] = published()
    desks.platform.statistics.take_new()
    for kind in ("government", "operator", "regulator"):
        (line,) = core(desks, kind).get(API).json()["reports"]
        assert (line["campaign_id"], line["year"], line["baseline_year"]) == ("s-2025", 2025, 2022)
        assert (line["epsilon"], line["merchants"], line["log_index"]) == (0.9, 2_000, 417)
    office = core(desks)
    told = office.get(f"{API}/s-2025").json()
    report = make_report(TABLE, FEATURES)
    rows = 1 + 2 + sum(len(each) for each in report.groups.values())
    assert len(told["figures"]) == rows * len(MEASURES)
    first = next(each for each in told["figures"] if each["figure"] == "mean_rate")
    mean = report.everybody.figures["mean_rate"]
    assert mean is not None
    assert (first["value"], first["low"], first["high"]) == (mean.value, mean.low, mean.high)
    assert (first["row_name"], first["figure_name"], first["unit"]) == ("全部商户", "平均年利率", "rate")
    lines = list(csv.DictReader(io.StringIO(office.get(f"{API}/s-2025/figures.csv").text)))
    assert len(lines) == rows * len(MEASURES)
    unknown = office.get(f"{API}/none").json()
    assert (unknown["code"], unknown["title"]) == ("statistics-unknown", "没有该期公布统计")
    for kind in ("bank", "insurer"):
        for path in (API, f"{API}/s-2025", f"{API}/s-2025/figures.csv"):
            assert core(desks, kind, "bank-01").get(path).status_code == 403
