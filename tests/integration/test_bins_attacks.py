"""What a lying hub, or a curious one, gets out of a bins stage: typed refusals, the same bytes, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crypto.canonical import digest
from crypto.errors import AttemptError, CryptoError, ExchangeError, ManifestError, SignatureError
from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.parcel import Parcel
from crypto.wire.bins import BinsRelease
from crypto.wire.campaign import Decision, Terms
from hub.bins_terms import bins_attempt_terms
from hub.campaign_plan import CampaignPlan, SettledBins
from hub.manifests import Manifest, build_manifest, table_terms
from hub.simulation import WITNESS_ID, Budget
from models.errors import BudgetError
from models.quantile_bins import with_bins
from nodes import bins_stage, table_stage, witness_bins, witness_stage
from nodes.errors import BudgetExceeded, PolicyRefusal
from tests.bins_world import bins_of, open_world
from tests.federation import Drive, World


class Driven:
    """One bins attempt by hand."""

    def __init__(self, world: World, plan: CampaignPlan, number: int = 1, **changes: Any) -> None:
        self.world, self.plan = world, plan
        cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
        honest = bins_attempt_terms(plan, cohort, f"c1/bins/{number}")
        terms = Terms.model_validate(honest.model_dump() | changes)
        self.manifest: Manifest = build_manifest(terms, cohort, plan)
        self.attempt = terms.attempt
        self.parties = [entry.party_id for entry in terms.roster]

    def cosign(self) -> Driven:
        reply = witness_stage.cosign(self.world.federation.witness_context, self.manifest.for_witness())
        self.cosignature = reply.text("cosignature")
        return self

    def enter(self, party: str) -> str:
        own = self.manifest.for_node(self.parties.index(party), self.cosignature)
        return bins_stage.accept(self.world.federation.contexts[party], own).text("acceptance")

    def enter_all(self) -> Driven:
        self.acceptances = " ".join(self.enter(party) for party in self.parties)
        return self

    def tally(self, party: str, acceptances: str | None = None) -> Parcel:
        texts = {"attempt": self.attempt, "acceptances": acceptances or self.acceptances}
        return bins_stage.tally(self.world.federation.contexts[party], Parcel(texts))

    def charged(self, party: str) -> list[str]:
        return [each.attempt for each in self.world.federation.contexts[party].ledger.charges() if not each.refunded]


@pytest.fixture
def noisy(tmp_path: Path) -> Iterator[Driven]:
    world = open_world(tmp_path, merchants=200, budget=Budget(3.0, 1e-5), noise_off=False)
    yield Driven(world, world.noisy_plan(3.0))
    world.federation.close()


@pytest.fixture
def after(tmp_path: Path) -> Iterator[tuple[World, CampaignPlan]]:
    """A world whose bins stage is over, and the plan as its scorecard stage has it."""
    world = open_world(tmp_path, merchants=200)
    plan = world.plan()
    result = world.federation.train(replace(plan, campaign_id="c1"), world.events.append)
    opened = bins_of(result)
    reply = witness_bins.settle(world.federation.witness_context, shares_of(opened))
    terms = result.table().terms
    schema = world.federation.schema.from_json(terms.schema_document)
    counts = opened.counts.astype(np.int64)
    bins = SettledBins(opened.terms.attempt, schema, reply.text("bins_release"), counts)
    yield world, replace(plan, schema=schema, bins=bins)
    world.federation.close()


def shares_of(opened: Any) -> Parcel:
    shares = {f"share.{party}": np.frombuffer(data, dtype=np.uint8) for party, data in opened.shares.items()}
    return Parcel({"attempt": opened.terms.attempt}, shares)


def test_terms_that_understate_what_the_trees_cost_are_refused(noisy: Driven) -> None:
    terms = noisy.manifest.terms
    assert terms.bins is not None
    bins, privacy = terms.bins.model_dump(), terms.privacy.model_dump()
    for changes, words in (
        ({"bins": bins | {"sigma": terms.bins.sigma / 2}}, "not those of their trees"),
        ({"bins": bins | {"sigma": 0.0}}, "trees without it"),
        ({"privacy": privacy | {"mechanisms": privacy["mechanisms"][1:]}}, "not those of their trees"),
        ({"privacy": privacy | {"epsilon": 1.0}}, "mechanisms cost epsilon"),
        ({"privacy": privacy | {"delta_sum": 0.0}}, "set aside delta"),
    ):
        with pytest.raises(BudgetError, match=words):
            Driven(noisy.world, noisy.plan, **changes).cosign()


def test_trees_that_are_not_the_schemas_are_refused(noisy: Driven) -> None:
    terms = noisy.manifest.terms
    assert terms.bins is not None
    bins = terms.bins.model_dump()
    finer = [tree | {"nodes": tree["nodes"] + 7} for tree in bins["trees"]]
    fewer_levels = [tree | {"levels": 1} for tree in bins["trees"]]
    for trees in (finer, fewer_levels, bins["trees"][:1]):
        with pytest.raises(ManifestError, match="trees of counts are not those"):
            Driven(noisy.world, noisy.plan, bins=bins | {"trees": trees}).cosign()
    for changes in ({"bins": None}, {"bins_attempt": "c1/bins/1"}):
        with pytest.raises(CryptoError):
            Driven(noisy.world, noisy.plan, **changes).cosign()


def test_a_nodes_own_budget_holds_for_bins_and_tables_together(noisy: Driven) -> None:
    contexts = noisy.world.federation.contexts
    noisy.cosign()
    contexts["tax-1"].ledger.epsilon = 2.9
    with pytest.raises(BudgetExceeded):
        noisy.enter("tax-1")
    assert noisy.enter("tax-2")


def test_asked_again_a_node_sends_the_same_bytes_and_is_charged_once(noisy: Driven) -> None:
    noisy.cosign().enter_all()
    assert noisy.enter("tax-1") == noisy.acceptances.split()[noisy.parties.index("tax-1")]
    first, again = noisy.tally("tax-1"), noisy.tally("tax-1")
    assert np.array_equal(first.arrays["term"], again.arrays["term"])
    assert first.text("receipt") == again.text("receipt")
    assert noisy.charged("tax-1") == ["c1/bins/1"]
    with pytest.raises(AttemptError):
        noisy.enter("tax-1")


def test_a_node_killed_between_its_ledger_and_its_state_repeats_what_it_recorded(
    noisy: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy.cosign().enter_all()
    attempts = noisy.world.federation.contexts["tax-1"].attempts
    kept = type(attempts).save

    def die(self: Any, state: Any, **blobs: Any) -> None:
        if state.sent is not None:
            raise KeyboardInterrupt
        kept(self, state, **blobs)

    with monkeypatch.context() as patch:
        patch.setattr(type(attempts), "save", die)
        with pytest.raises(KeyboardInterrupt):
            noisy.tally("tax-1")
    recorded = noisy.world.federation.contexts["tax-1"].ledger.charges()[-1]
    term = noisy.tally("tax-1").arrays["term"]
    assert digest(term.astype("<u4").tobytes()) == recorded.sha256
    assert noisy.charged("tax-1") == ["c1/bins/1"]


def test_one_nodes_term_is_masked(noisy: Driven) -> None:
    noisy.cosign().enter_all()
    term = noisy.tally("tax-1").arrays["term"]
    assert term.dtype == np.uint32
    # counts and noise are below 2^20; a uniform word is so small once in 2048
    assert np.mean((term.astype(np.int32) < 1 << 20) & (term.astype(np.int32) > -(1 << 20))) < 0.05


def test_acceptances_of_others_or_of_another_key_are_refused(noisy: Driven) -> None:
    noisy.cosign().enter_all()
    with pytest.raises(ManifestError):
        noisy.tally("tax-1", " ".join(noisy.acceptances.split()[1:]))
    with pytest.raises(CryptoError):
        noisy.tally("tax-1", " ".join(reversed(noisy.acceptances.split())))
    assert noisy.charged("tax-1") == []


def test_a_void_takes_the_charge_back_and_a_second_attempt_has_other_noise(noisy: Driven) -> None:
    noisy.cosign().enter_all()
    first = noisy.tally("tax-1").arrays["term"]
    witness = noisy.world.federation.witness_context
    void = witness_stage.abort(witness, Parcel({"attempt": noisy.attempt})).text("decision")
    table_stage.outcome(noisy.world.federation.contexts["tax-1"], Parcel({"decision": void}))
    assert noisy.charged("tax-1") == []
    later = Driven(noisy.world, noisy.plan, 2).cosign().enter_all()
    assert not np.array_equal(first, later.tally("tax-1").arrays["term"])
    with pytest.raises(AttemptError):
        witness_bins.settle(witness, Parcel({"attempt": noisy.attempt}))


def test_another_stages_message_is_refused(noisy: Driven) -> None:
    noisy.cosign()
    own = noisy.manifest.for_node(noisy.parties.index("tax-1"), noisy.cosignature)
    with pytest.raises(ManifestError, match="another message"):
        table_stage.accept(noisy.world.federation.contexts["tax-1"], own)
    noisy.enter_all()
    with pytest.raises(AttemptError):
        table_stage.share(noisy.world.federation.contexts["tax-1"], Parcel({"attempt": noisy.attempt, "block": "0"}))


def test_the_witness_makes_bins_of_what_was_released_and_of_nothing_else(
    after: tuple[World, CampaignPlan], tmp_path: Path
) -> None:
    world, plan = after
    witness = world.federation.witness_context
    with pytest.raises(AttemptError, match="was not cosigned here"):
        witness_bins.settle(witness, Parcel({"attempt": "c9/bins/1"}))
    with pytest.raises(AttemptError, match="not those that its receipts name"):
        witness_bins.settle(witness, Parcel({"attempt": "c1/bins/1"}, {"share.tax-1": np.zeros(40, np.uint8)}))
    with pytest.raises(AttemptError, match="not those that its receipts name"):
        witness_bins.settle(witness, Parcel({"attempt": "c1/scorecard/1"}))
    assert plan.bins is not None


def scorecard(world: World, plan: CampaignPlan, **terms: Any) -> Drive:
    return Drive.start(world, replace(plan, campaign_id="c1"), number=7, **terms)


def refused_by_both(world: World, plan: CampaignPlan, error: type[Exception], words: str, **terms: Any) -> None:
    """A lying hub's terms of a later stage: by the witness, and, were it fooled, by every node."""
    drive = scorecard(world, plan, **terms)
    with pytest.raises(error, match=words):
        drive.cosign()
    drive.forge_cosignature()
    for party in ("bank-1", "tax-1", "utility-1"):
        with pytest.raises(error, match=words):
            drive.accept(party)


