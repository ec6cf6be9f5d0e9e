"""A lying hub, node or witness against seeds, terms of the sum and decisions: each refused with a typed error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto.errors import (
    AttemptError,
    CryptoError,
    ManifestError,
    NotOneHotError,
    SealError,
    SignatureError,
)
from crypto.jws import sign, sign_model
from crypto.parcel import Parcel, as_array
from crypto.sealed import context_bytes, seal
from crypto.wire.base import SUITE
from crypto.wire.campaign import Decision
from hub.attempt_run import read_refusal
from hub.grids.channel import Channel
from hub.simulation import WITNESS_ID
from nodes import frozen, table_stage
from nodes.errors import PolicyRefusal
from nodes.training import answer
from nodes.training_context import TrainingData
from tests.federation import Drive, World, make_world, run_scorecard


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


@pytest.fixture
def exchanged(world: World) -> Drive:
    return Drive.start(world).until_exchange()


def test_a_seed_of_another_attempt_does_not_open(world: World) -> None:
    first = Drive.start(world).cosign().accept_all().seed()
    second = Drive.start(world, number=2).cosign().accept_all().seed()
    with pytest.raises(SealError):
        table_stage.exchange(world.federation.contexts["bank-1"], second.exchange_parcel("bank-1", first.seeds))


def test_a_second_seed_in_one_attempt_is_refused(exchanged: Drive) -> None:
    context = exchanged.world.federation.contexts["bank-1"]
    state = context.attempts.load(exchanged.attempt)
    bound = context_bytes(step="seed", h=state.h, attempt=exchanged.attempt, **{"from": WITNESS_ID, "to": "bank-1"})
    token = sign(bound + b"\x07" * 32, exchanged.world.federation.identity_of(WITNESS_ID), typ="seed", kid=WITNESS_ID)
    other = seal(token.encode(), context.attempts.key(exchanged.attempt).public, context=bound)
    seeds = Parcel(arrays={"seed.bank-1": as_array(other)})
    with pytest.raises(AttemptError):
        table_stage.exchange(context, exchanged.exchange_parcel("bank-1", seeds))


def test_a_seed_of_the_hubs_choice_is_refused_before_any_row_is_masked(world: World) -> None:
    """With it, hub and one node would read the other kinds' rows of the merchants that the node shares."""
    drive = Drive.start(world).cosign().accept_all()
    context = world.federation.contexts["bank-1"]
    state, key = context.attempts.load(drive.attempt), context.attempts.key(drive.attempt).public
    bound, other = (
        context_bytes(step="seed", h=state.h, attempt=drive.attempt, **{"from": WITNESS_ID, "to": to})
        for to in ("bank-1", "platform-1")
    )
    witness = world.federation.identity_of(WITNESS_ID)
    forged = {
        "unsigned": b"\x07" * 32,
        "the hub's": sign(bound + b"\x07" * 32, world.federation.identity, typ="seed", kid=WITNESS_ID).encode(),
        "another node's": sign(other + b"\x07" * 32, witness, typ="seed", kid=WITNESS_ID).encode(),
        "short": sign(bound + b"\x07" * 31, witness, typ="seed", kid=WITNESS_ID).encode(),
    }
    for name, plain in forged.items():
        seeds = Parcel(arrays={"seed.bank-1": as_array(seal(plain, key, context=bound))})
        with pytest.raises((SignatureError, ManifestError)):
            table_stage.exchange(context, drive.exchange_parcel("bank-1", seeds))
        assert context.attempts.load(drive.attempt).phase == "accepted", name


def test_another_set_of_acceptances_is_refused_by_node_and_witness(exchanged: Drive) -> None:
    tokens = exchanged.acceptances.split()
    swapped = [tokens[1], tokens[0], *tokens[2:]]
    for wrong in (tokens[1:], swapped):
        drive = replace(exchanged, acceptances=" ".join(wrong))
        with pytest.raises(CryptoError):
            table_stage.exchange(drive.world.federation.contexts["bank-1"], drive.exchange_parcel("bank-1"))
        with pytest.raises(CryptoError):
            drive.seed()


