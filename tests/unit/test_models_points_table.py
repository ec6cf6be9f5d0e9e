"""The table of points as files: CSV that Excel opens, a workbook read back, nothing taken for a formula."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import openpyxl
import pytest

from models.card_content import CardFacts
from models.errors import ArtefactError
from models.evidence import evidence_of
from models.points_table import Heading, PointsTable, Sheet, file_name, harmless, points_csv, points_table
from models.points_workbook import points_workbook
from models.published_table import PublishedTable
from models.scorecard import BANDS
from tests.card_world import CardWorld


@pytest.fixture(scope="module")
def world() -> CardWorld:
    return CardWorld()


def cells(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def sheets(data: bytes) -> dict[str, list[tuple[object, ...]]]:
    book = openpyxl.load_workbook(io.BytesIO(data))
    return {page.title: list(page.iter_rows(values_only=True)) for page in book}


def test_every_bin_has_its_points_and_its_evidence(world: CardWorld) -> None:
    table = points_table(world.facts(), "en")
    rows = [row for row in table.points.rows if row[2] != ""]
    due = [
        (points, found.share, found.rate, found.woe_interval, known.information)
        for entry, known in zip(world.scorecard.features, evidence_of(world.table), strict=True)
        for points, found in zip(entry.points, known.bins, strict=True)
    ]
    assert len(rows) == len(due) == sum(entry.feature.width for entry in world.scorecard.features)
    for row, (points, share, rate, woe, information) in zip(rows, due, strict=True):
        assert row[3] == points
        assert row[4] == pytest.approx(share, abs=1e-6)
        assert (row[5] is None, row[8] is None, row[11] is None) == (rate is None, woe is None, information is None)
        if rate is not None:
            assert row[5:8] == pytest.approx((rate.value, rate.low, rate.high), abs=1e-6)
    first, *others = (row for row in table.points.rows if row[2] == "")
    assert first[3] == world.scorecard.base
    assert [row[3] for row in others] == [world.scorecard.absent[kind] for kind in world.scorecard.kinds]


def test_csv_opens_in_excel_as_it_stands(world: CardWorld) -> None:
    data = points_csv(points_table(world.facts(), "zh"))
    assert data.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in data
    head, *rows = cells(data)
    assert head[:4] == ["数据来源", "特征", "分箱", "分值"]
    assert {len(row) for row in rows} == {len(head)}
    for row in rows:
        int(row[3])
        for value in row[4:]:
            assert value == "" or -20 < float(value) < 20


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "＝1+1"])
def test_no_text_is_taken_for_a_formula(world: CardWorld, text: str) -> None:
    assert harmless(text) == f"'{text}"
    table = points_table(world.facts(), "en")
    evil = Sheet("Points", (Heading(text), Heading("n", "points")), ((text, -3),))
    changed = PointsTable(table.title, table.created, evil, table.bands, table.probabilities, table.privacy)
    head, row = cells(points_csv(changed))
    assert (head[0], row) == (f"'{text}", [f"'{text}", "-3"])
    page = openpyxl.load_workbook(io.BytesIO(points_workbook(changed)))["Points"]
    found = page["A2"]
    assert found.data_type == "s"
    # The format has its own way to write a carriage return.
    assert str(found.value).replace("_x000D_", "\r").strip() == text.strip()
    assert (page["B2"].value, page["B2"].data_type) == (-3, "n")


def test_ordinary_texts_stay_as_they_are() -> None:
    for text in ("≤ 25", "26–30", "missing", "−3", "A=B", ""):
        assert harmless(text) == text


@pytest.mark.parametrize(
    ("lang", "names"),
    [
        ("en", ["Points", "Bands", "Score and probability", "Privacy and limits"]),
        ("zh", ["分值", "等级", "评分与违约概率", "隐私与局限"]),
    ],
)
def test_the_workbook_holds_the_same_as_numbers(world: CardWorld, lang: str, names: list[str]) -> None:
    table = points_table(world.facts(), lang)
    data = points_workbook(table)
    assert data == points_workbook(table)
    found = sheets(data)
    assert list(found) == names
    for sheet, (name, rows) in zip(table.sheets, found.items(), strict=True):
        assert sheet.name == name
        assert rows[0] == tuple(heading.name for heading in sheet.headings)
        assert len(rows) == len(sheet.rows) + 1
        for written, read in zip(sheet.rows, rows[1:], strict=True):
            assert tuple(None if value == "" else value for value in read) == tuple(
                None if value == "" else value for value in written
            )
    bands = found[names[1]][1:]
    assert [row[0] for row in bands] == list(BANDS)
    assert sum(float(str(row[5])) for row in bands) == pytest.approx(1, abs=1e-4)
    privacy = dict(row[:2] for row in found[names[3]][1:])
    assert (privacy["ε"], privacy["δ"]) == (3, 1e-5)
    assert world.artefact.model_id in privacy.values()


def test_chinese_files_hold_no_english_headings(world: CardWorld) -> None:
    for sheet in points_table(world.facts(), "zh").sheets:
        for heading in sheet.headings:
            assert not any("a" <= char <= "z" for char in heading.name.replace("WoE", "")), heading.name
    for name, _ in points_table(world.facts(), "zh").privacy.rows:
        assert not any("a" <= char <= "z" for char in str(name)), name


def test_without_the_table_points_stand_alone_and_it_is_said(world: CardWorld) -> None:
    table = points_table(CardFacts(world.artefact), "en")
    assert all(value is None for row in table.points.rows for value in row[4:])
    assert all(row[5] is None for row in table.bands.rows)
    assert any("not known here" in str(value) for _, value in table.privacy.rows)


def test_a_model_without_noise_warns(world: CardWorld) -> None:
    bare = world.artefact.privacy.model_copy(
        update={"noise": "off", "epsilon": None, "delta": None, "epsilon_replace_one": None, "mu": None}
    )
    facts = replace(world.facts(), artefact=world.artefact.model_copy(update={"privacy": bare}))
    assert any("No privacy" in str(value) for _, value in points_table(facts, "en").privacy.rows)


def test_files_are_named_after_the_model(world: CardWorld) -> None:
    model_id = world.artefact.model_id
    assert file_name(model_id, "xlsx") == f"digua-points-{model_id[7:19]}.xlsx"


def test_the_published_table_is_that_of_the_model_or_refused(world: CardWorld) -> None:
    published = PublishedTable.of(world.table)
    again = PublishedTable.model_validate_json(published.model_dump_json()).opened(world.artefact)
    assert again.digest() == world.table.digest() == world.artefact.table_digest
    fine = replace(world.table, classes=(world.table.classes[0] + 0.25, *world.table.classes[1:]))
    of_fine = world.artefact.model_copy(update={"table_digest": fine.digest()})
    kept = PublishedTable.model_validate_json(PublishedTable.of(fine).model_dump_json()).opened(of_fine)
    assert np.array_equal(kept.classes[0], fine.classes[0])
    with pytest.raises(ArtefactError, match="not the one"):  # a quarter more is another table
        PublishedTable.of(fine).opened(world.artefact)
    cells = (published.cells[0] + 1, *published.cells[1:])
    for wrong in (published.model_copy(update={"cells": cells}), published.model_copy(update={"cohort_size": 4001})):
        with pytest.raises(ArtefactError, match="not the one"):
            wrong.opened(world.artefact)
