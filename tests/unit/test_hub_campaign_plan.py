"""Plans of campaigns without a hub: noise, expected counts, loss, several campaigns, warnings in both languages."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from crypto.errors import NoiseError, RangeError
from crypto.wire.campaign import PrivacyTerms, TablesMechanism
from hub import plan_warnings
from hub.budget_plan import BudgetPlan
from hub.campaign_errors import CampaignOrderError
from hub.campaign_forecast import SHARES, Wishes, _epsilon_at, _rounded_up
from hub.cli import app
from hub.expected_counts import Noise, assumed_cells, published_cells
from hub.offline_plan import offline_plan
from hub.plan_document import plan_document
from hub.plan_warnings import COUNTS, PlanWarning
from hub.yearly_cost import composed, most_within
from models.accounting import calibrate_tables, epsilon_of, tables_mechanisms
from models.campaign_file import CampaignFile
from models.expected_loss import LossModel
from models.i18n import catalogue
from models.mechanisms import DiscreteGaussianCells
from models.reference import AssumedPopulation, Assumptions, by_kind
from models.schema_file import load_campaign
from models.tables import feature_bins, from_codes

CONFIGS = Path(__file__).parents[2] / "configs"
ORDER, SCHEMA = load_campaign(CONFIGS / "campaign-cross-source.yaml")
NODES = {"bank": 12, "tax": 6, "utility": 6}
DELTA = 1e-5


def planned(merchants: int = 28_000, wishes: Wishes | None = None, **fields: Any) -> BudgetPlan:
    plain = {"stages": ["scorecard"], "evaluation": None}
    order = CampaignFile.model_validate(ORDER.model_dump() | plain | fields)
    return offline_plan(order, SCHEMA, {"bank": merchants}, NODES, wishes)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Losses by two populations with one noise each: how near they come to real ones is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.campaign_forecast.LossModel", partial(LossModel, draws=2))
        patch.setattr("models.expected_loss._NOISES", 1)
        yield


@pytest.fixture(scope="module")
def plan() -> BudgetPlan:
    return planned(wishes=Wishes(campaigns=6, limit=8.0), stages=ORDER.stages, evaluation=ORDER.evaluation)


def codes(plan: BudgetPlan) -> list[str]:
    return [warning.code for warning in plan.forecast.warnings]


def test_noise_is_what_terms_would_state(plan: BudgetPlan) -> None:
    noise = calibrate_tables(len(SCHEMA.all_features()), 3.0, DELTA)
    of = {each.of: each for each in plan.forecast.counts}
    assert of["defaulted"].noise.promised == pytest.approx(noise.sigma_class, rel=1e-4)
    assert of["pairs"].noise.promised == pytest.approx(noise.sigma_pair, rel=1e-4)
    # 24 nodes, one of which may collude.
    assert of["pairs"].noise.share == pytest.approx(noise.sigma_pair / math.sqrt(23), rel=1e-4)
    assert of["pairs"].noise.opened == pytest.approx(noise.sigma_pair * math.sqrt(24 / 23), rel=1e-4)
    assert of["bands"].cells == 20
    assert (plan.audience.trained, plan.audience.held_out) == (19_600, 8_400)


def test_expected_counts_add_up_to_the_merchants(plan: BudgetPlan) -> None:
    of = {each.of: each for each in plan.forecast.counts}
    features = len(SCHEMA.all_features())
    assert of["defaulted"].mean * of["defaulted"].cells == pytest.approx(0.05 * 19_600 * features)
    assert of["others"].mean * of["others"].cells == pytest.approx(0.95 * 19_600 * features)
    assert of["pairs"].mean * of["pairs"].cells == pytest.approx(19_600 * features * (features - 1) / 2)
    assert of["defaulted"].signal == pytest.approx(of["defaulted"].smallest / of["defaulted"].noise.opened)


def test_counts_of_a_published_table_are_its_own() -> None:
    features = feature_bins(SCHEMA)
    rng = np.random.default_rng(2)
    drawn, risk = AssumedPopulation(features, Assumptions(0.1), {"tax": 0.5}).draw(20_000, rng)
    table = from_codes(features, by_kind(features, drawn), np.where(rng.random(20_000) < risk, 0, 1))
    cells = published_cells(table, 40_000)
    exact = np.concatenate([counts[:, 0] for counts in table.classes])
    assert np.abs(cells.defaulted - 2 * exact).max() < 0.05 * exact.max()
    assert cells.pairs.sum() == pytest.approx(2 * sum(block.sum() for block in table.pairs.values()), rel=1e-6)
    even = assumed_cells(features, 40_000, {"bank": 1.0, "tax": 0.5, "utility": 1.0}, 0.1)
    assert even.pairs.sum() == pytest.approx(cells.pairs.sum(), rel=0.02)
    measured = cells.counts(Noise.of(1e9, 3, 1), Noise.of(0.0, 3, 1))
    assert [each.drowned for each in measured] == [1.0, 1.0, 0.0]
    assert measured[2].signal is None


def test_several_campaigns_compose_on_the_accountant_of_the_ledgers(plan: BudgetPlan) -> None:
    yearly = {each.campaigns: each for each in plan.forecast.yearly}
    assert sorted(yearly) == [1, 2, 4, 6, 12]
    noise = calibrate_tables(len(SCHEMA.all_features()), 3.0, DELTA)
    for times, each in yearly.items():
        by_hand = [DiscreteGaussianCells(m.sigma, times * m.count, m.scale) for m in noise.mechanisms]
        assert each.epsilon == pytest.approx(epsilon_of(by_hand, DELTA), rel=0.02)
        assert each.plain_sum == pytest.approx(3.0 * times)
    assert yearly[1].epsilon <= 3.0
    assert yearly[6].epsilon < 9.0
    assert plan.allowed == 5
    assert "limit-short" in codes(plan)


def test_a_limit_allows_what_still_fits_after_what_was_spent() -> None:
    own = tables_mechanisms(10, 6.22, 13.2)
    one, three = composed(own, 1, delta=DELTA), composed(own, 3, delta=DELTA)
    assert most_within(three, own, delta=DELTA) == 3
    assert most_within(three * 0.999, own, delta=DELTA) == 2
    assert most_within(three, own, delta=DELTA, before=own) == 2
    assert most_within(one * 0.99, own, delta=DELTA) == 0
    # Shares that are far from a discrete Gaussian use δ up.
    assert composed(own, 3, delta=DELTA, delta_sum=1e-7) > three
    assert composed(own, 3, delta=DELTA, delta_sum=1e-5) == math.inf


def test_more_merchants_or_epsilon_lose_less_and_the_plan_says_how_many() -> None:
    small, more, finer = planned(7_000), planned(28_000), planned(7_000, epsilon=12.0)
    losses = [each.forecast.loss for each in (small, more, finer)]
    assert losses[0] is not None
    assert losses[1] is not None
    assert losses[2] is not None
    assert losses[0].auc > 0.01 > losses[1].auc > 0
    assert losses[2].auc < losses[0].auc / 3
    needed = losses[0].merchants_needed
    assert needed is not None
    assert needed > 7_000
    reached = planned(needed).forecast.loss
    assert reached is not None
    assert 0.002 < reached.auc < 0.01
    assert losses[0].epsilon_needed is not None
    by_epsilon = planned(7_000, epsilon=losses[0].epsilon_needed).forecast.loss
    assert by_epsilon is not None
    assert 0.002 < by_epsilon.auc < 0.01
    assert codes(small)[0] == "loss-large"


def test_an_epsilon_that_shares_of_noise_cannot_keep_is_not_advised() -> None:
    stated = [
        TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=each.sigma, count=each.count)
        for each in calibrate_tables(10, 3.0, DELTA).mechanisms
    ]
    privacy = PrivacyTerms(
        epsilon=3.0,
        delta=DELTA,
        delta_sum=3.5e-13,
        t_collude=1,
        noise="on",
        mechanisms=tuple(stated),
        epsilon_replace_one=4.5,
    )
    assert _epsilon_at(privacy, 1.0) == pytest.approx(3.0, abs=0.11)
    assert _epsilon_at(privacy, 0.4) == pytest.approx(8.8, abs=0.4)
    # (1 + e^ε) times the distance of the shares would be more than δ.
    assert _epsilon_at(privacy, 0.2) is None


def test_warnings_name_what_is_wrong_with_an_order() -> None:
    assert {"loss-large", "counts-drowned", "bands-thin"} <= set(codes(planned(900, epsilon=1.0, stages=ORDER.stages)))
    few = planned(150)
    assert few.forecast.loss is None
    assert "defaults-few" in codes(few)
    skewed = planned(6_000, pair_share=0.95)
    assert "pair-share" in codes(skewed)
    assert skewed.forecast.loss is not None
    assert skewed.forecast.loss.pair_share in SHARES
    silent = planned(noise="off")
    assert codes(silent) == ["noise-off"]
    assert (silent.forecast.loss, silent.forecast.yearly) == (None, ())
    assert {each.noise.opened for each in silent.forecast.counts} == {0.0}


def test_an_encoder_before_the_tables_has_a_price() -> None:
    both = planned(8_000, stages=["encoder", "scorecard"], epsilon=2.0)
    assert both.forecast.rounds is not None
    assert both.forecast.loss is not None
    price = both.forecast.loss.encoder_price
    assert price is not None
    assert 0 < price < both.forecast.loss.auc
    assert "encoder-dear" in codes(both)
    alone, schema = load_campaign(CONFIGS / "campaign-bank-consortium.yaml")
    encoder = offline_plan(alone, schema, {"bank": 28_000}, {})
    assert (encoder.forecast.counts, encoder.forecast.loss) == ((), None)
    assert encoder.audience.nodes == {"bank": 3}


def test_numbers_that_fit_no_schema_are_refused() -> None:
    for merchants, nodes, field in (
        ({"bank": 100, "post": 5}, {}, "merchants"),
        ({"tax": 100}, {}, "merchants"),
        ({"bank": 100, "tax": 101}, {}, "merchants"),
        ({"bank": 100}, {"bank": 0}, "nodes"),
    ):
        with pytest.raises(CampaignOrderError) as refused:
            offline_plan(ORDER, SCHEMA, merchants, nodes)
        assert refused.value.field == field
        assert refused.value.remedy
    with pytest.raises(NoiseError):
        planned(t_collude=24)
    with pytest.raises(RangeError):
        planned(3_000_000_000)
    for wrong in ({"campaigns": 0}, {"default_rate": 0.6}, {"limit": 0.0}, {"target": 0.0}):
        with pytest.raises(CampaignOrderError) as out:
            Wishes(**wrong)
        assert out.value.field == next(iter(wrong))


def test_needed_figures_are_rounded_up_to_two_digits() -> None:
    assert [_rounded_up(value) for value in (2.31, 0.0421, 18_234.0, 20_000.0, 9.95)] == [
        2.4,
        0.043,
        19_000,
        20_000,
        10,
    ]


def test_every_warning_is_said_in_chinese() -> None:
    every: list[PlanWarning] = [
        plan_warnings.noise_off(),
        plan_warnings.loss_large(0.02, 0.005, 3.0, 20_000),
        plan_warnings.loss_large(0.02, 0.005, None, 20_000),
        plan_warnings.loss_large(0.02, 0.005, None, None),
        plan_warnings.counts_drowned("pairs", 0.7, 13.2),
        plan_warnings.defaults_few(4.0),
        plan_warnings.bands_thin(1.0, 2.0),
        plan_warnings.pair_share(0.9, 0.01, 0.5, 0.004),
        plan_warnings.encoder_dear(0.004),
        plan_warnings.limit_short(8.0, 5, 6),
    ]
    texts = catalogue("hub")
    missing = [said.text for each in every for said in (each.what, each.remedy) if not texts.has("zh", said.text)]
    assert not missing
    assert all(texts.has("zh", name) for name in COUNTS.values())
    assert {each.code for each in every} == set(plan_warnings.WarningCode.__args__)  # type: ignore[attr-defined]


def test_a_document_is_in_the_callers_language(plan: BudgetPlan) -> None:
    english, chinese = (plan_document(plan, ORDER, SCHEMA, language) for language in ("en", "zh"))
    assert english.model_dump(exclude={"warnings"}) == chinese.model_dump(exclude={"warnings"})
    assert english.warnings[-1].what == "A limit of epsilon 8 allows 5 of the 6 campaigns."
    assert chinese.warnings[-1].what == "ε 上限 8 只够开展 6 次任务中的 5 次。"
    json.loads(english.model_dump_json())  # no infinities


def test_the_command_plans_without_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "zh")
    monkeypatch.chdir(tmp_path)
    file = str(CONFIGS / "campaign-cross-source.yaml")
    call = ["campaign", "plan", file, "--merchants", "bank=3000,tax=2000", "--nodes", "bank=4,tax=2,utility=2"]
    shown = CliRunner().invoke(app, [*call, "--limit", "4", "--default-rate", "0.08"], terminal_width=200)
    assert shown.exit_code == 0, shown.output
    for text in ("预计 AUC 损失", "2,100", "bank 4, tax 2, utility 2", "8.00%", "[bands-thin]", "[limit-short]"):
        assert text in shown.output
    told = CliRunner().invoke(app, [*call, "--json"])
    document = json.loads(told.output)
    assert document["present"] == {"bank": 1.0, "tax": pytest.approx(2 / 3), "utility": 1.0}
    assert document["basis"] == "assumed"
    wrong = CliRunner().invoke(app, ["campaign", "plan", file, "--merchants", "bank=many"])
    assert isinstance(wrong.exception, CampaignOrderError)
    assert wrong.exception.field == "merchants"
    lonely = CliRunner().invoke(app, ["campaign", "plan", file, "--nodes", "bank=3"])
    assert isinstance(lonely.exception, CampaignOrderError)
