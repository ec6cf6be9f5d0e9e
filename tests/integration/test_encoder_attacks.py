"""What a lying hub may not do in encoder rounds: orders, parameters, tries, terms that claim too little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import digest
from crypto.errors import AttemptError, ManifestError, NoiseError, SignatureError
from crypto.jws import sign_model, verify_model
from crypto.parcel import Parcel
from crypto.round_grid import terms_rounds
from crypto.secure_sum import open_sum
from crypto.wire.campaign import RoundOrder, RoundReceipt, RoundsMechanism
from hub.encoder_terms import EncoderBudget, encoder_budget, encoder_spec
from hub.simulation import Budget
from models.encoder_spec import discreteness_allowance
from models.errors import BudgetError
from nodes import encoder_stage, table_stage, witness_rounds, witness_stage
from nodes.rounds_check import check_rounds_privacy, unpaid_mechanisms
from nodes.terms_check import read_terms
from tests.encoder_world import ROUNDS, Driven, encoder_plan, small_spec
from tests.federation import make_world


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    world = make_world(tmp_path, budget=Budget(3.0, 1e-5), noise_off=False)
    spec = small_spec(world)
    return Driven(world, encoder_plan(world, noise="on", epsilon=2.0), spec).begin()


def test_a_round_asked_again_gives_the_same_bytes(driven: Driven) -> None:
    first = driven.term("bank-1", driven.order())
    assert np.array_equal(first, driven.term("bank-1", driven.order()))
    assert not np.array_equal(first, driven.term("bank-1", driven.order(number=1)))
    witness = driven.world.federation.witness_context
    released = [witness_rounds.release_round(witness, driven.order()).arrays["term"] for _ in range(2)]
    assert np.array_equal(*released)


def test_a_round_replayed_with_other_parameters_is_refused(driven: Driven) -> None:
    driven.term("bank-1", driven.order())
    with pytest.raises(AttemptError, match="ordered before with other parameters"):
        driven.term("bank-1", driven.order(shift=1.0))
    # Also when the node stopped between noting the order and sending.
    parcel = driven.order(number=1)
    run = driven.context("bank-2").attempts.load(driven.terms.attempt)
    assert run is not None
    encoder_stage._open(driven.context("bank-2"), run, _order_of(driven, parcel), _checked(driven))
    with pytest.raises(AttemptError, match="ordered before with other parameters"):
        driven.term("bank-2", driven.order(number=1, shift=1.0))
    assert len(driven.context("bank-2").ledger.charges()) == 0


def _checked(driven: Driven):
    return read_terms(driven.manifest.token, driven.context("bank-1").roster)


def _order_of(driven: Driven, parcel: Parcel) -> RoundOrder:
    return verify_model(parcel.text("order"), driven.plan.identity.public, RoundOrder, typ="round", kid="hub")


def test_orders_of_others_and_of_other_rounds_are_refused(driven: Driven) -> None:
    with pytest.raises(SignatureError):
        driven.term("bank-1", driven.order(key=driven.world.federation.identity_of("bank-2")))
    with pytest.raises(ManifestError):
        driven.term("bank-1", driven.order(h=bytes(32)))
    with pytest.raises(AttemptError, match="not within"):
        driven.term("bank-1", driven.order(round_=ROUNDS))
    other = driven.order()
    altered = Parcel(other.texts, {"parameters": other.arrays["parameters"] + 1.0})
    with pytest.raises(ManifestError, match="not those of the order"):
        driven.term("bank-1", altered)


def test_tries_past_the_charged_number_are_refused_by_node_and_witness(driven: Driven) -> None:
    witness = driven.world.federation.witness_context
    for number in range(driven.spec.charged_attempts - 1):
        driven.term("bank-1", driven.order(number=number))
        witness_rounds.release_round(witness, driven.order(number=number))
    last = driven.order(1)
    driven.term("bank-1", last)
    witness_rounds.release_round(witness, last)
    with pytest.raises(AttemptError, match="all 7 charged tries"):
        driven.term("bank-1", driven.order(2))
    with pytest.raises(AttemptError, match="all 7 charged tries"):
        witness_rounds.release_round(witness, driven.order(2))
    assert driven.context("bank-1").ledger.spent().epsilon <= 2.0


def test_terms_are_uniform_until_all_are_there(driven: Driven) -> None:
    witness = driven.world.federation.witness_context
    terms = [driven.term(party, driven.order()) for party in driven.nodes]
    terms.append(witness_rounds.release_round(witness, driven.order()).arrays["term"])
    grid = terms_rounds(driven.terms)
    assert np.abs(open_sum(terms, bound=grid.bound)).max() <= grid.bound
    for missing in range(len(terms)):
        partial = open_sum(terms[:missing] + terms[missing + 1 :])
        assert np.abs(partial.astype(np.float64)).mean() > 2.0**60


@pytest.mark.parametrize("misled", ["bank-1", "bank-3", "witness"])
def test_terms_at_different_parameters_do_not_open(driven: Driven, misled: str) -> None:
    """A hub that steers some and not all, or all behind the witness's back, opens nothing."""
    orders = {party: driven.order(shift=1.0 if party == misled else 0.0) for party in (*driven.nodes, "witness")}
    terms = [driven.term(party, orders[party]) for party in driven.nodes]
    witness = driven.world.federation.witness_context
    terms.append(witness_rounds.release_round(witness, orders["witness"]).arrays["term"])
    assert np.abs(open_sum(terms).astype(np.float64)).mean() > 2.0**60
    # Nor is the term, or a node's, given again for what the others were ordered.
    with pytest.raises(AttemptError, match="other parameters"):
        witness_rounds.release_round(witness, driven.order(shift=0.0 if misled == "witness" else 1.0))
    with pytest.raises(AttemptError, match="other parameters"):
        driven.term("bank-2", driven.order(shift=1.0))