def test_bins_of_the_hubs_own_choice_are_refused_by_witness_and_nodes(after: tuple[World, CampaignPlan]) -> None:
    world, plan = after
    assert plan.bins is not None
    own = with_bins(world.federation.schema, {"b2": (3.0, 7.0, 90.0), "t1": (10.0, 100.0)})
    chosen = replace(plan, schema=own, bins=replace(plan.bins, schema=own))
    refused_by_both(world, chosen, PolicyRefusal, "without the witness's release of their bins")
    other = replace(plan, bins=replace(plan.bins, counts=plan.bins.counts + 1))
    refused_by_both(world, other, ManifestError, "not those that the witness released bins from")


def test_a_release_that_another_signed_or_of_another_campaign_is_refused(after: tuple[World, CampaignPlan]) -> None:
    world, plan = after
    assert plan.bins is not None
    key = world.federation.identity_of(WITNESS_ID)
    named: dict[str, Any] = {
        "suite": "digua-1",
        "campaign_id": "c1",
        "attempt": "c1/bins/1",
        "h": bytes(32),
        "open_schema_sha256": world.federation.schema.hash(),
        "schema_sha256": plan.schema.hash(),
        "counts_sha256": bytes(32),
    }
    forged = sign_model(BinsRelease(**named), IdentityKey.generate(), typ="bins-release", kid=WITNESS_ID)
    with pytest.raises(SignatureError):
        scorecard(world, replace(plan, bins=replace(plan.bins, release=forged))).cosign()
    of_another = sign_model(BinsRelease(**named | {"campaign_id": "c2"}), key, typ="bins-release", kid=WITNESS_ID)
    elsewhere = replace(plan, bins=replace(plan.bins, release=of_another))
    refused_by_both(world, elsewhere, PolicyRefusal, "without the witness's release of their bins")
    decision = Decision(suite="digua-1", attempt="c1/bins/1", h=bytes(32), decision="void")
    confused = sign_model(decision, key, typ="decision", kid=WITNESS_ID)
    with pytest.raises(SignatureError):
        scorecard(world, replace(plan, bins=replace(plan.bins, release=confused))).cosign()


