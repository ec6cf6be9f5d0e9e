"""Products: what stands in one, whom its rule takes in, and its reach by published counts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from crypto.canonical import canonical_bytes
from hub.platform.lending_errors import ProductError
from hub.platform.product_book import read_products
from hub.platform.products import ProductFile, ProductTerms, lies_in, unmet_by, unmet_terms
from hub.platform.reach import ReachTable, expected_reach, table_of_evaluation
from models.evaluation_result import Estimate, EvaluationResult, ScoreBand

MODEL = "sha256:" + "a" * 64
SHOP: dict[str, Any] = {
    "product_id": "shop-loan",
    "bank": "bank-01",
    "title": {"zh": "小超贷", "en": "Shop loan"},
    "summary": {"zh": "面向小超市经营者的信用贷款", "en": "An unsecured loan for small supermarkets"},
    "amount_fen": {"least": 1_000_000, "most": 30_000_000},
    "term_months": {"least": 6, "most": 36},
    "annual_rate": {"least": "0.0365", "most": "0.048"},
    "guarantee": "credit",
    "repayment": "equal-instalments",
    "rule": {
        "kinds": ["supermarket"],
        "origins": ["331121", "331122"],
        "places": ["330000", "310115", "341000"],
        "bands": ["A", "B", "C"],
    },
    "on_offer_from": "2026-01-01",
    "on_offer_until": "2026-12-31",
}


@dataclass(frozen=True)
class Shop:
    kind: str = "supermarket"
    origin: str = "331121"
    place: str = "330106"


def changed(**changes: Any) -> dict[str, Any]:
    return {**SHOP, **changes}


@pytest.mark.parametrize(
    ("place", "region", "inside"),
    [
        ("330106", "330000", True),
        ("330000", "330000", True),
        ("340106", "330000", False),
        ("330106", "330100", True),
        ("330206", "330100", False),
        ("310115", "310115", True),
        ("310114", "310115", False),
    ],
)
def test_a_region_takes_in_what_lies_below_it(place: str, region: str, inside: bool) -> None:
    assert lies_in(place, region) is inside


def test_every_condition_that_is_not_met_is_named() -> None:
    rule = ProductTerms.model_validate(SHOP).rule
    assert unmet_by(rule, Shop(), "B") == ()
    assert unmet_by(rule, Shop(), None) == ()
    assert unmet_by(rule, Shop("inn", "331181", "110000"), "E") == (
        "kind-not-eligible",
        "origin-not-eligible",
        "place-not-eligible",
        "band-not-eligible",
    )


def test_an_empty_list_of_regions_means_everywhere() -> None:
    rule = ProductTerms.model_validate(changed(rule={"kinds": ["inn"], "bands": ["A"]})).rule
    assert unmet_by(rule, Shop("inn", "331181", "650100"), "A") == ()


@pytest.mark.parametrize(
    ("asked", "unmet"),
    [
        ({"amount_fen": 1_000_000, "term_months": 6}, ()),
        ({"amount_fen": 30_000_000, "term_months": 36, "annual_rate": 48_000}, ()),
        ({"amount_fen": 999_999, "term_months": 37}, ("amount-out-of-range", "term-out-of-range")),
        ({"amount_fen": 10**6, "term_months": 6, "annual_rate": 48_001}, ("rate-out-of-range",)),
        ({"amount_fen": 10**6, "term_months": 6, "on": date(2027, 1, 1)}, ("not-on-offer",)),
    ],
    ids=["least", "most", "too-little", "too-dear", "too-late"],
)
def test_what_lies_outside_the_product_is_named(asked: dict[str, Any], unmet: tuple[str, ...]) -> None:
    terms = ProductTerms.model_validate(SHOP)
    assert unmet_terms(terms, **{"on": date(2026, 12, 31), **asked}) == unmet


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"amount_fen": {"least": 2, "most": 1}}, "amount_fen"),
        ({"annual_rate": {"least": "0.0365001", "most": "0.04"}}, "annual_rate"),
        ({"annual_rate": {"least": "0.0365", "most": "4.8"}}, "annual_rate"),
        ({"guarantee": "handshake"}, "guarantee"),
        ({"rule": {"kinds": [], "bands": ["A"]}}, "rule"),
        ({"rule": {"kinds": ["inn", "inn"], "bands": ["A"]}}, "rule"),
        ({"on_offer_until": "2025-12-31"}, "on_offer_until"),
        ({"colour": "red"}, "colour"),
    ],
    ids=["span", "places", "per-cent", "guarantee", "nobody", "twice", "dates", "unknown"],
)
def test_terms_that_do_not_hold_together_are_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProductTerms.model_validate(changed(**change))
    first = refused.value.errors()[0]
    assert where in (first["loc"] or (first["msg"],))[0] or where in first["msg"]


def test_a_file_has_each_product_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        ProductFile.model_validate({"products": [SHOP, SHOP]})


def test_the_documents_sample_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "two-small-lending.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(products:.*?)```", page, re.DOTALL)
    assert found is not None
    (tmp_path / "products.yaml").write_text(found[1], encoding="utf-8")
    (terms,) = read_products(tmp_path / "products.yaml")
    assert terms.annual_rate.most == Decimal("0.048")
    (tmp_path / "products.yaml").write_text(found[1].replace("bands: [A, B, C]", "bands: [F]"), encoding="utf-8")
    with pytest.raises(ProductError, match=r"products.yaml:11: products.0.rule.bands"):
        read_products(tmp_path / "products.yaml")


def test_another_spelling_of_a_rate_is_the_same_product() -> None:
    spelled = changed(annual_rate={"least": "0.036500", "most": "0.0480"})
    one, other = (canonical_bytes(ProductTerms.model_validate(each)) for each in (SHOP, spelled))
    assert one == other


def reach_table(counts: dict[tuple[str, str], float], **more: Any) -> ReachTable:
    cells = [{"band": band, "values": [kind], "count": count} for (band, kind), count in counts.items()]
    return ReachTable.model_validate(
        {"model_id": MODEL, "source": "c-7/a-1", "segments": ["kind"], "sigma": 10.0, "cells": cells, **more}
    )


def test_reach_is_the_sum_of_the_cells_a_rule_takes_in() -> None:
    counts = {key: 100.0 * number for number, key in enumerate(product("ABCDE", ("supermarket", "inn")), 1)}
    rule = ProductTerms.model_validate(SHOP).rule
    reach = expected_reach(reach_table(counts), rule)
    assert (reach.merchants, reach.cells) == (100 + 300 + 500, 3)
    half = 1.959963984540054 * 10 * math.sqrt(3)
    assert (reach.low, reach.high) == (math.floor(900 - half), math.ceil(900 + half))
    # Origins and places are not in the table: so it is an upper bound, and says so.
    assert reach.unsegmented == ("origin", "place")


def test_the_interval_of_reach_covers_the_truth() -> None:
    rng = np.random.default_rng(5)
    rule = ProductTerms.model_validate(SHOP).rule
    keys = list(product("ABCDE", ("supermarket", "inn")))
    covered = 0
    for _ in range(400):
        merchants = rng.integers(50, 400, len(keys))
        held_out = rng.binomial(merchants, 0.3) + rng.normal(0, 10, len(keys))
        reach = expected_reach(reach_table(dict(zip(keys, held_out, strict=True)), share=0.3), rule)
        truth = sum(
            int(number)
            for key, number in zip(keys, merchants, strict=True)
            if key[1] == "supermarket" and key[0] in "ABC"
        )
        covered += reach.low <= truth <= reach.high
    assert 0.92 <= covered / 400 <= 0.99


def test_negative_counts_are_added_as_they_are() -> None:
    counts = {
        (band, kind): -4.0 if kind == "supermarket" else 50.0 for band, kind in product("ABCDE", ("supermarket", "inn"))
    }
    reach = expected_reach(reach_table(counts), ProductTerms.model_validate(SHOP).rule)
    assert (reach.merchants, reach.low) == (0, 0)
    assert reach.high == math.ceil(-12 + 1.959963984540054 * 10 * math.sqrt(3))


@pytest.mark.parametrize("left_out", [("A", "inn"), ("E", "supermarket")], ids=["A", "E"])
def test_a_table_lacks_no_cell(left_out: tuple[str, str]) -> None:
    counts = {key: 1.0 for key in product("ABCDE", ("supermarket", "inn")) if key != left_out}
    with pytest.raises(ValidationError, match="every combination"):
        reach_table(counts)


def test_an_evaluation_gives_a_table_by_bands() -> None:
    limits = [(300, 420), (421, 500), (501, 560), (561, 620), (621, 700), (701, 850)]
    pds = [0.4, 0.3, 0.15, 0.07, 0.03, 0.01]
    some = Estimate(value=0.7, low=0.6, high=0.8)
    result = EvaluationResult(
        model_id=MODEL,
        campaign="c-7",
        attempt="a-2",
        noise="on",
        sigma=4.0,
        epsilon=1.0,
        delta=1e-6,
        auc=some,
        ks=some,
        bands=tuple(
            ScoreBand(score_low=low, score_high=high, count_good=10.0 * place, count_bad=1.0, predicted_pd=pd)
            for place, ((low, high), pd) in enumerate(zip(limits, pds, strict=True))
        ),
        nodes=3,
    )
    table = table_of_evaluation(result, held_out=0.25)
    assert {each.band: each.count for each in table.cells} == {"A": 51.0, "B": 41.0, "C": 31.0, "D": 21.0, "E": 12.0}
    assert table.sigma == pytest.approx(4.0 * math.sqrt(4))
    reach = expected_reach(table, ProductTerms.model_validate(SHOP).rule)
    assert reach.merchants == 4 * (51 + 41 + 31)
    assert reach.unsegmented == ("kind", "origin", "place")
