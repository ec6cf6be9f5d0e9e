"""From nodes' tables to the report: the counts of a real exchange, the page and the file that are made of them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hub.campaign_plan import NoStore, ReleasedTable
from hub.cohort import Holding
from hub.errors import NotFoundError
from hub.grids.channel import Channel
from hub.simulation import Budget, Federation, NodeData
from hub.statistics_reports import statistics_table
from hub.statistics_stage import run_statistics_stage
from models.statistics.export import COLUMNS, report_csv
from models.statistics.page import statistics_page
from models.statistics.privacy import ReportPrivacy
from models.statistics.report import MEASURES, StatisticsReport, make_report
from nodes.training_context import TrainingData
from tests.noise_size import has_size
from tests.statistics_world import FEATURES, Programme

CHOICE = FEATURES.choice(2025)


@pytest.fixture(scope="module")
def programme() -> Programme:
    return Programme(1_500, seed=102)


def released_of(programme: Programme, state: Path, *, noise: bool) -> ReleasedTable:
    """One platform, two banks and one office count their own rows of it."""
    rng = np.random.default_rng(0)
    pseudonyms = np.frombuffer(rng.bytes(32 * programme.n), dtype=np.uint8).reshape(-1, 32)
    codes = programme.codes(np.random.default_rng(5))
    bank = np.where(programme.banked, np.arange(programme.n) % 2, -1).astype(np.int32)
    office = np.where(programme.at_office, 0, -1).astype(np.int32)
    everybody = np.zeros(programme.n, dtype=np.int32)
    holders = {"platform": (("platform-1",), everybody), "bank": (("bank-1", "bank-2"), bank)}
    holders["office"] = (("office-1",), office)
    tables = [
        NodeData(
            party,
            kind,
            TrainingData(
                pseudonyms[index == place],
                codes[kind][index == place],
                programme.support[index == place] if kind == "platform" else None,
            ),
        )
        for kind, (parties, index) in holders.items()
        for place, party in enumerate(parties)
    ]
    sources = {kind: Holding(parties, index) for kind, (parties, index) in holders.items()}
    federation = Federation(
        programme.schema, tables, sources, pseudonyms, state, budget=Budget(5.0, 1e-5, 4.0), insecure_noise_off=True
    )
    plan = federation.plan(
        epsilon=4.0, delta=1e-5, holdout_salt=bytes(16), holdout_fraction=0.0, noise_on=noise, stages=("statistics",)
    )
    channel = Channel(federation.grid, federation.node_ids, 60.0)
    return run_statistics_stage(channel, replace(plan, statistics=CHOICE), lambda _: None, NoStore())


@pytest.fixture(scope="module")
def noisy(programme: Programme, tmp_path_factory: pytest.TempPathFactory) -> ReleasedTable:
    return released_of(programme, tmp_path_factory.mktemp("noisy"), noise=True)


@pytest.fixture(scope="module")
def report(noisy: ReleasedTable) -> StatisticsReport:
    return make_report(statistics_table(noisy, CHOICE), FEATURES)


def test_without_noise_the_report_is_that_of_the_joined_rows(programme: Programme, tmp_path: Path) -> None:
    table = statistics_table(released_of(programme, tmp_path, noise=False), CHOICE)
    joined = programme.table(np.random.default_rng(5))
    assert np.array_equal(table.to_vector(), joined.to_vector())
    assert (table.members, table.cohort_size) == (joined.members, joined.cohort_size)
    assert make_report(table, FEATURES).everybody == make_report(joined, FEATURES).everybody


def test_sigma_is_that_of_all_shares(noisy: ReleasedTable, programme: Programme) -> None:
    table = statistics_table(noisy, CHOICE)
    error = table.to_vector() - programme.table(np.random.default_rng(5)).to_vector()
    assert has_size(error, table.sigma)


def test_counts_of_other_cells_are_no_report(noisy: ReleasedTable) -> None:
    with pytest.raises(NotFoundError, match="did not release"):
        statistics_table(noisy, FEATURES.model_copy(update={"subsidy": None}).choice(2025))


@pytest.mark.parametrize(
    ("lang", "words"), [("zh", ("扶持政策统计", "莲都区", "户均贷款额")), ("en", ("Average credit",))]
)
def test_the_page_tells_figures_intervals_and_what_they_cost(
    report: StatisticsReport, lang: str, words: tuple[str, ...]
) -> None:
    page = statistics_page(report, ReportPrivacy(4.0, 1e-5, 1), lang)
    for each in (*words, "ε = 4", f"{report.cohort_size:,}", "<svg"):
        assert each in page
    assert "<script" not in page
    found = report.everybody.figures["with_credit"]
    assert found is not None
    assert f"{found.low:,.0f} – {found.high:,.0f}" in page


def test_without_noise_the_page_warns(report: StatisticsReport) -> None:
    assert "synthetic data only" in statistics_page(report, ReportPrivacy(None, 1e-5, 1), "en")


def test_the_file_has_a_line_per_figure_and_the_same_numbers(report: StatisticsReport) -> None:
    lines = list(csv.DictReader(io.StringIO("".join(report_csv(report, "zh")))))
    assert tuple(lines[0]) == COLUMNS
    rows = 1 + 2 + sum(len(each) for each in report.groups.values())
    assert len(lines) == rows * len(MEASURES)
    for line in lines:
        if line["group"] == "county":
            found = report.groups["county"][int(line["row"])].figures[line["figure"]]
            assert (line["value"] == "") == (found is None)
            if found is not None:
                assert float(line["value"]) == pytest.approx(found.value, rel=1e-9)