def test_witness_and_nodes_make_the_bins_again_even_under_a_release(after: tuple[World, CampaignPlan]) -> None:
    """Were the witness's signature had for other bins, a node would still find them out."""
    world, plan = after
    assert plan.bins is not None
    own = with_bins(world.federation.schema, {"b2": (3.0, 7.0, 90.0), "t1": (10.0, 100.0)})
    release = BinsRelease(
        suite="digua-1",
        campaign_id="c1",
        attempt="c1/bins/1",
        h=bytes(32),
        open_schema_sha256=world.federation.schema.hash(),
        schema_sha256=own.hash(),
        counts_sha256=digest(plan.bins.counts.astype("<i8").tobytes()),
    )
    token = sign_model(release, world.federation.identity_of(WITNESS_ID), typ="bins-release", kid=WITNESS_ID)
    chosen = replace(plan, schema=own, bins=SettledBins("c1/bins/1", own, token, plan.bins.counts))
    refused_by_both(world, chosen, ManifestError, "bins are not those that the opened counts give")


def test_a_later_stage_without_counts_or_release_is_refused(after: tuple[World, CampaignPlan]) -> None:
    world, plan = after
    honest = scorecard(world, plan)
    bare = replace(honest.manifest, bins=None)
    with pytest.raises(ExchangeError, match="bins_release"):
        replace(honest, manifest=bare).cosign()
    refused_by_both(world, plan, ManifestError, "no earlier stage of this campaign", bins_attempt="c2/bins/1")


