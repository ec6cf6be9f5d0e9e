"""A lying hub, node or witness against the scorecard stage: each refused with a typed error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypto.errors import (
    AttemptError,
    CryptoError,
    ExchangeError,
    ManifestError,
    NotOneHotError,
    SealError,
    SignatureError,
)
from crypto.jws import sign, sign_model
from crypto.keys import BoxKey, IdentityKey
from crypto.manifest import holdout_mask
from crypto.parcel import Parcel, as_array
from crypto.sealed import context_bytes, seal
from crypto.secure_tables import positions_sha256, rows_sha256
from crypto.wire.base import SUITE
from crypto.wire.campaign import Decision, RosterEntry, RowsHeader
from hub.attempt_run import read_refusal
from hub.cohort import Cohort
from hub.grids.channel import Channel
from hub.manifests import build_manifest
from hub.simulation import WITNESS_ID
from nodes import table_stage
from nodes.errors import PeerError, PolicyRefusal
from nodes.training import answer, refusal_code, refusal_detail
from nodes.training_context import TrainingData
from tests.federation import SALT, Drive, World, make_world, run_scorecard


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


@pytest.fixture
def exchanged(world: World) -> Drive:
    return Drive.start(world).until_exchange()


def sender_of(drive: Drive, receiver: str) -> str:
    return next(iter(drive.inbox(receiver))).removeprefix("from.")


# --- the exchange ------------------------------------------------------------------------------------------------


def test_a_box_altered_by_the_hub_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    name = next(iter(inbox))
    inbox[name] = inbox[name].copy()
    inbox[name][-1] ^= 1
    with pytest.raises(ExchangeError) as caught:
        exchanged.share("bank-1", inbox)
    assert caught.value.field == name.removeprefix("from.")


def test_a_box_kept_back_by_the_hub_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    missing = inbox.popitem()[0].removeprefix("from.")
    with pytest.raises(ExchangeError, match="lacks") as caught:
        exchanged.share("bank-1", inbox)
    assert caught.value.field == missing


def test_a_box_for_another_receiver_is_refused(exchanged: Drive) -> None:
    sender = sender_of(exchanged, "bank-1")
    inbox = exchanged.inbox("bank-1")
    inbox[f"from.{sender}"] = exchanged.boxes[sender].arrays[
        next(name for name in exchanged.boxes[sender].arrays if name != "to.bank-1")
    ]
    with pytest.raises(ExchangeError):
        exchanged.share("bank-1", inbox)


def test_a_superfluous_box_is_refused(exchanged: Drive) -> None:
    inbox = exchanged.inbox("bank-1")
    inbox["from.bank-2"] = next(iter(inbox.values()))
    with pytest.raises(ExchangeError):
        exchanged.share("bank-1", inbox)


@pytest.mark.parametrize("lie", ["altered", "omitted", "added", "unsigned", "another-sender"])
def test_rows_that_their_sender_falsified_are_refused(exchanged: Drive, lie: str) -> None:
    receiver = "bank-1"
    sender = sender_of(exchanged, receiver)
    federation = exchanged.world.federation
    state = federation.contexts[receiver].attempts.load(exchanged.attempt)
    index, other = exchanged.parties.index(sender), exchanged.parties.index(receiver)
    own = exchanged.manifest.slices[index]
    shared = own.positions[own.counterparts["bank"] == other]
    columns = sum(exchanged.world.federation.schema.widths(own.kind))
    rows = np.arange(len(shared) * columns, dtype=np.uint32).reshape(-1, columns)
    sent = {"omitted": rows[:-1], "added": np.vstack([rows, rows[:1]])}.get(lie, rows)
    hashed = rows + np.uint32(1) if lie == "altered" else sent
    header = RowsHeader(
        suite=SUITE,
        attempt=exchanged.attempt,
        h=state.h,
        sender=sender,
        receiver=receiver,
        positions_sha256=positions_sha256(shared),
        rows_sha256=rows_sha256(hashed),
        rows=sent.shape[0],
        columns=columns,
    )
    key = IdentityKey.generate() if lie == "unsigned" else federation.identity_of(sender)
    kid = "bank-2" if lie == "another-sender" else sender
    token = sign_model(header, key, typ="rows", kid=kid).encode()
    plain = len(token).to_bytes(4, "little") + token + sent.astype("<u4").tobytes()
    fields = {"step": "rows", "attempt": exchanged.attempt, "from": sender, "to": receiver}
    bound = context_bytes(**fields, h=state.h, positions=positions_sha256(shared))
    public = federation.contexts[receiver].attempts.key(exchanged.attempt).public
    inbox = exchanged.inbox(receiver) | {f"from.{sender}": as_array(seal(plain, public, context=bound))}
    with pytest.raises(ExchangeError) as caught:
        exchanged.share(receiver, inbox)
    assert caught.value.field == sender
    assert refusal_detail(caught.value) == f"sender={sender}"


def test_a_sender_whom_several_accuse_must_leave_not_they(tmp_path: Path) -> None:
    world = make_world(tmp_path)

    def falsify(party: str, step: str, parcel: Parcel) -> Parcel:
        if (party, step) != ("tax-1", "train.exchange"):
            return parcel
        return Parcel(parcel.texts, {name: box[::-1].copy() for name, box in parcel.arrays.items()})

    world.disturb(after=falsify)
    released = run_scorecard(world)
    assert set(released.lost) == {"tax-1"}
    assert "rows were refused" in released.lost["tax-1"]


# --- manifests ---------------------------------------------------------------------------------------------------


def test_the_witness_cosigns_one_manifest_per_attempt(world: World) -> None:
    first = Drive.start(world).cosign()
    assert first.cosign().cosignature  # the same one again
    second = Drive.start(world)  # other salts, hence another root
    with pytest.raises(AttemptError, match="another manifest"):
        second.cosign()


def test_a_node_refuses_a_manifest_that_the_witness_did_not_cosign(world: World) -> None:
    honest, other = Drive.start(world).cosign(), Drive.start(world)
    other.cosignature = honest.cosignature
    with pytest.raises(ManifestError):
        other.accept("bank-1")


def test_a_node_refuses_a_slice_with_one_merchant_altered(world: World) -> None:
    drive = Drive.start(world).cosign()
    parcel = drive.manifest.for_node(0, drive.cosignature)
    pseudonyms = parcel.arrays["pseudonyms"].copy()
    pseudonyms[0, 0] ^= 1
    with pytest.raises(ManifestError, match="slice"):
        drive.accept(drive.parties[0], Parcel(parcel.texts, {**parcel.arrays, "pseudonyms": pseudonyms}))


def test_a_node_refuses_another_nodes_slice(world: World) -> None:
    drive = Drive.start(world).cosign()
    with pytest.raises(CryptoError):
        drive.accept("bank-1", drive.manifest.for_node(drive.parties.index("bank-2"), drive.cosignature))


def test_an_attempt_is_accepted_under_one_manifest_only(world: World) -> None:
    first = Drive.start(world).cosign().accept_all()
    other = Drive.start(world).forge_cosignature()
    with pytest.raises(AttemptError):
        other.accept("bank-1")
    assert first.accept("bank-1") == first.acceptances.split()[first.parties.index("bank-1")]


def test_the_witness_refuses_one_merchant_at_two_banks(world: World) -> None:
    drive = Drive.start(world)
    cohort = drive.cohort
    pseudonyms = cohort.pseudonyms.copy()
    banks = cohort.holders["bank"]
    twin = int(np.flatnonzero(banks != banks[0])[0])
    pseudonyms[twin] = pseudonyms[0]
    forged = Cohort(cohort.nodes, cohort.kinds, cohort.label_kind, pseudonyms, cohort.holders)
    drive.manifest = build_manifest(drive.manifest.terms, forged, drive.plan)
    with pytest.raises(ManifestError, match="one pseudonym at two positions"):
        drive.cosign()


def test_the_witness_refuses_counterparts_that_are_not_symmetric(world: World) -> None:
    drive = Drive.start(world)
    slices = list(drive.manifest.slices)
    wrong = dict(slices[0].counterparts)
    wrong["tax"] = np.full_like(wrong["tax"], -1)
    slices[0] = replace(slices[0], counterparts=wrong)
    drive.manifest = replace(drive.manifest, slices=tuple(slices))
    with pytest.raises(ManifestError, match="symmetric"):
        drive.cosign()


def test_witness_and_nodes_refuse_a_node_that_nobody_approved(world: World) -> None:
    federation = world.federation
    sybil = RosterEntry(
        party_id="bank-9", kind="bank", sign_key=IdentityKey.generate().public, box_key=BoxKey.generate().public
    )
    plan = world.plan()
    cohort = Cohort((*plan.cohort.nodes, sybil), plan.cohort.kinds, "bank", plan.cohort.pseudonyms, plan.cohort.holders)
    drive = Drive.start(world, replace(plan, cohort=cohort))
    with pytest.raises(PeerError) as caught:
        drive.cosign()
    assert (refusal_code(caught.value), caught.value.party) == ("party-unknown", "bank-9")
    with pytest.raises(PeerError):
        drive.forge_cosignature().accept("bank-1")
    assert federation.contexts["bank-1"].attempts.load(drive.attempt) is None


@pytest.mark.parametrize("field", ["sign_key", "box_key"])
def test_keys_that_the_roster_does_not_have_are_refused(world: World, field: str) -> None:
    terms = Drive.start(world).manifest.terms
    swapped = (terms.roster[0].model_copy(update={field: BoxKey.generate().public}), *terms.roster[1:])
    drive = Drive.start(world, roster=[entry.model_dump() for entry in swapped])
    with pytest.raises(ManifestError, match="keys"):
        drive.cosign()
    with pytest.raises(ManifestError, match="keys"):
        drive.forge_cosignature().accept("tax-1")


def test_held_out_merchants_are_refused_in_training(world: World) -> None:
    drive = Drive.start(world, world.plan(holdout_fraction=0.0), holdout={"salt": SALT, "fraction": 0.2})
    with pytest.raises(ManifestError, match="held-out"):
        drive.cosign()
    drive.forge_cosignature()
    refused = 0
    for party, own in zip(drive.parties, drive.manifest.slices, strict=True):
        if holdout_mask(own.pseudonyms, SALT, 0.2).any():
            refused += 1
            with pytest.raises(ManifestError, match="hold out"):
                drive.accept(party)
    assert refused >= 3


def test_a_cohort_of_another_size_than_its_slices_is_refused(world: World) -> None:
    terms = Drive.start(world).manifest.terms
    kinds = [each.model_dump() | {"members": each.members - (each.kind == "tax")} for each in terms.kinds]
    with pytest.raises(ManifestError, match="membership"):
        Drive.start(world, kinds=kinds).cosign()


def test_a_source_that_the_consent_does_not_name_is_refused(world: World) -> None:
    federation = world.federation
    plan = world.plan()
    holders = dict(plan.cohort.holders)
    taxes = [index for index, entry in enumerate(plan.cohort.nodes) if entry.kind == "tax"]
    holders["tax"] = np.where(holders["tax"] == taxes[0], taxes[1], holders["tax"]).astype(np.int32)
    moved = Cohort(plan.cohort.nodes, plan.cohort.kinds, "bank", plan.cohort.pseudonyms, holders)
    drive = Drive.start(world, replace(plan, cohort=moved)).cosign()
    reasons = set()
    for party in drive.parties:
        try:
            drive.accept(party)
        except PolicyRefusal as refused:
            reasons.add(refused.reason)
    assert reasons == {"source-not-consented"}
    assert federation.contexts["bank-1"].attempts.load(drive.attempt) is None


# --- seeds, terms of the sum, decisions --------------------------------------------------------------------------


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
    honest = table_stage.one_hot

    def overweight(*arguments: object) -> np.ndarray:
        rows = honest(*arguments)  # type: ignore[arg-type]
        rows[0, :2] = 1
        return rows

    world = make_world(tmp_path, noise_off=False)
    drive = Drive.start(world, world.noisy_plan()).cosign()
    if since == "acceptance":
        monkeypatch.setattr(table_stage, "one_hot", overweight)
    drive.accept_all().seed()
    monkeypatch.setattr(table_stage, "one_hot", overweight)
    context = world.federation.contexts["bank-1"]
    with pytest.raises(NotOneHotError, match="row 0"):
        table_stage.exchange(context, drive.exchange_parcel("bank-1"))
    reply = answer(context, lambda: table_stage.exchange(context, drive.exchange_parcel("bank-1")), drive.attempt)
    entry = next(entry for entry in world.federation.entries if entry.party_id == "bank-1")
    assert read_refusal(reply, entry) == "row-not-one-hot"
    assert not reply.arrays
    assert reply.texts.keys() == {"refusal"}
    assert context.attempts.load(drive.attempt).phase == "accepted"
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
    assert context.attempts.blob(exchanged.attempt, "frozen") is None
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
