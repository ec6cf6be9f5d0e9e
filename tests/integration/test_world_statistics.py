"""Statistics over the sources of synthetic worlds: facts are the world's truth, reports hold it, one a year is all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.platform.world.facts import ProgrammeFacts, facts_of_world
from hub.platform.world.generator import World, draw_world
from hub.platform.world.parameters import read_world
from hub.platform.world.truth import truth
from hub.platform_demo.driver import loan_rule
from hub.platform_demo.report import WorldReport
from hub.platform_demo.statistics import Compared, sources_of
from models.schema_file import load_campaign
from models.statistics.estimates import Z_95
from models.statistics.report import MEASURES

CONFIGS = Path(__file__).parents[2] / "configs"
CAMPAIGN, SCHEMA = load_campaign(CONFIGS / "campaign-programme-statistics.yaml")
RULE = loan_rule()
WORLDS = ("headline", "steady", "strained")


def small(name: str) -> World:
    full = read_world(CONFIGS / "worlds" / f"{name}.yaml")
    return draw_world(full.model_copy(update={"merchants": 2_500, "banks": 3, "financings": (350, 400, 450)}))


@pytest.fixture(scope="module", params=WORLDS)
def world(request: pytest.FixtureRequest) -> World:
    return small(request.param)


@pytest.fixture(scope="module")
def facts(world: World) -> ProgrammeFacts:
    return facts_of_world(world, RULE, year=2025, baseline=2023)


def test_facts_of_the_sources_are_the_truth_of_the_world(world: World, facts: ProgrammeFacts) -> None:
    (all_of,) = truth(world.merchants, world.financings, year=2025, baseline=2023, by="all")
    found = facts.truth()
    assert set(found) == set(MEASURES)
    assert all_of.average_credit_fen is not None
    assert all_of.average_rate is not None
    assert found["with_credit"] == all_of.borrowers == all_of.financings
    assert found["mean_amount"] == pytest.approx(float(all_of.average_credit_fen / 100), rel=1e-12)
    assert found["mean_rate"] == pytest.approx(float(all_of.average_rate), rel=1e-12)
    for county in truth(world.merchants, world.financings, year=2025, baseline=2023, by="county"):
        here = facts.truth([each == county.group for each in facts.county])
        assert here["merchants"] == county.merchants
        assert here["availability"] == pytest.approx(float(county.availability))
        for mine, theirs in (("amount_change", county.credit_change), ("rate_change", county.rate_change)):
            assert here[mine] == (None if theirs is None else pytest.approx(float(theirs), abs=1e-12))


def test_a_merchant_stays_with_one_bank(world: World) -> None:
    banks: dict[str, set[str]] = {}
    for each in world.financings:
        banks.setdefault(each.account_id, set()).add(each.bank)
    assert {len(each) for each in banks.values()} == {1}


def test_only_the_counties_of_the_rule_have_subsidies(facts: ProgrammeFacts) -> None:
    granted = {county for county, fen in zip(facts.county, facts.subsidy, strict=True) if fen > 0}
    assert granted == set(RULE.who.origins)


def far_off(each: Compared) -> bool:
    """Six standard errors and more: less than once in 10^8, where what was estimated is near to Gaussian."""
    if each.published is None or each.true is None:
        return False
    low, value, high = each.published.low, each.published.value, each.published.high
    # Both sides are as wide; one may be cut short at what is possible.
    return abs(value - each.true) > 6 * max(high - value, value - low) / Z_95 + 1e-6 * max(1.0, abs(each.true))


def test_a_report_with_real_noise_tells_the_truth_and_another_one_is_refused(
    facts: ProgrammeFacts, world: World, tmp_path: Path
) -> None:
    with sources_of(facts, CAMPAIGN, SCHEMA, tmp_path) as sources:
        report = sources.publish(lambda _: None)
        assert report.sigma > 10
        compared = sources.compare(report)
        everybody = [each for each in compared if each.row == "all"]
        assert len(everybody) == len(MEASURES)
        counts = {"merchants", "with_credit", "availability", "subsidised", "subsidy_share", "subsidy_total"}
        assert not [each for each in compared if each.figure in counts and far_off(each)]
        # Ratios whose denominator hardly stands out of the noise are far from Gaussian: of everybody they are not.
        assert not [each for each in everybody if far_off(each)]
        found = WorldReport.of(world.parameters.name, compared, sigma=report.sigma, epsilon=0.9, delta=1e-6)
        assert found.compared > 50
        refused = sources.refusal(lambda _: None)
        assert refused is not None
        assert "yearly budget 1" in refused
