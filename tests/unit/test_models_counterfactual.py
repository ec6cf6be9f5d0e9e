"""The smallest changes: exact against trying everything, only what may move, points as the scorecard counts them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.codes import ABSENT, Codes
from models.counterfactual import Change, Changes
from models.errors import DataError
from models.schema import Schema
from models.scorecard import Calibration, FeaturePoints, Scorecard
from models.tables import feature_bins

TITLE = {"zh": "项目", "en": "Item"}
LABEL = {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE}


def feature(edges: int = 3, **more: object) -> dict[str, object]:
    return {"title": TITLE, "class": "C2", "bins": list(range(edges))} | more


def schema_of(**kinds: dict[str, object]) -> Schema:
    plain: dict[str, Any] = {"name": "demo", "id": {"column": "id", "type": "opaque"}, "as_of": "2025-06-30"}
    held = {kind: {"features": features} for kind, features in kinds.items()}
    return Schema.model_validate({**plain, "label": LABEL, "kinds": held})


def card_of(
    schema: Schema,
    points: dict[str, list[int]],
    *,
    encoders: dict[str, int] | None = None,
    calibration: Calibration | None = None,
) -> Scorecard:
    blocks = feature_bins(schema, encoders)
    entries = tuple(FeaturePoints(each, tuple(points.get(each.name, [0] * each.width))) for each in blocks)
    return Scorecard(
        entries, dict.fromkeys(schema.kinds_in_order(), 0), 600, calibration or Calibration(0.0, -0.01), 40.0
    )


SCHEMA = schema_of(
    bank={"debt": feature(actionable="down"), "age": feature(), "savings": feature(actionable="up")},
    tax={"late": feature(2, actionable="down", monotone="increasing"), "staff": feature(2, actionable="either")},
)
"""Bins of debt, age, savings: four and missing; of late and staff: three and missing."""


def everything(card: Scorecard, codes: dict[str, list[int]], need: int) -> tuple[int, int] | None:
    """(cost, features) of the cheapest change, by trying all."""
    ways = {"debt": "down", "savings": "up", "late": "down", "staff": "either"}
    names = [(kind, each.name) for kind in codes for each in SCHEMA.features(kind)]
    before = [bin for kind in codes for bin in codes[kind]]
    score = int(card.score({kind: np.array([row]) for kind, row in codes.items()})[0])
    choices: list[list[int]] = []
    for (_, name), bin in zip(names, before, strict=True):
        last = SCHEMA.n_bins(name) - 2
        way = ways.get(name)
        after = [to for to in range(last + 1) if (to < bin and way != "up") or (to > bin and way != "down")]
        choices.append([bin, *(after if way is not None and bin <= last else [])])
    best: tuple[int, int] | None = None
    for row in product(*choices):
        changed: dict[str, list[list[int]]] = {kind: [[]] for kind in codes}
        for (kind, _), bin in zip(names, row, strict=True):
            changed[kind][0].append(bin)
        cost = sum(abs(a - b) for a, b in zip(row, before, strict=True))
        touched = sum(a != b for a, b in zip(row, before, strict=True))
        if int(card.score({kind: np.array(rows) for kind, rows in changed.items()})[0]) - score >= need:
            best = min((cost + touched, touched), best or (99, 99))
    return best


points_of = st.integers(-12, 12)


@given(
    points=st.fixed_dictionaries(
        {each.name: st.lists(points_of, min_size=each.width, max_size=each.width) for each in SCHEMA.all_features()}
    ),
    bank=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)),
    tax=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    need=st.integers(1, 40),
)
@settings(max_examples=150)
def test_the_first_change_is_the_cheapest_there_is(
    points: dict[str, list[int]], bank: tuple[int, ...], tax: tuple[int, ...], need: int
) -> None:
    points["late"] = [*sorted(points["late"][:3], reverse=True), points["late"][3]]  # as monotone declares
    card, codes = card_of(SCHEMA, points), {"bank": list(bank), "tax": list(tax)}
    found = Changes(SCHEMA, card, codes).smallest(need)
    best = everything(card, codes, need)
    assert (best is None) == (not found)
    if found:
        assert (found[0].cost, len(found[0].moves)) == best
        assert [each.cost for each in found] == sorted(each.cost for each in found)
    for change in found:
        check(card, codes, change, need)
    for later, change in enumerate(found):
        for earlier in found[:later]:
            assert not {move.feature for move in earlier.moves} <= {move.feature for move in change.moves}


def check(card: Scorecard, codes: dict[str, list[int]], change: Change, need: int) -> None:
    after = {kind: list(row) for kind, row in codes.items()}
    for move in change.moves:
        place = [each.name for each in SCHEMA.features(move.kind)].index(move.feature)
        assert after[move.kind][place] == move.before
        assert abs(move.after - move.before) == move.steps > 0
        assert move.after < SCHEMA.n_bins(move.feature) - 1  # never missing
        after[move.kind][place] = move.after
    before, changed = (
        int(card.score({kind: np.array([row]) for kind, row in rows.items()})[0]) for rows in (codes, after)
    )
    assert changed - before == change.gain >= need
    assert Changes(SCHEMA, card, codes).most() >= change.gain


def names(change: Change) -> list[tuple[str, int, int]]:
    return [(move.feature, move.before, move.after) for move in change.moves]


def test_what_is_not_actionable_missing_or_absent_stays() -> None:
    points = {"age": [0, 9, 9, 9, 9], "debt": [9, 6, 3, 0, 5], "savings": [0, 3, 6, 9, 20], "late": [5, 5, 0, 9]}
    card = card_of(SCHEMA, points)
    changes = Changes(SCHEMA, card, {"bank": [3, 0, 4], "tax": [ABSENT, ABSENT]})
    assert [names(each) for each in changes.single()] == [[("debt", 3, 2)], [("debt", 3, 1)], [("debt", 3, 0)]]
    assert [names(each) for each in changes.smallest(5)] == [[("debt", 3, 1)]]
    assert changes.most() == 9
    assert changes.smallest(10) == ()
    only = Changes(SCHEMA, card, {"tax": [2, 0]})
    assert [names(each) for each in only.smallest(1)] == [[("late", 2, 1)]]
    with pytest.raises(DataError):
        changes.smallest(0)
    with pytest.raises(DataError):
        Changes(SCHEMA, card, {"tax": [0]})


def test_the_riskier_way_of_a_monotone_feature_is_never_advised() -> None:
    schema = schema_of(bank={"late": feature(actionable="either", monotone="increasing"), "age": feature()})
    card = card_of(schema, {"late": [4, 3, 2, 1, 0]})
    assert [names(each) for each in Changes(schema, card, {"bank": [2, 0]}).single()] == [
        [("late", 2, 1)],
        [("late", 2, 0)],
    ]


def test_a_product_that_pays_for_the_riskier_way_is_no_reason_to_advise_it() -> None:
    both = {"title": TITLE, "class": "C2", "product": ["late", "savings"]}
    late = feature(1, actionable="either", monotone="increasing")
    schema = schema_of(bank={"late": late, "savings": feature(1, actionable="up"), "both": both})
    card = card_of(schema, {"savings": [0, 2, 0], "both": [0, 0, 0, 40, 0, 0, 0, 0, 0]})
    changes = Changes(schema, card, {"bank": [0, 0, 0]})  # late once would give 40 by the product
    assert [names(each) for each in changes.single()] == [[("savings", 0, 1)]]
    assert changes.smallest(3) == ()


def test_codes_and_bins_beside_the_line_are_never_advised() -> None:
    schema = schema_of(bank={"late": feature(4, actionable="either", special_from=2), "age": feature()})
    card = card_of(schema, {"late": [0, 1, 2, 50, 50, 50]})
    assert [names(each) for each in Changes(schema, card, {"bank": [0, 0]}).single()] == [
        [("late", 0, 1)],
        [("late", 0, 2)],
    ]
    assert Changes(schema, card, {"bank": [3, 0]}).single() == ()


def test_products_are_counted_with_their_factors() -> None:
    both = {"title": TITLE, "class": "C2", "product": ["debt", "savings"]}
    schema = schema_of(
        bank={"debt": feature(1, actionable="down"), "savings": feature(1, actionable="up"), "both": both}
    )
    # Bins: two and missing each. Alone neither move adds a point; the product pays for both together.
    together = [0] * 9
    together[0 * 3 + 1] = 30
    card = card_of(schema, {"both": together})
    changes = Changes(schema, card, {"bank": [1, 0, 3]})
    assert changes.single() == ()
    (found,) = changes.smallest(30)
    assert (names(found), found.gain, found.cost) == ([("debt", 1, 0), ("savings", 0, 1)], 30, 4)
    # What the product takes away is counted too.
    together[0 * 3 + 0] = -50
    spoiled = card_of(schema, {"debt": [20, 0, 0], "both": together})
    (found,) = Changes(schema, spoiled, {"bank": [1, 0, 3]}).smallest(10)
    assert (names(found), found.gain) == ([("debt", 1, 0), ("savings", 0, 1)], 50)


def test_an_encoders_output_is_counted_anew() -> None:
    schema = schema_of(bank={"debt": feature(1, actionable="down"), "age": feature(1)})
    card = card_of(schema, {"debt": [2, 0, 0], "encoder:bank": [10, 0, -10]}, encoders={"bank": 3})

    def encoder(codes: Codes) -> Codes:
        return np.array([min(int(row.sum()), 2) for row in codes], dtype=np.uint8)

    (found,) = Changes(schema, card, {"bank": [1, 1]}, encoders={"bank": encoder}).smallest(5)
    assert (names(found), found.gain) == ([("debt", 1, 0)], 12)  # 2 of its own, 10 as the encoder goes from 2 to 1
    with pytest.raises(DataError, match="encoder"):
        Changes(schema, card, {"bank": [1, 1]})


def test_alternatives_do_without_a_feature_of_each_before() -> None:
    schema = schema_of(bank={name: feature(1, actionable="down") for name in ("a", "b", "c", "d")})
    card = card_of(schema, {"a": [5, 0, 0], "b": [5, 0, 0], "c": [3, 0, 0], "d": [2, 0, 0]})
    found = Changes(schema, card, {"bank": [1, 1, 1, 1]}).smallest(5)
    assert [[move.feature for move in each.moves] for each in found] == [["a"], ["b"], ["c", "d"]]


def test_tied_features_go_to_the_end_of_their_ways_together_or_not_at_all() -> None:
    schema = schema_of(
        utility={
            "times": feature(actionable="down"),
            "months": feature(actionable="down", moves_with="times"),
            "use": feature(1, actionable="up"),
        },
        bank={"age": feature()},
    )
    card = card_of(schema, {"times": [6, 3, 1, 0, 0], "months": [4, 2, 0, 0, 0], "use": [0, 2, 0]})
    changes = Changes(schema, card, {"utility": [2, 3, 0]})
    assert [names(each) for each in changes.single()] == [[("times", 2, 0), ("months", 3, 0)], [("use", 0, 1)]]
    assert [(names(each), each.gain, each.cost) for each in changes.smallest(1)] == [
        ([("use", 0, 1)], 2, 2),
        ([("times", 2, 0), ("months", 3, 0)], 9, 7),
    ]
    # One of them is there already, or unknown.
    (alone,) = Changes(schema, card, {"utility": [0, 3, 1]}).single()
    assert names(alone) == [("months", 3, 0)]
    assert Changes(schema, card, {"utility": [2, 4, 1]}).single() == ()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"a": {"title": TITLE, "class": "C2", "categories": ["x"], "actionable": "up"}}, "for features with bins"),
        ({"a": feature(actionable="sideways")}, "up"),
        ({"a": feature(actionable="up", monotone="increasing")}, "riskier"),
        ({"a": feature(actionable="down", monotone="decreasing")}, "riskier"),
        ({"a": feature(actionable="down", adverse=True, ended_at="a_ended")}, "undone by nobody"),
        ({"a": feature(), "b": feature(derived={"max": ["a", "c"]}, actionable="up"), "c": feature()}, "derived"),
        ({"a": feature(), "b": feature(derived={"max": ["a", "c"]}), "c": feature(actionable="up")}, "derived from it"),
        ({"a": feature(actionable="up", moves_with="b"), "b": feature()}, "actionable one way"),
        ({"a": feature(actionable="up", moves_with="a")}, "actionable one way"),
        ({"a": feature(actionable="either", moves_with="b"), "b": feature(actionable="up")}, "moves_with: needs"),
    ],
)
def test_what_cannot_be_actionable_is_refused(features: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        schema_of(bank=features)


def test_no_actionable_and_actionable_false_are_one_schema() -> None:
    written, left_out = (schema_of(bank={"a": feature(**more)}) for more in ({"actionable": False}, {}))
    assert written.hash() == left_out.hash()
    assert schema_of(bank={"a": feature(actionable="up")}).hash() != left_out.hash()