def test_a_receipt_names_the_parameters(driven: Driven) -> None:
    order = driven.order(shift=0.25)
    token = encoder_stage.train_round(driven.context("bank-1"), order).text("receipt")
    key = driven.world.federation.identity_of("bank-1").public
    receipt = verify_model(token, key, RoundReceipt, typ="round-receipt", kid="bank-1")
    assert receipt.parameters_sha256 == digest(order.arrays["parameters"].tobytes())


def test_after_the_end_nothing_is_answered(driven: Driven) -> None:
    driven.term("bank-1", driven.order())
    encoder_stage.finish(driven.context("bank-1"), Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError, match="no encoder run"):
        driven.term("bank-1", driven.order(1))
    witness = driven.world.federation.witness_context
    witness_rounds.release_round(witness, driven.order())
    witness_rounds.finish(witness, Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError, match="has ended"):
        witness_rounds.release_round(witness, driven.order(1))


def test_a_run_whose_id_lies_within_another_is_not_taken_for_paid(driven: Driven) -> None:
    """A prefix of ids is no proof of payment: ids are the hub's choice."""
    driven.term("bank-1", driven.order())
    ledger = driven.context("bank-1").ledger
    mechanisms = driven.terms.privacy.mechanisms
    assert unpaid_mechanisms(ledger, "c1", "c1/encoder/1", mechanisms) == ()
    for campaign, run in (("c1", "c1/encoder"), ("c1", "c1"), ("c1/encoder", "c1/encoder/1"), ("c1", "c1/encoder/1/0")):
        assert unpaid_mechanisms(ledger, campaign, run, mechanisms) == mechanisms


