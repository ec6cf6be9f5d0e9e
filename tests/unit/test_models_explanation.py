"""What a merchant is told: where its values lie, what would have lifted the band; in both languages, no promise."""

from __future__ import annotations

import ast
import string
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from models.adverse import last_usable
from models.codes import ABSENT, Codes
from models.errors import DataError
from models.explanation import Explanation, explain, least_score, lines_of
from models.i18n import catalogue
from models.reasons import reasons_of
from models.scorecard import BANDS, Calibration, band_of
from tests.unit.test_models_counterfactual import card_of, feature, schema_of

SCHEMA = schema_of(
    bank={
        "debt": feature(2, title={"zh": "负债", "en": "Debt"}, actionable="down", whole=True),
        "age": feature(2, title={"zh": "年龄", "en": "Age"}, whole=True),
        "overdue": feature(
            1, title={"zh": "逾期", "en": "Overdue"}, whole=True, adverse=True, ended_at="overdue_ended"
        ),
    },
    tax={"late": feature(2, title={"zh": "迟报", "en": "Filed late"}, actionable="down", whole=True)},
)
POINTS = {"debt": [30, 10, 0, 5], "age": [0, 20, 20, 0], "overdue": [0, -25, 0], "late": [12, 6, 0, 0]}
CARD = card_of(SCHEMA, POINTS)
OWN = {"bank": [2, 0, 1], "tax": [1]}


def card_at(score: int, band: str):
    """The card under a calibration by which this score is the least of a band."""
    edge = {"A": 0.02, "B": 0.05, "C": 0.10, "D": 0.20}[band]
    slope = -0.02
    intercept = float(np.log(edge / (1 - edge))) - slope * (score - 0.5)
    return card_of(SCHEMA, POINTS, calibration=Calibration(intercept, slope))


def test_the_least_score_of_a_band_is_its_first() -> None:
    card = card_at(600, "B")
    for band in BANDS[:-1]:
        least = least_score(card, band)
        assert least is not None
        at, below = (str(band_of(card.pd_of(score))) for score in (least, least - 1))
        assert BANDS.index(at) <= BANDS.index(band) < BANDS.index(below)
    assert least_score(card_of(SCHEMA, POINTS, calibration=Calibration(9.0, -1e-6)), "A") is None


def test_values_come_by_source_with_those_that_cost_most_in_front() -> None:
    found = explain(SCHEMA, CARD, OWN)
    assert [(each.kind, each.feature, each.bin, each.lost) for each in found.standings] == [
        ("bank", "debt", 2, 30),
        ("bank", "overdue", 1, 25),
        ("bank", "age", 0, 20),
        ("tax", "late", 1, 6),
    ]
    assert found.whole
    assert found.goal is not None
    assert found.goal.score == int(CARD.score({kind: np.array([row]) for kind, row in OWN.items()})[0])


def test_the_changes_lift_the_score_over_the_edge_of_the_next_band() -> None:
    score = explain(SCHEMA, CARD, OWN).goal.score  # type: ignore[union-attr]
    card = card_at(score + 11, "B")
    found = explain(SCHEMA, card, OWN)
    assert found.goal is not None
    assert (found.goal.band, found.goal.target, found.goal.need) == ("C", "B", 11)
    assert [[(m.feature, m.after) for m in each.moves] for each in found.goal.changes] == [[("debt", 0)]]
    assert str(band_of(card.pd_of(score + found.goal.changes[0].gain))) == "B"
    english, chinese = lines_of(found, "en"), lines_of(found, "zh")
    assert f"The score is {score}, in band C. Band B begins at {score + 11}; points missing: 11." in english
    assert "1. Debt: ≤ 0 instead of > 1 (+30)" in english
    assert "1. 负债为“≤ 0”，而非“> 1”（+30 分）" in chinese
    assert "promises nothing" in english[-1]
    assert "不构成任何承诺" in chinese[-1]
    assert not [line for line in english if any("\u4e00" <= char <= "\u9fff" for char in line)]


def test_one_source_tells_its_own_part_and_asks_no_other() -> None:
    card = card_at(630, "B")
    alone = explain(SCHEMA, card, {"tax": [1]})
    assert (alone.goal, alone.whole) == (None, False)
    assert "Filed late: ≤ 0 instead of 1: +6" in lines_of(alone, "en")
    assert {each.kind for each in alone.standings} == {"tax"}
    told = explain(SCHEMA, card, {"tax": [1]}, score=624)
    assert told.goal is not None
    assert (told.goal.need, len(told.goal.changes)) == (6, 1)
    short = lines_of(explain(SCHEMA, card, {"tax": [1]}, score=623), "en")
    assert "No change of what can be changed here would have reached band B." in short
    assert "Other sources hold more; each explains its own part to you." in short
    assert "Filed late: ≤ 0 instead of 1: +6" in short