def test_asked_again_a_node_sends_the_same_bytes_and_is_charged_once(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world, world.noisy_plan()).until_exchange()
    first = drive.share("bank-1")
    again = drive.share("bank-1", {})  # whatever the inbox: no fresh noise under the old masks
    assert np.array_equal(first.arrays["term"], again.arrays["term"])
    assert first.texts == again.texts
    assert len(world.federation.contexts["bank-1"].ledger.charges()) == 1


def test_data_changed_in_mid_attempt_never_go_under_the_same_masks(tmp_path: Path) -> None:
    """A lying hub asks every step again after the node's rows changed: what was frozen counts, or it is refused."""
    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world, world.noisy_plan()).until_exchange()
    context = world.federation.contexts["bank-1"]
    before = context.attempts.load(drive.attempt)
    data = context.dataset(world.federation.schema.hash())
    changed = TrainingData(data.pseudonyms, data.codes[::-1].copy(), data.outcome[::-1].copy())
    assert not np.array_equal(changed.codes, data.codes)
    reads: list[bytes] = []

    def read(schema: bytes) -> TrainingData:
        reads.append(schema)
        return changed

    world.federation.contexts["bank-1"] = replace(context, dataset=read)
    with pytest.raises(AttemptError):
        drive.accept("bank-1")
    # Sealing is randomised, so boxes differ; the state holds the hash of all rows in them, which must not.
    drive.boxes["bank-1"] = table_stage.exchange(world.federation.contexts["bank-1"], drive.exchange_parcel("bank-1"))
    assert context.attempts.load(drive.attempt) == before
    first = drive.share("bank-1")
    receiver = next(iter(drive.boxes["bank-1"].arrays)).removeprefix("to.")
    drive.share(receiver)  # opens the rows sealed after the change and finds the frozen ones

    with pytest.raises(AttemptError):
        drive.accept("bank-1")
    with pytest.raises(AttemptError):
        table_stage.exchange(world.federation.contexts["bank-1"], drive.exchange_parcel("bank-1"))
    again = drive.share("bank-1")
    assert np.array_equal(first.arrays["term"], again.arrays["term"])
    assert first.texts == again.texts
    assert len(context.ledger.charges()) == 1
    assert reads == []


@pytest.mark.parametrize("since", ["acceptance", "exchange"])
def test_an_overweight_row_leaves_no_honest_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    """One block with two bins set could read another kind's bins; the node's own check stops it before rows leave."""
    honest = frozen.one_hot

    def overweight(*arguments: object) -> np.ndarray:
        rows = honest(*arguments)  # type: ignore[arg-type]
        rows[0, :2] = 1
        return rows

    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world, world.noisy_plan()).cosign()
    context = world.federation.contexts["bank-1"]

    def step() -> Parcel:
        if since == "acceptance":
            return table_stage.accept(context, drive.manifest.for_node(0, drive.cosignature))
        return table_stage.exchange(context, drive.exchange_parcel("bank-1"))

    if since == "exchange":
        drive.accept_all().seed()
    monkeypatch.setattr(frozen, "one_hot", overweight)
    with pytest.raises(NotOneHotError, match="row 0"):
        step()
    reply = answer(context, step, drive.attempt)
    entry = next(entry for entry in world.federation.entries if entry.party_id == "bank-1")
    assert read_refusal(reply, entry) == "row-not-one-hot"
    assert not reply.arrays
    assert reply.texts.keys() == {"refusal"}
    state = context.attempts.load(drive.attempt)
    assert (state and state.phase) == (None if since == "acceptance" else "accepted")
    with pytest.raises(AttemptError):
        drive.share("bank-1", {})
    assert context.ledger.charges() == ()


def test_a_share_before_the_exchange_is_refused(world: World) -> None:
    drive = Drive.start(world).cosign().accept_all()
    with pytest.raises(AttemptError):
        drive.share("bank-1", {})
    with pytest.raises(AttemptError, match="not accepted"):
        table_stage.share(world.federation.contexts["bank-1"], Parcel({"attempt": "c9/scorecard/1"}))


