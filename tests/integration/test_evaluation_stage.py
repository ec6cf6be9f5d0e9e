"""The evaluation stage over Flower in one process: exact counts, noise, charges, losses, and what attacks get."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crypto.canonical import canonical_bytes
from crypto.errors import AttemptError, CryptoError, ExchangeError, ManifestError
from crypto.histogram import terms_histogram
from crypto.parcel import Parcel, as_array
from crypto.wire.link import ReleaseProposal
from hub.campaign_errors import CampaignError, QuorumError
from hub.campaign_plan import CampaignPlan, ReleasedTable
from hub.encoder_model import encoder_logits_of
from hub.evaluation_stage import EvaluationTask, run_evaluation_stage
from hub.evaluation_terms import evaluation_attempt_terms
from hub.grids.channel import Channel
from hub.manifests import build_manifest
from hub.scorecard_model import make_scorecard
from hub.server_app import CampaignResult
from hub.simulation import Budget
from models.artefact import ModelArtefact
from models.encoder_spec import spec_for
from nodes import evaluation_stage, table_stage, witness_stage
from nodes.encoder_models import ReleasedEncoder, score_of_probability
from nodes.errors import PolicyRefusal
from tests.assessments import assessed
from tests.federation import World, held_out, lose, make_world
from tests.noise_size import has_size

EDGES = (560, 590, 620, 650)


@dataclass
class Ready:
    """A world with a model, and what its evaluation is told."""

    world: World
    plan: CampaignPlan
    result: CampaignResult
    artefact: ModelArtefact
    task: EvaluationTask

    def run(self, wait_for: Callable[[Collection[str]], None] = lambda _: None) -> ReleasedTable:
        federation = self.world.federation
        channel = Channel(federation.grid, federation.node_ids, 30.0, wait_for)
        return run_evaluation_stage(channel, self.plan, self.task, self.world.events.append, Stored())

    def eligible(self, lost: set[str] = frozenset()) -> NDArray[np.bool_]:  # type: ignore[assignment]
        """Held out, with two sources besides the bank, none of them lost."""
        world = self.world
        sources = world.federation._sources
        order = [world.federation._pseudonyms.tobytes()[32 * i : 32 * i + 32] for i in range(len(world.pseudonyms))]
        place = {name: index for index, name in enumerate(order)}
        rows = np.array([place[row.tobytes()] for row in world.pseudonyms])
        kept = held_out(world)
        others = np.zeros(len(kept), dtype=int)
        for kind, held in sources.items():
            named = np.array([*held.parties, ""], dtype=object)[held.holders[rows]]
            kept &= ~np.isin(named, list(lost))
            others += (named != "") & (kind != "bank")
        return kept & (others >= 2)

    def exact(self, lost: set[str] = frozenset()) -> NDArray[np.int64]:  # type: ignore[assignment]
        """The histogram of the joined rows."""
        world, kept = self.world, self.eligible(lost)
        scores = self.artefact.card().score({kind: codes[kept] for kind, codes in world.codes.items()})
        bands = np.searchsorted(self.task.edges, scores)
        names = [feature.name for feature in world.federation.schema.features("bank")]
        groups = [world.codes["bank"][kept][:, names.index(name)] for name in self.plan.parity]
        layout = terms_histogram(self.terms())
        return layout.count(bands, world.outcome[kept], groups)

    def terms(self, number: int = 1, **changes: Any) -> Any:
        cohort = self.task.form(())
        honest = evaluation_attempt_terms(
            self.plan,
            cohort,
            f"c1/evaluation/{number}",
            model_id=self.task.model_id,
            edges=self.task.edges,
            trained=self.task.trained,
        )
        return type(honest).model_validate(honest.model_dump() | changes)


class Stored:
    """Keeps what a hub would log."""

    def __init__(self) -> None:
        self.passed: dict[str, Any] = {}

    def points_passed(self, terms: Any, boxes: Any) -> None:
        self.passed = dict(boxes)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def ready(path: Path, *, noisy: bool = False, parity: tuple[str, ...] = ("b2",), **world: Any) -> Ready:
    made = make_world(path, **{"merchants": 2500 if noisy else 600, "absent": 0.2, "noise_off": not noisy} | world)
    changes: dict[str, Any] = {"stages": ("scorecard", "evaluation"), "parity": parity, "bands": len(EDGES) + 1}
    plan = made.noisy_plan(**changes) if noisy else made.plan(**changes)
    result = made.federation.train(plan, made.events.append)
    _, artefact = make_scorecard(result.table(), plan.clock())
    task = made.federation.evaluation_task(plan, result, artefact, EDGES)
    return Ready(made, plan, result, artefact, task)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("nodes", [{"bank": 3, "tax": 2, "utility": 2}, {"bank": 1, "tax": 3, "utility": 2}])
def test_without_noise_it_is_the_joined_rows_histogram(tmp_path: Path, seed: int, nodes: dict[str, int]) -> None:
    made = ready(tmp_path, seed=seed, nodes=nodes, parity=("b2", "b1"))
    opened = made.run()
    assert np.array_equal(opened.counts, made.exact())
    whole, parts = terms_histogram(opened.terms).split(opened.counts)
    assert 0 < whole.sum() < held_out(made.world).sum()
    assert all(np.array_equal(part.sum(axis=2), whole) for part in parts)


def test_noise_has_the_promised_size_and_a_campaign_costs_what_its_dearer_part_does(tmp_path: Path) -> None:
    made = ready(tmp_path, noisy=True, budget=Budget(3.0, 1e-5))
    before = {party: spent.epsilon for party, spent in made.world.federation.spent().items()}
    opened = made.run()
    terms = opened.terms
    assert terms.evaluation is not None
    n, t = len(terms.roster), terms.privacy.t_collude
    error = opened.counts - made.exact()
    assert has_size(error, terms.evaluation.sigma * np.sqrt(n / (n - t)))
    for party, spent in made.world.federation.spent().items():
        assert spent.epsilon == before[party] <= 3.0, party
    assert len(made.world.federation.contexts["tax-1"].ledger.charges()) == 2
    assert made.world.federation.witness_context.ledger.spent().epsilon <= 3.0


@pytest.mark.parametrize("step", ["train.admit", "train.points", "train.count"])
def test_a_lost_source_takes_its_merchants_along(tmp_path: Path, step: str) -> None:
    made = ready(tmp_path, noisy=step == "train.count")
    made.world.disturb(before=lose("tax-1", step))
    opened = made.run()
    assert (opened.attempts, set(opened.lost)) == (2, {"tax-1"})
    if made.plan.noise == "off":
        assert np.array_equal(opened.counts, made.exact({"tax-1"}))
    charges = made.world.federation.contexts["bank-1"].ledger.charges()
    standing = [each for each in charges if not each.refunded and "/evaluation/" in each.attempt]
    assert [each.attempt for each in standing] == ["c1/evaluation/2"]


@pytest.mark.parametrize("step", ["train.admit", "train.points"])
def test_a_source_that_the_quorum_needs_is_waited_for_and_asked_again(tmp_path: Path, step: str) -> None:
    made = ready(tmp_path, nodes={"bank": 2, "tax": 2, "utility": 1})
    away: set[str] = set()
    waited: list[tuple[str, ...]] = []

    def hook(party: str, what: str, parcel: Parcel) -> Parcel | None:
        if (party, what) == ("utility-1", step) and not waited:
            away.add(party)
        return None if party in away else parcel

    def wait_for(parties: Collection[str]) -> None:
        waited.append(tuple(parties))
        away.clear()

    made.world.disturb(before=hook)
    opened = made.run(wait_for)
    assert waited == [("utility-1",)]
    assert (opened.attempts, dict(opened.lost)) == (2, {})
    assert np.array_equal(opened.counts, made.exact())


def test_a_source_that_stays_away_is_waited_for_once(tmp_path: Path) -> None:
    made, waited = ready(tmp_path, nodes={"bank": 2, "tax": 2, "utility": 1}), []
    made.world.disturb(before=lose("utility-1", "train.admit"))
    with pytest.raises(QuorumError, match="utility-1: no reply in time"):
        made.run(waited.append)
    assert waited == [["utility-1"]]


def test_nobody_who_may_be_scored_is_a_refusal_by_name(tmp_path: Path) -> None:
    made = ready(tmp_path, absent=0.2)
    alone = make_world(tmp_path / "alone", merchants=200, absent=1.0)
    task = EvaluationTask(
        made.task.model,
        made.task.release,
        made.task.trained,
        EDGES,
        lambda lost: alone.federation.cohort().without({"bank-1", "bank-2", "bank-3"}),
    )
    with pytest.raises(QuorumError):
        Ready(made.world, made.plan, made.result, made.artefact, task).run()


def test_an_encoder_is_scored_and_counted_by_the_banks_alone(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=500)
    plan = world.plan(stages=("encoder", "evaluation"), parity=("b2",), bands=5)
    spec = spec_for(world.federation.schema, "bank", rounds=3)
    result = world.federation.train(plan, world.events.append, spec=spec)
    assert result.encoder is not None
    artefact = result.encoder.artefact
    task = world.federation.evaluation_task(plan, result, artefact, EDGES)
    opened = Ready(world, plan, result, artefact, task).run()
    held = held_out(world)
    pds = ReleasedEncoder.of(artefact).default_probability(world.codes["bank"][held])
    scores = np.array([score_of_probability(float(pd)) for pd in pds])
    layout = terms_histogram(opened.terms)
    expected = layout.count(np.searchsorted(EDGES, scores), world.outcome[held], [world.codes["bank"][held][:, 1]])
    assert {entry.kind for entry in opened.terms.roster} == {"bank"}
    assert np.array_equal(opened.counts, expected)
    assert len(encoder_logits_of(artefact, world.codes["bank"][held])) == held.sum()


def test_a_scorecard_that_uses_an_encoder_is_evaluated_with_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, merchants=900, absent=0.1)
    plan = world.plan(stages=("encoder", "scorecard", "evaluation"), bands=5)
    spec = spec_for(world.federation.schema, "bank", rounds=3)
    result = world.federation.train(plan, world.events.append, spec=spec)
    _, artefact = make_scorecard(result.table(), plan.clock())
    found = world.federation.evaluate(plan, result, artefact, world.events.append)
    assert found.model_id == artefact.model_id
    assert 0.5 < found.auc.value <= 1.0


def test_a_model_is_released_only_after_the_evaluation_that_its_terms_promise(tmp_path: Path) -> None:
    made = ready(tmp_path)
    table = made.result.table()
    proposal = canonical_bytes(
        ReleaseProposal(
            artefact=made.task.model.decode(),
            attempt=table.terms.attempt,
            scope="release",
            shares=dict(table.shares),
            assessment=assessed(table.terms.campaign_id),
        )
    )
    with pytest.raises(PolicyRefusal) as refused:
        made.world.federation.desk.release(proposal)
    assert refused.value.reason == "evaluation-missing"
    made.run()
    assert made.world.federation.desk.release(proposal)


def test_a_released_stage_is_not_run_again_in_its_campaign(tmp_path: Path) -> None:
    made = ready(tmp_path)
    made.run()
    made.plan = type(made.plan)(**{**vars(made.plan), "attempts_before": {"evaluation": 1}})
    with pytest.raises(CampaignError, match="was released in attempt c1/evaluation/1"):
        made.run()


class Driven:
    """One evaluation attempt by hand."""

    def __init__(self, made: Ready, number: int = 1, **changes: Any) -> None:
        self.made, self.federation = made, made.world.federation
        cohort = changes.pop("cohort", None) or made.task.form(())
        self.manifest = build_manifest(made.terms(number, **changes), cohort, made.plan)
        self.attempt = self.manifest.terms.attempt
        self.parties = [entry.party_id for entry in self.manifest.terms.roster]

    def cosign(self) -> Driven:
        reply = witness_stage.cosign(self.federation.witness_context, self.manifest.for_witness())
        self.cosignature = reply.text("cosignature")
        return self

    def admit(self, party: str, *, model: bytes | None = None, release: str | None = None) -> str:
        own = self.manifest.for_node(self.parties.index(party), self.cosignature)
        texts = {**own.texts, "model_release": release or self.made.task.release}
        arrays = {**own.arrays, "model": as_array(model or self.made.task.model)}
        return evaluation_stage.accept(self.federation.contexts[party], Parcel(texts, arrays)).text("acceptance")

    def admit_all(self) -> Driven:
        self.acceptances = " ".join(self.admit(party) for party in self.parties)
        return self

    def asked(self) -> Parcel:
        return Parcel({"attempt": self.attempt, "acceptances": self.acceptances})

    def points(self, party: str) -> Parcel:
        return evaluation_stage.points(self.federation.contexts[party], self.asked())

    def inbox(self, bank: str) -> dict[str, NDArray[np.uint8]]:
        boxes = {party: self.points(party) for party in self.parties if not party.startswith("bank")}
        return {f"from.{p}": r.arrays[f"to.{bank}"] for p, r in boxes.items() if f"to.{bank}" in r.arrays}

    def count(self, party: str, inbox: dict[str, NDArray[np.uint8]] | None = None) -> Parcel:
        return evaluation_stage.count(self.federation.contexts[party], Parcel(self.asked().texts, inbox or {}))


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    return Driven(ready(tmp_path)).cosign().admit_all()


def test_asked_again_a_source_sends_the_same_bytes(driven: Driven) -> None:
    first, again = driven.points("tax-1"), driven.points("tax-1")
    assert first.arrays.keys() == again.arrays.keys()
    assert all(np.array_equal(first.arrays[name], again.arrays[name]) for name in first.arrays)


def test_a_boxs_size_depends_on_its_positions_alone(driven: Driven) -> None:
    """Two merchants more are ten bytes more, whatever their points (numbers of the header apart)."""
    sizes = {len(box) for box in driven.points("tax-1").arrays.values()}
    other = {len(box) for box in driven.points("tax-2").arrays.values()}
    assert sizes
    assert other
    assert all(size > 48 for size in sizes | other)


@pytest.mark.parametrize("change", ["kept back", "altered", "superfluous", "of another bank"])
def test_boxes_that_are_not_exactly_due_are_refused(driven: Driven, change: str) -> None:
    inbox = driven.inbox("bank-1")
    if change == "kept back":
        del inbox["from.tax-1"]
    elif change == "altered":
        inbox["from.tax-1"] = inbox["from.tax-1"].copy()
        inbox["from.tax-1"][60] ^= 1
    elif change == "superfluous":
        inbox["from.bank-2"] = inbox["from.tax-1"]
    else:
        inbox["from.tax-1"] = driven.inbox("bank-2")["from.tax-1"]
    with pytest.raises(ExchangeError):
        driven.count("bank-1", inbox)
    assert not [each for each in driven.federation.contexts["bank-1"].ledger.charges() if "evaluation" in each.attempt]


def test_boxes_of_an_earlier_attempt_do_not_open(driven: Driven) -> None:
    old = driven.inbox("bank-1")
    later = Driven(driven.made, 2).cosign().admit_all()
    with pytest.raises(ExchangeError):
        later.count("bank-1", old)


def test_what_a_bank_opens_are_masked_words_whose_sum_alone_is_points(
    driven: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[NDArray[np.uint32]] = []
    honest = evaluation_stage.open_sealed_points

    def spy(*given: Any) -> Any:
        words, marks = honest(*given)
        seen.append(words)
        return words, marks

    monkeypatch.setattr(evaluation_stage, "open_sealed_points", spy)
    driven.count("bank-1", driven.inbox("bank-1"))
    words = np.concatenate(seen)
    # A point is at most 2^20; a uniform word is so small once in 2048.
    assert len(words) > 60
    assert np.mean((words.astype(np.int32) < 1 << 20) & (words.astype(np.int32) > -(1 << 20))) < 0.05


def test_merchants_in_training_are_refused_by_witness_and_node(tmp_path: Path) -> None:
    made = ready(tmp_path)
    cohort = made.plan.cohort.training(made.plan.holdout_salt, made.plan.holdout_fraction)
    numbers = {
        "cohort_size": cohort.size,
        "kinds": [each.model_dump() | {"members": cohort.members()[each.kind]} for each in made.task.trained.kinds],
        "pairs": [
            {"first": first, "second": second, "members": members}
            for (first, second), members in cohort.pairs().items()
        ],
    }
    attempt = Driven(made, cohort=cohort, **numbers)
    with pytest.raises(ManifestError, match="trained on"):
        attempt.cosign()


def test_a_model_without_the_witnesss_release_is_refused(driven: Driven) -> None:
    other = make_scorecard(driven.made.result.table(), driven.made.plan.clock().replace(year=2030))[1].to_bytes()
    later = Driven(driven.made, 2).cosign()
    with pytest.raises(ManifestError):
        later.admit("tax-1", model=other)
    evaluation = later.manifest.terms.evaluation
    assert evaluation is not None
    wrong = Driven(driven.made, 3, evaluation=evaluation.model_dump() | {"model_id": "sha256:" + "1" * 64}).cosign()
    with pytest.raises(PolicyRefusal) as refused:
        wrong.admit("tax-1")
    assert refused.value.reason == "model-not-released"


def test_a_stages_terms_come_with_its_own_message(driven: Driven) -> None:
    parcel = driven.manifest.for_node(0, driven.cosignature)
    later = Driven(driven.made, 2).cosign()
    parcel = later.manifest.for_node(later.parties.index("tax-1"), later.cosignature)
    with pytest.raises(CryptoError):
        table_stage.accept(driven.federation.contexts["tax-1"], parcel)


def test_a_count_without_points_or_twice(driven: Driven) -> None:
    with pytest.raises(AttemptError):
        driven.count("tax-1")
    driven.points("tax-1")
    first, again = driven.count("tax-1"), driven.count("tax-1")
    assert np.array_equal(first.arrays["term"], again.arrays["term"])
    with pytest.raises(AttemptError):
        driven.points("tax-1")
    charges = [each for each in driven.federation.contexts["tax-1"].ledger.charges() if "evaluation" in each.attempt]
    assert len(charges) == 1


def test_terms_that_understate_the_histograms_cost_are_refused(tmp_path: Path) -> None:
    made = ready(tmp_path, noisy=True)
    evaluation = made.terms().evaluation
    with pytest.raises(Exception, match="mechanisms of the terms are not those of their histogram"):
        Driven(made, evaluation=evaluation.model_dump() | {"sigma": evaluation.sigma / 2}).cosign()
    with pytest.raises(Exception, match="no feature of bank"):
        Driven(made, evaluation=evaluation.model_dump() | {"parity": [{"feature": "t1", "groups": 4}]}).cosign()