def test_nothing_to_do_is_said() -> None:
    best = lines_of(explain(SCHEMA, card_at(500, "A"), OWN), "en")
    assert [line for line in best if "the best there is: nothing need change" in line]
    stuck = explain(SCHEMA, card_at(630, "B"), {"bank": [0, 0, 1], "tax": [0]})
    lines = lines_of(stuck, "en")
    assert "No change of what can be changed here would have reached band B." in lines
    assert "Nothing that can be changed here would have added points." in lines
    assert not [line for line in lines if "Other sources" in line]  # all are known


def test_who_has_no_record_is_told_so() -> None:
    found = explain(SCHEMA, CARD, {"tax": [ABSENT]})
    assert (dict(found.absent), found.standings, found.single) == ({"tax": 0}, (), ())
    assert "tax has no record of you; the model counts 0 points for that." in lines_of(found, "en")
    (missing,) = explain(SCHEMA, CARD, {"tax": [3]}).standings
    assert missing.lost == 12
    assert "迟报：无记录，比该项最高分少 12 分。" in lines_of(explain(SCHEMA, CARD, {"tax": [3]}), "zh")


def test_adverse_facts_are_not_to_be_changed_but_lapse() -> None:
    lapsing = explain(SCHEMA, CARD, OWN, lapses={"overdue": date(2029, 3, 2)})
    assert not [each for each in lapsing.single for move in each.moves if move.feature == "overdue"]
    (line,) = (line for line in lines_of(lapsing, "en") if line.startswith("Overdue"))
    assert line.endswith("This adverse fact is no longer used from 2029-03-02 on.")
    lasting = explain(SCHEMA, CARD, OWN, lapses={"overdue": None})
    (line,) = (line for line in lines_of(lasting, "zh") if line.startswith("逾期"))
    assert line.endswith("该不良信息尚未终止，自终止之日起保留五年。")
    assert last_usable(date(2024, 2, 29)) == date(2029, 2, 28)


def test_an_encoders_output_is_told_as_a_level() -> None:
    schema = schema_of(bank={"debt": feature(1, actionable="down"), "age": feature(1)})
    card = card_of(schema, {"encoder:bank": [10, 0, -10]}, encoders={"bank": 3})

    def encoder(codes: Codes) -> Codes:
        return np.array([min(int(row.sum()), 2) for row in codes], dtype=np.uint8)

    lines = lines_of(explain(schema, card, {"bank": [1, 0]}, encoders={"bank": encoder}), "en")
    level = "Overall assessment at: bank: level 2, where 1 is the safest. Points below the most possible: 10."
    assert level in lines


def test_what_costs_least_gives_way_where_space_is_short() -> None:
    found = explain(SCHEMA, CARD, OWN)
    whole = lines_of(found, "zh")
    longest = sum(len(line) + 1 for line in whole)
    assert lines_of(found, "zh", longest=longest) == whole
    shorter = lines_of(found, "zh", longest=longest - 1)
    assert sum(len(line) + 1 for line in shorter) < longest
    assert any(line.startswith("负债") for line in shorter)
    assert not any(line.startswith("迟报") for line in shorter)
    with pytest.raises(DataError):
        lines_of(found, "zh", longest=20)
    with pytest.raises(DataError):
        explain(SCHEMA, CARD, {"tax": [1]}, score=200)


def test_every_text_is_translated() -> None:
    source = Path(explain.__code__.co_filename).read_text(encoding="utf-8")
    texts = {
        node.value
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in {"say", "self"}
        for node in call.args[:1]
        if isinstance(node, ast.Constant)
    }
    assert len(texts) > 15

    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for text in texts:
        assert catalogue("models").has("zh", text), text
        assert places(catalogue("models").translate("zh", text)) == places(text)


def test_words_are_for_the_merchant_and_the_same_each_time() -> None:
    first, second = (lines_of(explain(SCHEMA, CARD, OWN), "zh") for _ in range(2))
    assert first == second
    assert isinstance(explain(SCHEMA, CARD, OWN), Explanation)


def test_missing_values_and_codes_are_nothing_to_aim_at() -> None:
    schema = schema_of(
        bank={
            "late": feature(3, special_from=1, actionable="down"),
            "trade": {"title": {"zh": "行业", "en": "Trade"}, "class": "C1", "categories": ["shop", "inn"]},
        }
    )
    card = card_of(schema, {"late": [10, 4, 40, 40, 30], "trade": [5, 0, 3, 20]})
    codes = {"bank": np.array([[0, 0], [1, 1], [3, 3]])}
    assert [[each.lost for each in explain(schema, card, {"bank": row}).standings] for row in codes["bank"]] == [
        [0, 0],
        [6, 5],
        [0, 0],
    ]
    assert reasons_of(card, "bank", codes["bank"]) == [(), ("late", "trade"), ()]
