"""The audit log: outbox, order, checkpoints, cosignatures, proofs, erasure."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, select

from crypto.checkpoint import parse_note, verify_note
from crypto.merkle import leaf_hash, verify_inclusion
from crypto.wire.audit import InclusionProof
from hub.errors import CheckpointNotCosignedError, LogError, NotFoundError, RequestError
from hub.log import GROUPING_S, MOST_GROUPING_S, NewEntry, commit_subject, grouping_s
from hub.tables.log import CheckpointRow, LogEntryRow, LogPendingRow, LogTileRow, SubjectSaltRow
from tests.hub_world import HubWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path)
    world.join(world.witness)
    yield world
    world.hub.close()


def append(world: HubWorld, count: int, **facts: int) -> list[int]:
    with world.hub.db.session() as session:
        return world.hub.log.append_many(
            session, [NewEntry("query", "bank-01", facts={"item": item, **facts}) for item in range(count)]
        )


def check_proof(world: HubWorld, proof: InclusionProof) -> None:
    checkpoint = verify_note(proof.checkpoint, world.verifiers(), required=set(world.verifiers()))
    verify_inclusion(leaf_hash(proof.entry.encode()), proof.index, checkpoint.size, proof.hashes, checkpoint.root)


def test_entry_falls_with_its_transaction(world: HubWorld) -> None:
    def fail() -> None:
        with world.hub.db.session() as session:
            world.hub.log.append(session, "query", "bank-01")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    world.settle()
    with world.hub.db.reading() as session:
        types = [json.loads(leaf)["type"] for leaf in session.scalars(select(LogEntryRow.leaf))]
    assert types == ["hub-initialised", "enrolment-token", "enrolment", "roster"]


def test_every_entry_is_proved_under_both_signatures(world: HubWorld) -> None:
    ids = [append(world, count)[-1] for count in (1, 2, 300, 7)]
    world.settle()
    for pending_id in ids:
        check_proof(world, world.hub.log.proof_sync(pending_id, 0))
    proofs = world.hub.log.proofs_sync(ids, 0)
    assert [json.loads(proof.entry)["facts"]["item"] for proof in proofs] == [0, 1, 299, 6]


def test_ids_are_never_used_twice(world: HubWorld) -> None:
    first = append(world, 3)
    world.settle()
    with world.hub.db.reading() as session:
        assert session.scalars(select(LogPendingRow.id)).all() == []
    assert min(append(world, 1)) > max(first)


def test_without_the_witness_the_log_goes_on_and_proofs_time_out(world: HubWorld) -> None:
    world.settle()
    world.links.reachable = False
    (pending_id,) = append(world, 1)
    world.hub.log.start()
    try:
        with pytest.raises(CheckpointNotCosignedError) as refused:
            world.hub.log.proof_sync(pending_id, 0.3)
        assert refused.value.code == "checkpoint-not-cosigned"
        assert parse_note(world.hub.log.reader.checkpoint(cosigned=False))[0].size == 5
        assert parse_note(world.hub.log.reader.checkpoint())[0].size == 4
        world.links.reachable = True
        check_proof(world, world.hub.log.proof_sync(pending_id, 5))
    finally:
        world.hub.log.stop()


def test_proofs_come_quickly_when_somebody_waits(world: HubWorld) -> None:
    world.hub.log._interval_s = 60.0
    world.hub.log.start()
    try:

        async def ten() -> list[InclusionProof]:
            return await asyncio.gather(*(world.hub.log.proof(append(world, 1)[0], 20) for _ in range(10)))

        asyncio.run(ten())  # within a third of the time after which a checkpoint is made where nobody waits
        check_proof(world, world.hub.log.proof_sync(append(world, 1)[0], 20))
    finally:
        world.hub.log.stop()


def test_checkpoints_are_as_far_apart_as_the_witness_takes(world: HubWorld) -> None:
    assert grouping_s(0.0) == GROUPING_S
    assert grouping_s(2 * GROUPING_S) == 2 * GROUPING_S
    assert grouping_s(1000.0) == MOST_GROUPING_S
    cosigner = world.hub.log._cosigner
    cosigner.took = 0.0
    append(world, 1)
    world.settle()
    assert cosigner.took > 0


def test_a_checkpoint_takes_few_statements(world: HubWorld) -> None:
    """Its cost is what bounds single scores: each statement more is seen in the load benchmark."""
    append(world, 300)
    world.settle()
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    append(world, 2)
    event.listen(world.hub.db.engine, "before_cursor_execute", note)
    try:
        assert world.hub.log.sequence() == 2
        sequencing = len(asked)
        assert world.hub.log._cosigner.offer()
    finally:
        event.remove(world.hub.db.engine, "before_cursor_execute", note)
    # What waits, size, entries, terms read and written, times, commitments, out of the outbox, tiles, checkpoint.
    assert sequencing <= 14, asked
    assert len(asked) - sequencing <= 9, asked[sequencing:]


def test_async_proof_times_out(world: HubWorld) -> None:
    world.links.reachable = False
    (pending_id,) = append(world, 1)
    with pytest.raises(CheckpointNotCosignedError):
        asyncio.run(world.hub.log.proof(pending_id, 0.1))


def test_witness_that_knows_less_or_lost_an_answer_is_brought_up(world: HubWorld) -> None:
    append(world, 5)
    world.settle()
    with world.hub.db.session() as session:
        newest = session.scalars(select(CheckpointRow).order_by(CheckpointRow.size.desc())).first()
        assert newest is not None
        newest.cosigned = False
    append(world, 5)
    world.settle()
    assert parse_note(world.hub.log.reader.checkpoint())[0].size == world.links.size == world.hub.log.reader.size()


def test_witness_that_knows_more_stops_cosigning(world: HubWorld) -> None:
    world.settle()
    world.links.size = 99
    append(world, 1)
    world.hub.log.sequence()
    with pytest.raises(LogError, match="cosigned a log of 99"):
        world.hub.log._cosigner.offer()


def test_wrong_line_is_not_stored(world: HubWorld) -> None:
    world.settle()
    append(world, 1)
    world.links.member.identity = world.hub.keys.identity
    world.hub.log.sequence()
    with pytest.raises(Exception, match="witness-zj"):
        world.hub.log._cosigner.offer()
    assert parse_note(world.hub.log.reader.checkpoint())[0].size < world.hub.log.reader.size()


def test_altered_store_does_not_start(world: HubWorld) -> None:
    append(world, 300)
    world.settle()
    world.hub.log.check()
    with world.hub.db.session() as session:
        tile = session.get_one(LogTileRow, (0, 1))
        tile.data = bytes([tile.data[0] ^ 1]) + tile.data[1:]
    with pytest.raises(LogError):
        world.hub.log.start()


def test_subject_is_committed_found_and_erased(world: HubWorld) -> None:
    pseudonym, other = b"p" * 32, b"q" * 32
    with world.hub.db.session() as session:
        world.hub.log.append(session, "query", "bank-01", subject=pseudonym)
        world.hub.log.append(session, "query", "bank-01", subject=pseudonym)
        world.hub.log.append(session, "query", "bank-01", subject=other)
    world.settle()
    entries = world.hub.log.reader.of_merchant(pseudonym)
    subjects = [json.loads(each.leaf)["subject"] for each in entries]
    assert len(entries) == 2
    assert len(set(subjects)) == 2  # another salt each time: entries of one merchant do not link
    with world.hub.db.session() as session:
        salt = session.scalars(select(SubjectSaltRow.salt)).first()
        assert salt is not None
        assert commit_subject(salt, pseudonym) == hashlib.sha256(salt + pseudonym).digest()
        assert world.hub.log.erase_subject(session, pseudonym) == 2
    assert world.hub.log.reader.of_merchant(pseudonym) == []
    assert len(world.hub.log.reader.of_merchant(other)) == 1
    world.hub.log.check()


def test_reader_answers_and_refuses(world: HubWorld) -> None:
    append(world, 600)
    world.settle()
    reader = world.hub.log.reader
    assert len(reader.tile(0, 1)) == 256 * 32
    assert reader.tile(0, 0, 7) == reader.tile(0, 0)[: 7 * 32]
    assert len(reader.entries(595, 100)) == 9
    with pytest.raises(NotFoundError):
        reader.tile(0, 2, 256)
    with pytest.raises(NotFoundError):
        reader.tile(3, 0, 1)
    with pytest.raises(RequestError):
        reader.consistency(1, 10_000)