def test_a_node_falsely_called_dropped_is_not_unmasked(exchanged: Drive) -> None:
    receipts = [reply.text("receipt") for reply in exchanged.share_all().values()]
    with pytest.raises(AttemptError, match="receipts"):
        exchanged.release(receipts[:-1])
    with pytest.raises(CryptoError):
        exchanged.release([*receipts[:-1], receipts[0]])
    exchanged.abort()
    with pytest.raises(AttemptError):  # released or void, never both
        exchanged.release(receipts)


def test_a_released_attempt_is_never_voided(exchanged: Drive) -> None:
    receipts = [reply.text("receipt") for reply in exchanged.share_all().values()]
    first = exchanged.release(receipts)
    with pytest.raises(AttemptError):
        exchanged.abort()
    again = exchanged.release(receipts)
    assert np.array_equal(first.arrays["term"], again.arrays["term"])
    assert first.texts == again.texts


def test_a_void_by_another_than_the_witness_or_of_another_manifest_refunds_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world, world.noisy_plan()).until_exchange()
    drive.share("bank-1")
    context = world.federation.contexts["bank-1"]
    forged = Decision(suite=SUITE, attempt=drive.attempt, h=drive.manifest.h, decision="void")
    by_hub = sign_model(forged, world.federation.identity, typ="decision", kid=WITNESS_ID)
    with pytest.raises(SignatureError):
        table_stage.outcome(context, Parcel({"decision": by_hub}))
    other = forged.model_copy(update={"h": bytes(32)})
    of_another = sign_model(other, world.federation.identity_of(WITNESS_ID), typ="decision", kid=WITNESS_ID)
    with pytest.raises(AttemptError):
        table_stage.outcome(context, Parcel({"decision": of_another}))
    assert context.ledger.spent().epsilon > 2.9


def test_keys_and_inputs_of_an_attempt_are_gone_after_it(exchanged: Drive) -> None:
    exchanged.share_all()
    token = exchanged.abort()
    context = exchanged.world.federation.contexts["bank-1"]
    table_stage.outcome(context, Parcel({"decision": token}))
    assert context.attempts.blob(exchanged.attempt, "seed") is None
    assert context.attempts.blob(exchanged.attempt, "rows.0") is None
    assert exchanged.world.federation.witness_context.attempts.load(exchanged.attempt).key is None
    with pytest.raises(AttemptError):
        exchanged.share("bank-1")


# --- rows and refusals -------------------------------------------------------------------------------------------


def test_a_row_outside_its_bins_is_refused_and_says_nothing_about_data(world: World) -> None:
    context = world.federation.contexts["bank-1"]
    data = context.dataset(world.federation.schema.hash())
    codes = data.codes.copy()
    codes[:, 0] = 77
    spoiled = TrainingData(data.pseudonyms, codes, data.outcome)
    world.federation.contexts["bank-1"] = replace(context, dataset=lambda _: spoiled)
    world.disturb()
    released = run_scorecard(world)
    assert released.lost == {"bank-1": "data-invalid"}


def test_an_unforeseen_failure_tells_the_hub_nothing(world: World) -> None:
    def fail() -> Parcel:
        raise RuntimeError("91330100MA27XXXX01 owes 5,000")

    context = world.federation.contexts["bank-1"]
    token = answer(context, fail, "c1/scorecard/1").text("refusal")
    entry = next(entry for entry in world.federation.entries if entry.party_id == "bank-1")
    assert read_refusal(Parcel({"refusal": token}), entry) == "internal-error"


def test_a_refusal_in_anothers_name_is_told_from_a_real_one(world: World) -> None:
    def fail() -> Parcel:
        raise PolicyRefusal("schema-unknown", "no")

    token = answer(world.federation.contexts["bank-2"], fail, "c1/scorecard/1").text("refusal")
    entry = next(entry for entry in world.federation.entries if entry.party_id == "bank-1")
    assert read_refusal(Parcel({"refusal": token}), entry) == "signature-invalid"


def test_a_step_for_the_other_role_is_refused(world: World) -> None:
    channel = Channel(world.federation.grid, world.federation.node_ids, 10.0)
    for party, step in ((WITNESS_ID, "train.accept"), ("bank-1", "query.abort")):
        reply = channel.ask_one(step, party, Parcel({"attempt": "a"}), "c1/scorecard/1")
        assert "refusal" in reply.texts
