"""Cohorts in blocks: the same table in whatever blocks, and no block left out, doubled, swapped or altered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgpack
import numpy as np
import pytest

from crypto.errors import AttemptError, ExchangeError, ManifestError
from crypto.parcel import Parcel, array_fields
from crypto.secure_sum import open_sum
from hub.campaign_plan import NoStore
from hub.cohort import Cohort
from hub.grids.agent import AgentGrid
from hub.grids.channel import Channel
from hub.manifests import build_manifest
from hub.opened_tables import opened_table
from hub.scorecard_stage import run_scorecard_stage
from hub.simulation import WITNESS_ID
from nodes import table_stage, witness_stage
from nodes.attempts import AttemptStore
from nodes.frozen import unpack_arrays
from nodes.training import serve_link, serve_messages
from nodes.witness_attempts import WitnessAttemptStore
from tests.federation import Drive, World, lose, make_world, run_scorecard


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.federation.close()


@pytest.fixture
def drive(world: World) -> Drive:
    started = Drive.start(world, world.plan(block_rows=40))
    assert started.blocks == 4
    return started


def finish(drive: Drive, last: dict[str, Parcel]) -> np.ndarray:
    """The opened table, after the last block."""
    released = drive.release([reply.text("receipt") for reply in last.values()])
    return open_sum([*(reply.arrays["term"] for reply in last.values()), released.arrays["term"]])


def exact(drive: Drive) -> np.ndarray:
    return drive.world.exact(drive.cohort)


# --- the same table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_rows", [5, 40, 71, 1000])
def test_blocks_of_any_size_open_to_the_joined_table(tmp_path: Path, block_rows: int) -> None:
    world = make_world(tmp_path, seed=block_rows)
    plan = world.plan(block_rows=block_rows)
    released = run_scorecard(world, plan)
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))
    blocks = -(-cohort.size // released.terms.block_rows)
    assert (blocks == 1) == (cohort.size <= block_rows)
    trips = {count for party, (_, _, count) in world.federation.traffic().items() if party != WITNESS_ID}
    assert trips == {2 * blocks + 2}
    world.federation.close()


def test_blocks_over_links_give_the_same_table(world: World) -> None:
    federation = world.federation
    serving = {party: serve_link(serve_messages(context)) for party, context in federation.contexts.items()}
    serving[WITNESS_ID] = serve_link(serve_messages(federation.witness_context))

    class Links:
        def request(self, party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
            return serving[party_id](body)

    plan = world.plan(block_rows=40)
    grid = AgentGrid(Links(), {number: party for party, number in federation.node_ids.items()})
    released = run_scorecard_stage(Channel(grid, federation.node_ids, 30.0), plan, lambda _: None, NoStore())
    grid.close()
    cohort = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction)
    assert np.array_equal(opened_table(released).to_vector(), world.exact(cohort))


def test_nodes_and_witness_that_restart_between_blocks_go_on(drive: Drive) -> None:
    federation = drive.world.federation

    def restart() -> None:
        for party, context in list(federation.contexts.items()):
            federation.contexts[party] = replace(context, attempts=AttemptStore(federation.stores[party]))
        store = WitnessAttemptStore(federation.stores[WITNESS_ID])
        federation.witness_context = replace(federation.witness_context, attempts=store)

    witness = federation.witness_context
    for block in range(drive.blocks - 1):
        witness_stage.take_pieces(witness, drive.manifest.pieces_for_witness(block))
        restart()
    drive.until_exchange()
    for block in range(drive.blocks - 1):
        restart()
        drive.boxes = drive.share_all(block)
    restart()
    assert np.array_equal(finish(drive, drive.share_all(drive.blocks - 1)), exact(drive))


def test_a_node_lost_between_blocks_voids_the_attempt(tmp_path: Path) -> None:
    world = make_world(tmp_path, noise_off=False)
    asked = []
    gone = lose("tax-1", "train.share")

    def hook(party: str, step: str, parcel: Parcel) -> Parcel | None:
        if party == "tax-1" and step == "train.share" and not asked:
            asked.append(step)
            return parcel
        return gone(party, step, parcel)

    world.disturb(before=hook)
    released = run_scorecard(world, world.noisy_plan(block_rows=40))
    assert (released.attempts, set(released.lost)) == (2, {"tax-1"})
    spent = world.federation.spent()
    assert spent["tax-1"].epsilon == 0.0
    assert all(2.9 < each.epsilon <= 3.0 for party, each in spent.items() if party != "tax-1")
    world.federation.close()


# --- masked rows -------------------------------------------------------------------------------------------------


def test_a_block_whose_answer_was_lost_is_counted_once(drive: Drive) -> None:
    drive.until_exchange()
    again = []
    for block in range(drive.blocks - 1):
        boxes = drive.share_all(block)
        again.append(drive.share("bank-1", block=block))
        context = drive.world.federation.contexts["bank-1"]
        state = context.attempts.load(drive.attempt)
        assert (state.counted, len(state.rows_sha256)) == (block + 1, block + 2)
        drive.boxes = {**boxes, "bank-1": again[-1]}
    last = drive.share_all(drive.blocks - 1)
    assert drive.share("bank-1", block=0).arrays["term"].tobytes() == last["bank-1"].arrays["term"].tobytes()
    assert np.array_equal(finish(drive, last), exact(drive))


@pytest.mark.parametrize("asked", [0, 2, 3, 4])
def test_a_block_out_of_turn_is_refused(drive: Drive, asked: int) -> None:
    drive.until_exchange().share_until(1)
    context = drive.world.federation.contexts["bank-1"]
    before = context.attempts.load(drive.attempt)
    if asked == 0:  # counted before: whatever comes along, the answer is the next block's rows and nothing is added
        assert not drive.share("bank-1", {}, block=0).names("from.")
    else:
        with pytest.raises(AttemptError):
            drive.share("bank-1", block=asked)
    assert context.attempts.load(drive.attempt) == before
    assert context.ledger.charges() == ()


def test_no_term_leaves_before_the_last_block_is_counted(drive: Drive) -> None:
    drive.until_exchange()
    for block in range(drive.blocks - 1):
        replies = drive.share_all(block)
        assert not any("term" in reply.arrays or "receipt" in reply.texts for reply in replies.values())
        drive.boxes = replies
    with pytest.raises(AttemptError):
        drive.release([])


def sender_with_both(drive: Drive) -> tuple[str, dict[str, Parcel]]:
    """A sender to bank-1 in both of the first two blocks, and the boxes of the first."""
    first = dict(drive.boxes)
    drive.share_until(1)
    both = [
        party
        for party in drive.parties
        if "to.bank-1" in first[party].arrays and "to.bank-1" in drive.boxes[party].arrays
    ]
    return both[0], first


def test_an_earlier_blocks_box_does_not_serve_again(drive: Drive) -> None:
    drive.until_exchange()
    sender, first = sender_with_both(drive)
    inbox = drive.inbox("bank-1") | {f"from.{sender}": first[sender].arrays["to.bank-1"]}
    with pytest.raises(ExchangeError) as refused:
        drive.share("bank-1", inbox, block=1)
    assert refused.value.field == sender


def test_a_box_kept_back_added_or_altered_in_a_later_block_is_refused(drive: Drive) -> None:
    drive.until_exchange()
    sender, first = sender_with_both(drive)
    inbox = drive.inbox("bank-1")
    name = f"from.{sender}"
    without = {each: box for each, box in inbox.items() if each != name}
    altered = inbox[name].copy()
    altered[-1] ^= 1
    for lie in (without, {**inbox, name: altered}, {**inbox, "from.bank-2": first[sender].arrays["to.bank-1"]}):
        with pytest.raises(ExchangeError):
            drive.share("bank-1", lie, block=1)
    drive.boxes = drive.share_all(1)  # refused as a whole: nothing of it was counted
    drive.boxes = drive.share_all(2)
    assert np.array_equal(finish(drive, drive.share_all(3)), exact(drive))


def test_rows_changed_at_rest_are_not_those_that_were_frozen(drive: Drive) -> None:
    drive.cosign().accept_all().seed().exchange_all()
    context = drive.world.federation.contexts["bank-1"]
    arrays = unpack_arrays(context.attempts.blob(drive.attempt, "rows.1") or b"")
    codes = arrays["codes"].copy()
    codes[0, 0] = (codes[0, 0] + 1) % 3
    changed = {name: array_fields(array) for name, array in {**arrays, "codes": codes}.items()}
    context.attempts.save_blob(drive.attempt, "rows.1", msgpack.packb(changed))
    with pytest.raises(AttemptError, match="frozen"):
        drive.share("bank-1", block=0)
    assert context.ledger.charges() == ()


def test_the_first_blocks_rows_are_not_given_again_under_another_seed(drive: Drive) -> None:
    drive.until_exchange().share_until(2)
    with pytest.raises(AttemptError):
        table_stage.exchange(drive.world.federation.contexts["bank-1"], drive.exchange_parcel("bank-1"))


# --- slices ------------------------------------------------------------------------------------------------------


def test_the_witness_cosigns_nothing_before_every_block_has_come(drive: Drive) -> None:
    witness = drive.world.federation.witness_context
    with pytest.raises(ManifestError, match="block 0"):
        witness_stage.cosign(witness, drive.manifest.for_witness())
    witness_stage.take_pieces(witness, drive.manifest.pieces_for_witness(0))
    witness_stage.take_pieces(witness, drive.manifest.pieces_for_witness(2))
    with pytest.raises(ManifestError, match="block 1"):
        witness_stage.cosign(witness, drive.manifest.for_witness())
    with pytest.raises(ManifestError):  # the last one comes with T0; there is none after it
        witness_stage.take_pieces(witness, replace_block(drive.manifest.pieces_for_witness(0), 4))
    with pytest.raises(ManifestError):  # another block's merchants
        witness_stage.take_pieces(witness, replace_block(drive.manifest.pieces_for_witness(0), 1))
    with pytest.raises(ExchangeError):
        witness_stage.take_pieces(witness, replace_block(drive.manifest.pieces_for_witness(0), "one"))
    witness_stage.take_pieces(witness, drive.manifest.pieces_for_witness(1))
    assert witness_stage.cosign(witness, drive.manifest.for_witness()).text("cosignature")


def replace_block(parcel: Parcel, block: object) -> Parcel:
    return Parcel({**parcel.texts, "block": str(block)}, parcel.arrays)


def test_blocks_shown_under_other_terms_do_not_count(world: World, drive: Drive) -> None:
    witness = world.federation.witness_context
    other = Drive.start(world, world.plan(block_rows=40, deadline=timedelta(hours=2)))  # under the same attempt's id
    assert other.manifest.token != drive.manifest.token
    for block in range(drive.blocks - 1):
        witness_stage.take_pieces(witness, other.manifest.pieces_for_witness(block))
    with pytest.raises(ManifestError, match="under these terms"):
        witness_stage.cosign(witness, drive.manifest.for_witness())


def test_blocks_are_not_replaced_once_cosigned(world: World, drive: Drive) -> None:
    drive.cosign()
    witness = world.federation.witness_context
    again = Drive.start(world, world.plan(block_rows=40)).manifest
    for block in range(drive.blocks - 1):
        witness_stage.take_pieces(witness, again.pieces_for_witness(block))
    first = drive.cosignature
    assert drive.cosign().cosignature == first


def two_places(drive: Drive) -> Cohort:
    """A cohort with its first merchant a second time, in the last block."""
    pseudonyms = drive.cohort.pseudonyms.copy()
    pseudonyms[-1] = pseudonyms[0]
    cohort = drive.cohort
    return Cohort(cohort.nodes, cohort.kinds, cohort.label_kind, pseudonyms, cohort.holders)


def test_one_merchant_in_two_blocks_is_refused_by_witness_and_node(world: World, drive: Drive) -> None:
    cohort = two_places(drive)
    drive.manifest = build_manifest(drive.manifest.terms, cohort, drive.plan)
    with pytest.raises(ManifestError, match="pseudonym"):
        drive.cosign()
    drive.forge_cosignature()
    holder = cohort.nodes[cohort.holders["bank"][-1]].party_id
    if cohort.holders["bank"][0] == cohort.holders["bank"][-1]:
        with pytest.raises(ManifestError, match="repeats a merchant"):
            drive.accept(holder)
    twin = int(np.flatnonzero(cohort.holders["bank"] == cohort.holders["bank"][0])[-1])
    pseudonyms = drive.cohort.pseudonyms.copy()
    pseudonyms[twin] = pseudonyms[0]
    forged = Cohort(cohort.nodes, cohort.kinds, cohort.label_kind, pseudonyms, cohort.holders)
    drive.manifest = build_manifest(drive.manifest.terms, forged, drive.plan)
    drive.forge_cosignature()
    with pytest.raises(ManifestError, match="repeats a merchant"):
        drive.accept(cohort.nodes[cohort.holders["bank"][0]].party_id)


def test_a_node_refuses_a_slice_with_a_block_missing_altered_or_in_anothers_place(world: World, drive: Drive) -> None:
    drive.cosign()
    context = world.federation.contexts["bank-1"]
    last = drive.manifest.for_node(0, drive.cosignature)
    with pytest.raises(ManifestError, match="block 0"):
        table_stage.accept(context, last)
    for block in range(drive.blocks - 1):
        table_stage.take_piece(context, drive.manifest.piece_for_party("bank-1", block))
    piece = drive.manifest.piece_for_party("bank-1", 1)
    altered = piece.arrays["pseudonyms"].copy()
    altered[0, 0] ^= 1
    lies = [
        Parcel(piece.texts, {**piece.arrays, "pseudonyms": altered}),
        replace_block(drive.manifest.piece_for_party("bank-1", 0), 1),
        Parcel(piece.texts, {name: array[1:] for name, array in piece.arrays.items()}),
    ]
    for lie in lies:
        table_stage.take_piece(context, lie)
        with pytest.raises(ManifestError, match="root"):
            table_stage.accept(context, last)
    table_stage.take_piece(context, piece)
    assert table_stage.accept(context, last).text("acceptance")
    kept = context.attempts.load(drive.attempt)
    table_stage.take_piece(context, lies[0])  # too late: what was accepted is frozen
    assert context.attempts.load(drive.attempt) == kept
    assert context.attempts.blob(drive.attempt, "slice.1") is None


def test_pieces_of_a_slice_that_was_never_accepted_are_forgotten_on_the_void(world: World, drive: Drive) -> None:
    drive.cosign()
    context = world.federation.contexts["bank-1"]
    table_stage.take_piece(context, drive.manifest.piece_for_party("bank-1", 0))
    assert context.attempts.blob(drive.attempt, "slice.0") is not None
    table_stage.outcome(context, Parcel({"decision": drive.abort()}))
    assert context.attempts.blob(drive.attempt, "slice.0") is None
    assert world.federation.witness_context.attempts.blocks(drive.attempt) == {}
