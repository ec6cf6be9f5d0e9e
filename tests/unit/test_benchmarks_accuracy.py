"""The accuracy benchmark: what it keeps, what it compares, and that rivals get the budget they are said to get."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy import stats

from benchmarks import machine, page
from benchmarks.accuracy import dp_ebm, dp_sgd, ours, run, tuning
from benchmarks.accuracy.cells import Cell, CellStore
from benchmarks.accuracy.digests import code_digest, imports_of
from benchmarks.accuracy.measures import Prediction, measured
from benchmarks.accuracy.methods import DEEPER, METHODS, Method, Task
from benchmarks.accuracy.run import Scope, measure
from benchmarks.accuracy.sets import SETS, DataSet, Split, one_kind, public_range
from benchmarks.accuracy.summary import difference, summary
from benchmarks.accuracy.tuning import GRIDS, Grid
from models.accounting import calibrate_tables, epsilon_of, gdp_budget, gdp_epsilon
from models.mechanisms import GaussianRounds
from models.tables import from_codes

SMALL = replace(SETS["lishui-28k"], rows=3_000, title="Synthetic Lishui, 3,000")


@pytest.fixture(scope="module")
def split() -> Split:
    return SMALL.split("small", 3, None)


def cell(method: str, split: int, noise: int | None, auc: float, **changed: object) -> Cell:
    figures = {"auc": auc, "ks": 0.4, "calibration_error": 0.01}
    plain = {"dataset": "gmsc-28k", "epsilon": None if noise is None else 1.0, "code": "a", "rows": "b"}
    return Cell(
        **{**plain, "method": method, "split": split, "noise": noise, "figures": figures, "seconds": 1} | changed
    )


def test_cells_outlive_a_run_that_was_killed_while_it_wrote(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.add(cell("scorecard", 0, 0, 0.8))
    file = tmp_path / "gmsc-28k.jsonl"
    with file.open("a", encoding="utf-8") as half:
        half.write('{"dataset": "gmsc-28k", "meth')
    again = CellStore(tmp_path)
    again.add(cell("scorecard", 0, 1, 0.9))
    assert [each.figures["auc"] for each in CellStore(tmp_path).newest()] == [0.8, 0.9]


def test_a_line_that_is_no_cell_is_named(tmp_path: Path) -> None:
    (tmp_path / "gmsc-28k.jsonl").write_text('{"dataset": 3}\n', encoding="utf-8")
    with pytest.raises(SystemExit, match="line 1"):
        CellStore(tmp_path)


def test_older_code_gives_way_when_files_are_pruned(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    store.add(cell("scorecard", 0, 0, 0.8))
    store.add(cell("scorecard", 0, 0, 0.9, code="new"))
    assert store.find(("gmsc-28k", "scorecard", 1.0, 0, 0), "a", "b") is not None
    CellStore(tmp_path).add(cell("scorecard", 0, 1, 0.7))  # by another run
    assert store.prune() == 1
    assert [each.figures["auc"] for each in CellStore(tmp_path).newest()] == [0.9, 0.7]


def test_code_counts_and_comments_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = ['"""One."""\nX = 1\n', '"""Another."""\n# why\nX  =  1\n', '"""One."""\nX = 2\n']
    for number, text in enumerate(texts):
        (tmp_path / f"digested_{number}.py").write_text(text, encoding="utf-8")
    first, same, other = (code_digest(f"digested_{number}") for number in range(3))
    assert first == same != other


def test_our_cells_depend_on_all_that_fits_a_scorecard() -> None:
    found = imports_of("models.scorecard_fit", "models")
    assert {
        "models.scorecard_fit",
        "models.scorecard",
        "models.fit",
        "models.population",
        "models.monotone",
        "models.tables",
    } <= found
    assert not any(name.startswith(("models.web", "models.card")) for name in found)
    assert found - {"models.errors", "models.said", "models.i18n"} <= set(METHODS["scorecard"].modules)


def test_parts_of_the_benchmark_are_chosen_by_name() -> None:
    private = sum(method.private for method in METHODS.values())
    first = len(SETS) * 5 * (private * 9 + len(METHODS) - private)
    assert len(Scope().jobs()) == first + len(SETS) * 15 * 9 * len(DEEPER)
    assert len(Scope(only=("dp-ebm/gmsc-28k",)).jobs()) == 20 * 9
    assert len(Scope(only=("lightgbm/gmsc-28k",)).jobs()) == 5
    assert {job.dataset for job in Scope(only=("logistic", "scorecard/pakdd-2009")).jobs()} == set(SETS)
    with pytest.raises(SystemExit, match="methods are"):
        Scope(only=("dp-emb",))


def test_cells_that_are_there_are_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS, "small", replace(SMALL, rows=12_000))
    only = ("scorecard/small", "scorecard-exact/small")
    jobs = Scope(only=only, splits=(0,), more=(), noises=(0, 1), epsilons=(8.0,)).jobs()
    assert len(jobs) == 3
    quiet = Console(quiet=True)
    first = list(measure(jobs, CellStore(tmp_path), None, quiet))
    assert all(0.6 < each.figures["auc"] < 0.9 for each in first)

    def refuse(*_: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setitem(METHODS, "scorecard", replace(METHODS["scorecard"], fit=refuse))
    assert list(measure(jobs, CellStore(tmp_path), None, quiet)) == first
    monkeypatch.setattr(run, "code_of", lambda *_: "other code")
    with pytest.raises(AssertionError, match="fitted again"):
        list(measure(jobs, CellStore(tmp_path), None, quiet))


def test_a_split_holds_out_three_tenths_and_keeps_who_is_absent(split: Split) -> None:
    assert (len(split.train.outcomes), len(split.test.outcomes)) == (2_100, 900)
    absent = (split.train.codes["tax"] == 255).all(axis=1)
    assert 0 < absent.sum() < len(absent)
    widths = np.array([feature.width for feature in split.features])
    joined = split.joined(split.train)
    assert len(joined) == split.train.known.sum() < len(absent)
    tax = [feature.kind == "tax" for feature in split.features]
    assert (joined[absent[split.train.known]][:, tax] == widths[tax]).all()


def test_a_model_that_diverged_is_worth_a_coin(split: Split) -> None:
    nothing = np.full(int(split.test.known.sum()), np.nan)
    assert measured(split, Prediction(nothing, nothing))["auc"] == 0.5


def test_worlds_differ_by_seed_and_splits_of_one_world_do_not_exist() -> None:
    one, other = (SMALL.split("small", seed, None).train.frame for seed in (0, 1))
    assert not one.sort("average_balance").equals(other.sort("average_balance"))


def test_a_consortium_has_the_columns_of_all_kinds(split: Split) -> None:
    joined = one_kind(split.schema)
    assert joined.kinds_in_order() == ("bank",)
    assert [each.name for each in joined.all_features()] == [each.name for each in split.schema.all_features()]


def test_public_ranges_come_from_the_schema_alone() -> None:
    assert public_range((10.0, 20.0), (0.0, 100.0)) == (0.0, 100.0)
    assert public_range((10.0, 20.0, 50.0), None) == (0.0, 80.0)
    assert public_range((-0.3, 0.0, 0.5), None) == (-0.6, 1.0)


def test_our_table_has_the_noise_of_24_nodes_of_which_one_may_collude(split: Split) -> None:
    exact = from_codes(split.features, split.train.codes, split.train.outcomes)
    noise = calibrate_tables(len(split.features), 1.0, 1e-5)
    opened = ours.opened_table(split, 1.0, 1e-5, np.random.default_rng(5))
    drawn = np.concatenate([(opened.pairs[pair] - exact.pairs[pair]).ravel() for pair in exact.pairs])
    wanted = noise.sigma_pair * math.sqrt(24 / 23)
    # a chi-square interval that misses once in 10,000 draws
    low, high = stats.chi2.ppf([5e-5, 1 - 5e-5], len(drawn)) / len(drawn) * wanted**2
    assert low < drawn.var() < high
    assert opened.sigma_pair == noise.sigma_pair


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_bins_and_boosting_of_dp_ebm_compose_to_the_whole_budget(epsilon: float) -> None:
    setting = dp_ebm.Setting(bin_share=0.2)
    given = dp_ebm.outer_epsilon(setting, epsilon, 1e-5)
    parts = [gdp_budget(share * given, 5e-6) for share in (0.2, 0.8)]
    assert gdp_epsilon(math.hypot(*parts), 1e-5) == pytest.approx(epsilon, rel=1e-4)
    assert given > epsilon


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_dp_sgd_spends_its_budget(epsilon: float) -> None:
    steps = 40
    multiplier = math.sqrt(steps) / gdp_budget(epsilon, 1e-5)
    assert epsilon_of([GaussianRounds(multiplier, steps)], 1e-5) == pytest.approx(epsilon, rel=0.01)


def test_dp_sgd_clips_each_rows_gradient() -> None:
    draw = torch.Generator().manual_seed(1)
    rows = torch.rand(50, 12, generator=draw)
    bad = (torch.rand(50, generator=draw) < 0.3).float()
    setting = dp_sgd.Setting(hidden=4, clip=0.2, learning_rate=1.0, momentum=0.0)
    learner = dp_sgd.Learner(rows, bad, setting, 0.0, 1)
    before = learner.weights()
    learner.step()
    plain = torch.nn.Sequential(torch.nn.Linear(12, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    for own, given in zip(plain.parameters(), before, strict=True):
        own.data.copy_(given)
    total = [torch.zeros_like(each) for each in before]
    clipped = 0
    for row in range(50):
        plain.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        loss(plain(rows[row : row + 1]), bad[row : row + 1, None]).backward()
        gradients = [weight.grad for weight in plain.parameters() if weight.grad is not None]
        norm = math.sqrt(sum(float((each**2).sum()) for each in gradients))
        clipped += norm > 0.2
        for index, gradient in enumerate(gradients):
            total[index] += gradient * min(1.0, 0.2 / norm)
    assert clipped > 0
    for start, moved, sum_of in zip(before, learner.weights(), total, strict=True):
        torch.testing.assert_close(moved, start - sum_of / 50, rtol=1e-4, atol=1e-5)


def test_intervals_allow_for_rows_that_splits_share() -> None:
    gaps = [0.01, 0.02, 0.04]
    mine = {
        (split, noise): cell("scorecard", split, noise, 0.8 + gaps[split]) for split in range(3) for noise in (0, 1)
    }
    theirs = {(split, 0): cell("dp-ebm", split, 0, 0.8) for split in range(3)}
    shared, fresh = difference("gmsc-28k", mine, theirs), difference("lishui-28k", mine, theirs)
    assert shared is not None
    assert fresh is not None
    plain = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (fresh.low, fresh.high) == pytest.approx((plain.low, plain.high))
    factor = math.sqrt((1 / 3 + 0.3 / 0.7) / (1 / 3))
    assert shared.high - shared.mean == pytest.approx(factor * (fresh.high - fresh.mean))


def test_the_summary_sets_the_better_dp_ebm_against_ours_and_ignores_older_code() -> None:
    cells = [cell("scorecard", 0, 0, 0.5, code="old"), cell("scorecard", 1, 0, 0.86, code="new")]
    cells += [cell("dp-ebm", 1, 0, 0.85), cell("dp-ebm-defaults", 1, 0, 0.855), cell("lightgbm", 1, None, 0.87)]
    found = summary(cells, {"dp-ebm": {"pakdd-2009": {}}})["gmsc-28k"]
    assert found["methods"]["scorecard"]["at"]["1"]["auc"] == 0.86
    compared = found["differences"]["1"]["scorecard"]
    assert compared["dp_ebm"]["best"] == "dp-ebm-defaults"
    assert compared["dp_ebm"]["mean"] == pytest.approx(0.005)
    assert "dp_sgd" not in compared
    assert "local_fedavg" not in compared
    several = [cell("dp-sgd-linear", 1, 0, 0.84), cell("dp-sgd-mlp", 1, 0, 0.83), cell("local-fedavg", 1, 0, 0.8)]
    both = summary([*cells, *several], {})["gmsc-28k"]["differences"]["1"]["scorecard"]
    assert (both["dp_sgd"]["best"], both["dp_sgd"]["mean"]) == ("dp-sgd-linear", pytest.approx(0.02))
    assert both["local_fedavg"]["mean"] == pytest.approx(0.06)
    assert compared["lightgbm"]["gini_ratio"] == pytest.approx(0.72 / 0.74, abs=1e-4)
    assert found["tuned"] == {}
    untuned = [each for each in cells if each.method != "dp-ebm"]
    assert "dp_ebm" not in summary(untuned, {})["gmsc-28k"]["differences"]["1"]["scorecard"]


def test_more_splits_enter_their_own_difference_alone() -> None:
    cells = [cell("scorecard", split, 0, 0.86 + 0.01 * (split > 4)) for split in (3, 4, 5, 6)]
    cells += [cell(name, split, 0, 0.85) for split in (3, 4, 5, 6) for name in ("dp-ebm", "dp-ebm-defaults")]
    cells += [cell("lightgbm", split, None, 0.87) for split in (3, 4)]
    found = summary(cells, {})["gmsc-28k"]
    assert found["methods"]["scorecard"]["at"]["1"]["auc"] == pytest.approx(0.86)
    first, whole = found["differences"]["1"]["scorecard"]["dp_ebm"], found["all_splits"]["1"]
    assert (first["splits"], first["mean"]) == (2, pytest.approx(0.01))
    assert (whole["splits"], whole["mean"]) == (4, pytest.approx(0.015))


def test_the_page_shows_what_was_measured() -> None:
    cells = [cell("scorecard", split, 0, 0.86 + split / 1000) for split in (0, 1)]
    cells += [cell("dp-ebm", split, 0, 0.85) for split in (0, 1)]
    cells += [cell("dp-ebm-defaults", split, 0, 0.84) for split in (0, 1)]
    cells += [cell("lightgbm", 0, None, 0.87)]
    tuned = {"setting": dp_ebm.Setting().plain(), "auc": 0.85, "tried": 3}
    grid = {"first": GRIDS["dp-ebm"].first, "then": GRIDS["dp-ebm"].then}
    accuracy = summary(cells, {"dp-ebm": {"gmsc-28k": {"1": {**tuned, "grid": grid}}}})
    report = {"date": "2026-01-01", "machine": machine.described(), "accuracy": accuracy}
    text = page.rendered({**report, "rows": [["speed", "ratio", "3", "2026-01-01"]]})
    assert "| digua, scorecard from noisy tables | .8605 |  |" in text
    assert "| scorecard − DP-EBM's best | +.0105 [" in text
    assert "| the same over more splits | +.0105 [" in text
    assert "learning_rate 0.01, 0.03, 0.1" in text
    assert "| speed | ratio | 3 | 2026-01-01 |" in text
    assert machine.described()["processor"] in text


def test_grids_move_one_value_from_the_best() -> None:
    grid = Grid({"steps": [10, 20], "clip": [0.5]}, {"×steps": [0.5, 2.0], "clip": [0.5, 1.0]})
    assert grid.start() == [{"steps": 10, "clip": 0.5}, {"steps": 20, "clip": 0.5}]
    near = list(grid.around({"steps": 10, "clip": 0.5}))
    assert near == [{"steps": 5, "clip": 0.5}, {"steps": 20, "clip": 0.5}, {"steps": 10, "clip": 1.0}]
    assert isinstance(near[0]["steps"], int)


def test_tuning_finds_the_best_on_splits_of_its_own_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid({"quality": [0.1, 0.2, 0.3, 0.4]}, {"×quality": [2.0]})
    fitted: list[tuple[float, int]] = []

    def fit(split: Split, task: Task) -> Prediction:
        quality = (task.setting or {})["quality"]
        fitted.append((quality, split.seed))
        bad = split.test.bad.astype(np.float64)
        # the best is 0.8, twice what the first grid has
        noise = np.random.default_rng(split.seed).normal(0, 0.1 + abs(quality - 0.8), len(bad))
        return Prediction.of_pd(np.clip(0.5 + (bad - 0.5) * 0.1 + noise * 0.05, 0, 1))

    monkeypatch.setattr(tuning, "TUNED", tmp_path / "tuned.json")
    monkeypatch.setattr(tuning, "TRIED", tmp_path / "tried")
    monkeypatch.setitem(SETS, "small", SMALL)
    monkeypatch.setitem(GRIDS, "graded", grid)
    monkeypatch.setitem(METHODS, "graded", Method("Graded", "private", fit, (), (), {"quality": 0.1}))
    said: list[str] = []
    for _ in range(2):
        tuning.tune([("graded", "small", 1.0), ("scorecard", "small", 1.0)], None, said.append)
    assert tuning.tuned_setting("graded", "small", 1.0) == {"quality": 0.8}
    assert tuning.tuned_setting("graded", "small", 3.0) == {"quality": 0.1}
    assert {seed for _, seed in fitted} == {100, 101, 102, 103, 104, 105}
    assert len(fitted) == len(set(fitted)) == 4 * 2 + 4 + 6 + 2
    assert len(said) == 2
    monkeypatch.setitem(GRIDS, "graded", replace(grid, then={"×quality": [2.0, 1.5]}))
    tuning.tune([("graded", "small", 1.0)], None, said.append)
    assert len(fitted) == len(set(fitted)) == 4 * 2 + 4 + 6 + 2 + 6 + 2, "only what the grid has more is fitted"
    assert tuning.read_tuned()["graded"]["small"]["1"]["grid"]["then"] == {"×quality": [2.0, 1.5]}


def test_budgets_share_a_first_grid_and_bad_moves_are_left_after_two_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: set[tuple[float, float, int]] = set()

    def fit(split: Split, task: Task) -> Prediction:
        quality = (task.setting or {})["quality"]
        fitted.add((task.private[0], quality, split.seed))
        bad = split.test.bad.astype(np.float64)
        # the best is 0.4 at ε = 3 and 0.8 elsewhere
        blur = 0.1 + abs(quality - (0.4 if task.epsilon == 3.0 else 0.8))
        return Prediction.of_pd(
            0.5 + 0.1 * (bad - 0.5) + 0.05 * np.random.default_rng(split.seed).normal(0, blur, len(bad))
        )

    monkeypatch.setattr(tuning, "TUNED", tmp_path / "tuned.json")
    monkeypatch.setattr(tuning, "TRIED", tmp_path / "tried")
    monkeypatch.setitem(SETS, "small", SMALL)
    monkeypatch.setitem(GRIDS, "graded", Grid({"quality": [0.1, 0.4]}, {"×quality": [0.25, 2.0]}, shared=True))
    monkeypatch.setitem(METHODS, "graded", Method("Graded", "private", fit, (), (), {"quality": 0.1}))
    tuning.tune([("graded", "small", 1.0), ("graded", "small", 3.0)], None, lambda _: None)
    assert tuning.tuned_setting("graded", "small", 1.0) == {"quality": 0.8}
    assert tuning.tuned_setting("graded", "small", 3.0) == {"quality": 0.4}
    qualities = {epsilon: {quality for e, quality, _ in fitted if e == epsilon} for epsilon in (1.0, 3.0)}
    assert qualities == {1.0: {0.4, 0.1, 0.8, 0.2, 1.6}, 3.0: {0.1, 0.4, 0.8}}
    assert {seed for epsilon, quality, seed in fitted if (epsilon, quality) == (1.0, 0.1)} == {100, 101}
    assert {seed for epsilon, quality, seed in fitted if (epsilon, quality) == (1.0, 0.8)} == {100, 101, 102, 103}
    assert tuning.read_tuned()["graded"]["small"]["1"]["tried"] == len(qualities[1.0]) + len(qualities[3.0])


def test_every_set_is_described() -> None:
    assert all(isinstance(each, DataSet) and each.schema.all_features() for each in SETS.values())
    assert set(GRIDS) <= set(METHODS)
