"""Consents that change after a cohort was formed: the same nodes are asked again about the merchants of now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from crypto.canonical import canonical_bytes
from crypto.jws import sign_merchant
from crypto.wire.base import SUITE
from crypto.wire.consent import ConsentEvent, Purpose
from hub.campaign_errors import QuorumError
from hub.cohort import Cohort
from hub.cohort_course import MAX_REFORMS
from models.schema import Schema
from nodes.errors import PolicyRefusal
from nodes.training_context import ConsentBook, Pseudonyms
from tests.federation import World, make_world, run_scorecard
from tests.served_world import ServedWorld, wait_until


@dataclass
class Revoking:
    """A node's consents from which merchants are gone."""

    book: ConsentBook
    revoked: set[bytes] = field(default_factory=set)
    always: bool = False

    def sources(
        self, pseudonyms: Pseudonyms, schema: Schema, purpose: Purpose = "model-training"
    ) -> Mapping[str, Sequence[str | None]]:
        if self.always or self.revoked & {row.tobytes() for row in pseudonyms}:
            raise PolicyRefusal("consent-unknown", "a merchant has no active consent")
        return self.book.sources(pseudonyms, schema, purpose)


def revoking(world: World, *, always: tuple[str, ...] = ()) -> set[bytes]:
    """Puts consents on all nodes from which merchants can be taken; `always` refuse whatever they are shown."""
    revoked: set[bytes] = set()
    contexts = world.federation.contexts
    for party, context in contexts.items():
        contexts[party] = replace(context, consents=Revoking(context.consents, revoked, party in always))
    world.disturb()
    return revoked


def without(cohort: Cohort, merchants: set[bytes]) -> Cohort:
    return cohort._where(np.array([row.tobytes() not in merchants for row in cohort.pseudonyms]))


def test_a_revocation_before_acceptance_costs_the_merchant_and_no_node(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    revoked = revoking(world)
    plan = world.plan()
    training = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    revoked.add(training.pseudonyms[0].tobytes())
    released = run_scorecard(world, replace(plan, reform=lambda: without(plan.cohort, revoked)))
    now = without(training, revoked)
    assert released.terms.cohort_size == now.size == training.size - 1
    assert released.terms.roster == plan.cohort.nodes
    assert released.lost == {}
    assert np.array_equal(released.counts, world.exact(now))
    assert released.attempts == 2


def test_a_node_that_always_refuses_leaves_after_a_few_times(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    revoking(world, always=("tax-1",))
    plan = world.plan()
    released = run_scorecard(world, replace(plan, reform=lambda: plan.cohort, max_attempts=2))
    assert set(released.lost) == {"tax-1"}
    assert released.attempts == MAX_REFORMS + 2


def test_other_refusals_lose_their_nodes_at_once(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    revoked = revoking(world)
    world.federation.contexts["tax-1"] = replace(world.federation.contexts["tax-1"], dataset={}.get)
    world.disturb()
    plan = world.plan()
    held = plan.cohort.holders["tax"]
    place = next(index for index, entry in enumerate(plan.cohort.nodes) if entry.party_id == "tax-1")
    training = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    elsewhere = next(
        row.tobytes()
        for row, holder in zip(training.pseudonyms, training.holders["tax"], strict=True)
        if holder != place
    )
    assert (held == place).any()
    revoked.add(elsewhere)
    released = run_scorecard(world, replace(plan, reform=lambda: without(plan.cohort, revoked)))
    assert set(released.lost) == {"tax-1"}
    assert released.terms.cohort_size == training.size - 1


def test_without_merchants_left_the_quorum_says_so(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    revoked = revoking(world)
    plan = world.plan()
    revoked |= {row.tobytes() for row in plan.cohort.pseudonyms}
    with pytest.raises(QuorumError, match="0 merchants"):
        run_scorecard(world, replace(plan, reform=lambda: without(plan.cohort, revoked)))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedWorld]:
    made = ServedWorld(tmp_path, merchants=120, nodes={"bank": 2, "tax": 2, "utility": 1})
    yield made
    made.close()


def test_a_served_campaign_outlives_a_revocation(served: ServedWorld) -> None:
    """The revocation falls between the cohort and T1: the witness has cosigned, the nodes have not been asked."""
    merchant, record = served.merchants[7], served.records[7]
    handlers = served.witness.runtime.handlers
    honest, done = handlers["flower"], False

    def revoke_first(body: bytes) -> bytes:
        nonlocal done
        answer = honest(body)
        if not done:
            done = True
            event = ConsentEvent(
                suite=SUITE,
                record_id=record,
                pii_principal_id=merchant.pseudonym,
                event="revoked",
                event_time=datetime.now(UTC),
                event_id="ab" * 16,
            )
            kid = merchant.pseudonym.hex()
            token = sign_merchant(canonical_bytes(event), merchant.jwk, typ="consent-event", kid=kid)
            served.hub.consents.submit_events([token])
            wait_until(served._feeds_followed, what="the revocation at the nodes")
        return answer

    handlers["flower"] = revoke_first
    campaign_id = served.start(noise="off", holdout=0.0)
    state = served.ended(campaign_id)
    assert state["status"] == "succeeded", state["failure"]
    assert {each["code"] for each in state["refusals"]} == {"consent-unknown"}
    refusing = {each["party"] for each in state["refusals"]}
    assert refusing == set(merchant.sources.values())
    last = state["progress"][-1]["attempt"]
    assert last.endswith("/scorecard/2")
    sent = {
        party
        for party, agent in served.agents.items()
        if any(each.attempt == last for each in agent.runtime.ledger.charges())
    }
    assert sent == set(served.agents)  # the witness and every node; nobody was dropped