@pytest.mark.parametrize(
    ("what", "change", "refusal"),
    [
        ("less noise", {"sigma_grid": 0.5}, BudgetError),
        ("coarser noise", {"sigma_grid": 1e-9}, NoiseError),
        ("a larger clip", {"clip": 2.0}, ManifestError),
        ("more rounds", {"charged_attempts": 2.0}, ManifestError),
    ],
)
def test_terms_whose_noise_is_less_than_they_claim_are_refused(
    driven: Driven, what: str, change: dict[str, float], refusal: type[Exception]
) -> None:
    encoder = driven.terms.encoder
    assert encoder is not None
    fields = {name: type(getattr(encoder, name))(getattr(encoder, name) * by) for name, by in change.items()}
    terms = driven.terms.model_copy(update={"encoder": encoder.model_copy(update=fields)})
    token = sign_model(terms, driven.plan.identity, typ="terms", kid="hub")
    with pytest.raises(refusal):
        check_rounds_privacy(read_terms(token, driven.context("bank-1").roster))


def test_terms_that_claim_less_than_their_rounds_cost_are_refused(driven: Driven) -> None:
    rounds = driven.terms.privacy.mechanisms[0]
    assert isinstance(rounds, RoundsMechanism)
    for mechanisms, epsilon in (((rounds,), 1.9), ((), 2.0), ((rounds.model_copy(update={"rounds": 2}),), 2.0)):
        privacy = driven.terms.privacy.model_copy(update={"mechanisms": mechanisms, "epsilon": epsilon})
        token = sign_model(
            driven.terms.model_copy(update={"privacy": privacy}), driven.plan.identity, typ="terms", kid="hub"
        )
        with pytest.raises(BudgetError):
            check_rounds_privacy(read_terms(token, driven.context("bank-1").roster))


def test_a_grid_on_which_discreteness_counts_is_refused_though_its_cost_is_stated(driven: Driven) -> None:
    """The bound for discrete noise is meant for noise that is close to continuous (docs/protocol.md, 5)."""
    plan, spec = driven.plan, driven.spec.model_copy(update={"grid": 2.0**-5})
    with pytest.raises(BudgetError, match="too coarse"):
        encoder_budget(plan, spec)
    honest = driven.terms.privacy
    rounds = honest.mechanisms[0]
    assert isinstance(rounds, RoundsMechanism)
    sigma = rounds.sigma_over_sensitivity * spec.sensitivity
    allowance = discreteness_allowance(spec.n_parameters, spec.charged_attempts, sigma)
    assert allowance > honest.epsilon / 100
    stated = {
        "epsilon": honest.epsilon + 2 * allowance,
        "epsilon_replace_one": honest.epsilon_replace_one + 8 * allowance,
        "delta_sum": 1e-9,
    }
    lie = Driven(driven.world, plan, spec, EncoderBudget(sigma, honest.model_copy(update=stated)))
    with pytest.raises(BudgetError, match="too coarse: that noise is discrete"):
        check_rounds_privacy(read_terms(lie.manifest.token, driven.context("bank-1").roster))


def test_the_hub_takes_a_grid_that_its_nodes_accept(driven: Driven) -> None:
    plan, wanted = driven.plan, driven.spec.model_copy(update={"grid": 2.0**-5, "clip": 0.125})
    spec = encoder_spec(plan, wanted)
    assert spec.grid < wanted.grid
    assert encoder_spec(plan, driven.spec).grid == driven.spec.grid
    assert encoder_spec(replace(plan, noise="off"), wanted) == wanted
    for stages in (("encoder",), ("encoder", "scorecard")):
        own = replace(plan, stages=stages)
        terms = Driven(driven.world, own, spec, encoder_budget(own, spec))
        check_rounds_privacy(read_terms(terms.manifest.token, driven.context("bank-1").roster))


def test_a_table_attempt_cannot_be_turned_into_rounds(driven: Driven) -> None:
    state = driven.context("bank-1").attempts.load(driven.terms.attempt)
    assert state is not None
    assert state.sort == "round"
    with pytest.raises(AttemptError):
        table_stage.share(driven.context("bank-1"), Parcel({"attempt": driven.terms.attempt}))
    with pytest.raises(AttemptError):
        witness_stage.abort(driven.world.federation.witness_context, Parcel({"attempt": driven.terms.attempt}))
