"""A synthetic world: reproducible, whole, and with the published headline where it is meant to have it."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.identifiers import normalise
from hub.platform.financing_states import State
from hub.platform.financings import Financing
from hub.platform.world.generator import World, draw_world, shared_out
from hub.platform.world.parameters import WorldParameters, read_world
from hub.platform.world.truth import truth
from models.lishui.places import COUNTIES, PROVINCES

WORLDS = Path(__file__).parents[2] / "configs" / "worlds"


@pytest.fixture(scope="module")
def headline() -> World:
    return draw_world(read_world(WORLDS / "headline.yaml"))


def small(name: str) -> WorldParameters:
    full = read_world(WORLDS / f"{name}.yaml")
    return full.model_copy(update={"merchants": 1500, "financings": (150, 200, 250)})


def test_the_headline_world_is_full_size(headline: World) -> None:
    assert len(headline.merchants) == 28_000
    assert len(headline.financings) == 12_000
    assert len({each.bank for each in headline.financings}) == 12
    assert {each.origin for each in headline.merchants} == set(COUNTIES)
    assert {each.place for each in headline.merchants} == set(PROVINCES)
    assert len({each.identifier for each in headline.merchants}) == 28_000
    assert all(normalise("uscc", each.identifier) == each.identifier for each in headline.merchants[:500])
    assert all(each.name.startswith("合成") for each in headline.merchants)


def test_its_truth_is_the_published_headline(headline: World) -> None:
    (found,) = truth(headline.merchants, headline.financings, year=2025, baseline=2023, by="all")
    assert found.credit_change is not None
    assert found.rate_change is not None
    assert abs(found.credit_change - Fraction("0.787")) < Fraction(1, 10_000)
    assert abs(found.rate_change + Fraction("0.36")) < Fraction(1, 10_000)
    assert found.borrowers == found.financings == 5000
    assert found.overdue_rate is not None
    assert 0 < found.overdue_rate < Fraction(1, 4)


def test_loans_end_in_every_way_and_nothing_comes_after_the_last_day(headline: World) -> None:
    assert {each.state for each in headline.financings} == {State.DISBURSED, State.CLOSED, State.DEFAULTED}
    for each in headline.financings:
        assert each.outstanding_fen >= 0
        assert (each.state == State.CLOSED) == (each.outstanding_fen == 0)
        assert all(one.paid_on <= headline.last_day for one in each.repayments)


@pytest.mark.parametrize("name", ["headline", "steady", "strained"])
def test_the_same_parameters_give_the_same_world_and_other_seeds_another(name: str) -> None:
    its = small(name)
    world = draw_world(its)
    assert draw_world(its) == world
    assert draw_world(its.model_copy(update={"seed": its.seed + 1})).financings != world.financings


@pytest.mark.parametrize("by", ["county", "region", "industry"])
def test_groups_sum_to_the_whole(by: str) -> None:
    world = draw_world(small("strained"))
    (whole,) = truth(world.merchants, world.financings, year=2024, baseline=2023, by="all")
    parts = truth(world.merchants, world.financings, year=2024, baseline=2023, by=by)  # type: ignore[arg-type]
    for count in ("merchants", "borrowers", "financings", "outstanding", "overdue"):
        assert sum(getattr(each, count) for each in parts) == getattr(whole, count)
    credit = sum((each.average_credit_fen or 0) * each.financings for each in parts)
    assert whole.average_credit_fen is not None
    assert credit == whole.average_credit_fen * whole.financings


def test_truth_of_two_loans_by_hand() -> None:
    merchants = draw_world(small("steady")).merchants[:2]
    loans = [
        _loan(merchants[0].account_id, 100_000, 80_000, 2023),
        _loan(merchants[1].account_id, 150_000, 60_000, 2024),
    ]
    (found,) = truth(merchants, loans, year=2024, baseline=2023, by="all")
    assert found.credit_change == Fraction(1, 2)
    assert found.rate_change == Fraction(-1, 4)
    assert found.availability == Fraction(1, 2)
    assert found.outstanding == 2


def _loan(account: str, amount: int, rate: int, year: int) -> Financing:
    day = date(year, 3, 1)
    return Financing("0" * 32, account, "bank-01", "p", 1, amount, rate, 12, State.DISBURSED, day, day, day)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=50), st.floats(1, 1000))
def test_shares_sum_to_the_rounded_total(weights: list[float], average: float) -> None:
    found = shared_out(np.array(weights), average)
    assert int(found.sum()) == round(average * len(weights))
    assert (found >= 0).all()