def test_bins_that_are_paid_for_must_be_named(noisy: Driven) -> None:
    """Else a hub could have a bins stage run, and count under bins of its own."""
    plan = noisy.plan
    schema = with_bins(noisy.world.federation.schema, {"b2": (3.0, 7.0, 90.0), "t1": (10.0, 100.0)})
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    stated = noisy.manifest.terms.privacy
    settled = replace(plan, schema=schema, stages=("scorecard",))
    honest = table_terms(settled, cohort, "c1/scorecard/1", promised=stated)
    with pytest.raises(ManifestError, match="do not say which attempt"):
        Drive.start(noisy.world, settled, honest=honest).cosign()
    # with fewer mechanisms they are another privacy than nodes accepted the bins stage under
    noisy.cosign().enter_all()
    cheaper = table_terms(settled, cohort, "c1/scorecard/1")
    drive = Drive.start(noisy.world, settled, honest=cheaper)
    with pytest.raises(PolicyRefusal, match="another epsilon, delta, or other"):
        drive.cosign()


def test_a_schema_without_bins_is_refused_in_any_other_stage(noisy: Driven) -> None:
    terms = noisy.manifest.terms
    closed = noisy.world.federation.schema
    drive = Drive.start(noisy.world, noisy.plan, honest=terms, stage="scorecard", bins=None)
    assert closed.hash() == terms.schema_sha256
    with pytest.raises(ManifestError, match="in a bins stage, and in no other"):
        drive.cosign()


def test_a_released_bins_stage_is_not_run_again(after: tuple[World, CampaignPlan]) -> None:
    world, plan = after
    again = replace(plan, schema=world.federation.schema, bins=None)
    with pytest.raises(AttemptError, match="was released in attempt c1/bins/1"):
        Driven(world, again, 2).cosign()
