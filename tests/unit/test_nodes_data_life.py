"""What was received under a consent is gone from disk when its life ends, and the node has put its name to that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from crypto.deletions import check_deletion
from crypto.wire.consent import DataLife
from crypto.wire.deletion import DeletionStatement
from nodes.enquiries import Enquiry
from nodes.errors import PeerError
from nodes.gateway_keys import KeyedScores
from nodes.kept_answers import life_end
from nodes.store import Store
from nodes.tables.attempts import AttemptBlobRow
from nodes.tables.batches import GatewayKeyRow
from nodes.tables.scoring import AnswerRow
from tests.scoring_world import ScoringWorld

PARTIES = ("bank-01", "lender", "platform", "tax-01", "utility-01", "witness")
MONTH = timedelta(days=31)
"""From the world's first of March."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path, parties=PARTIES)
    world.release()
    yield world
    world.close()


@pytest.mark.parametrize(
    ("start", "life", "end"),
    [
        ("2026-03-01T08:00:00", ("hour", 1), "2026-03-01T09:00:00"),
        ("2026-03-01T08:00:00", ("day", 2), "2026-03-03T08:00:00"),
        ("2026-03-01T08:00:00", ("week", 1), "2026-03-08T08:00:00"),
        ("2026-01-31T08:00:00", ("month", 1), "2026-02-28T08:00:00"),
        ("2028-01-31T08:00:00", ("month", 1), "2028-02-29T08:00:00"),
        ("2026-11-30T08:00:00", ("month", 3), "2027-02-28T08:00:00"),
        ("2026-12-01T08:00:00", ("month", 1), "2027-01-01T08:00:00"),
        ("2028-02-29T08:00:00", ("year", 1), "2029-02-28T08:00:00"),
        ("2028-02-29T08:00:00", ("year", 4), "2032-02-29T08:00:00"),
    ],
)
def test_a_life_is_counted_by_the_calendar(start: str, life: tuple[str, int], end: str) -> None:
    given = DataLife.model_validate({"unit": life[0], "value": life[1]})
    moments = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (start, end)]
    assert life_end(moments[0], given) == moments[1]


def keyed(world: ScoringWorld, key: str = "k1", merchant: str = "M001") -> None:
    node = world.nodes["lender"]
    scores = KeyedScores(node.runtime.store, node.enquiries, clock=world.clock)
    scores.score(key, "0" * 64, Enquiry(merchant), purpose="credit-scoring", model_id=None)


def batch(world: ScoringWorld, *merchants: str) -> str:
    batches = world.nodes["lender"].batches
    made = batches.create(map(Enquiry, merchants), source_sha256="1" * 64)
    assert batches.run(made).scored == len(merchants)
    return made


def on_disk(world: ScoringWorld, text: str) -> bool:
    """Whether bytes are anywhere in the lender's folder: database, write-ahead log, anything."""
    folder = world.nodes["lender"].runtime.config.data_dir
    return any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def answers(world: ScoringWorld, made: str) -> list[str | None]:
    """A batch's stored answers."""
    with world.nodes["lender"].runtime.store.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT answer FROM batch_items ORDER BY place").all()
    assert world.nodes["lender"].batches.progress(made).total == len(rows)
    return [row[0] for row in rows]


def stated(world: ScoringWorld) -> list[DeletionStatement]:
    """The statements that the hub got, verified as anyone verifies them."""
    key = world.parties["lender"].sign_key
    return [check_deletion(each, key, party_id="lender") for each in world.relay.deletions]


def sweep(world: ScoringWorld) -> int:
    keeper = world.nodes["lender"].data_life
    made = keeper.sweep()
    keeper.send()
    return made


def notes(world: ScoringWorld, party: str, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line.entry) for line in world.nodes[party].journal.lines()]
    return [line["facts"] for line in lines if line["type"] == kind]


def test_answers_are_gone_from_disk_the_second_their_life_ends(world: ScoringWorld) -> None:
    record = world.give()
    made = batch(world, "M001")
    (answer,) = answers(world, made)
    assert answer is not None
    mark = answer[:60]
    world.pass_time(days=31, seconds=-1)
    assert sweep(world) == 0
    assert on_disk(world, mark)
    world.pass_time(seconds=1)
    assert sweep(world) == 1
    assert answers(world, made) == [None]
    assert not on_disk(world, mark)
    (outcome,) = world.nodes["lender"].batches.outcomes(made)
    assert (outcome.id, outcome.answer, outcome.code) == ("M001", None, "answer-deleted")
    (statement,) = stated(world)
    assert (statement.reason, statement.deleted_at) == ("data-life-over", world.now)
    assert statement.counts == {"batch-answers": 1, "reasons": 1}
    assert [each.record_id for each in world.relay.deletions] == [record.record_id]
    (note,) = notes(world, "lender", "data-deleted")
    assert (note["record"], note["batch-answers"]) == (statement.record.hex(), 1)
    assert record.record_id not in json.dumps(note)
    assert sweep(world) == 0


@pytest.mark.parametrize(
    ("event", "reason"), [("revoked", "consent-revoked"), ("refused", "consent-refused"), (None, "consent-expired")]
)
def test_the_end_of_a_consent_ends_what_was_received_under_it(
    world: ScoringWorld, event: str | None, reason: str
) -> None:
    life = DataLife(unit="year", value=10)
    record = world.give(data_life=life)
    kept = world.give("M002", data_life=life, valid_until=world.now + timedelta(days=3000))
    made = batch(world, "M001", "M002")
    keyed(world)
    mark = (answers(world, made)[0] or "")[:60]
    if event is not None:
        world.change(record, event)
    else:
        world.now = record.valid_until
    assert sweep(world) == 1
    first, second = answers(world, made)
    assert first is None
    assert second is not None
    assert not on_disk(world, mark)
    (statement,) = stated(world)
    assert (statement.reason, dict(statement.counts)) == (
        reason,
        {"batch-answers": 1, "single-answers": 1, "reasons": 2},
    )
    assert kept.record_id not in {each.record_id for each in world.relay.deletions}


def test_a_pause_deletes_nothing(world: ScoringWorld) -> None:
    record = world.give()
    made = batch(world, "M001")
    world.change(record, "paused")
    assert sweep(world) == 0
    assert answers(world, made) != [None]


def test_a_score_that_was_only_shown_is_stated_too(world: ScoringWorld) -> None:
    record = world.give()
    world.nodes["lender"].enquiries.score(Enquiry("M001"))
    world.change(record, "revoked")
    assert sweep(world) == 1
    (statement,) = stated(world)
    assert (statement.reason, statement.counts) == ("consent-revoked", {})


def test_whoever_received_nothing_states_nothing(world: ScoringWorld) -> None:
    record = world.give()
    world.change(record, "revoked")
    assert sweep(world) == 0
    for source in record.sources.values():
        assert world.nodes[source].data_life.sweep() == 0


def test_an_answer_that_comes_after_the_revocation_is_deleted_at_once(world: ScoringWorld) -> None:
    record = world.give()
    node = world.nodes["lender"]
    node.enquiries.score(Enquiry("M001"))
    world.change(record, "revoked")
    assert sweep(world) == 1
    with node.runtime.store.session() as session:  # as a request under way at that moment would leave it
        late = GatewayKeyRow(
            key="late",
            body_sha256="0" * 64,
            token=None,
            answer='{"not":"an answer that this version can read"}',
            record_id=record.record_id,
            keep_until=int((world.now + MONTH).timestamp()),
            created_at=int(world.now.timestamp()),
        )
        session.add(late)
    assert sweep(world) == 1
    assert [dict(each.counts) for each in stated(world)] == [{}, {"single-answers": 1}]


def test_nothing_is_stated_before_the_bytes_are_gone(world: ScoringWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    record = world.give()
    made = batch(world, "M001")
    mark = (answers(world, made)[0] or "")[:60]
    world.change(record, "revoked")
    monkeypatch.setattr(Store, "scrub", lambda _: False)  # somebody reads, or the machine stops here
    assert sweep(world) == 0
    assert world.relay.deletions == []
    assert notes(world, "lender", "data-deleted") == []
    monkeypatch.undo()
    world.reopen("lender")
    assert sweep(world) == 1
    assert not on_disk(world, mark)
    assert [dict(each.counts) for each in stated(world)] == [{"batch-answers": 1, "reasons": 1}]


def test_a_reader_holds_the_statement_up_and_no_longer(world: ScoringWorld) -> None:
    record = world.give()
    keyed(world)
    world.change(record, "revoked")
    store = world.nodes["lender"].runtime.store
    with store.reading() as session:
        session.scalar(select(GatewayKeyRow.key))
        assert store.scrub() is False
    assert sweep(world) == 1


def test_a_hub_out_of_reach_gets_the_statements_later_and_once(world: ScoringWorld) -> None:
    record = world.give()
    keyed(world)
    world.change(record, "revoked")
    world.relay.unreachable = True
    with pytest.raises(PeerError):
        sweep(world)
    world.relay.unreachable = False
    world.reopen("lender")
    assert sweep(world) == 0
    assert sweep(world) == 0
    assert len(stated(world)) == 1


def test_statements_about_one_consent_do_not_show_that_they_are(world: ScoringWorld) -> None:
    world.give(data_life=DataLife(unit="day", value=1))
    for day in range(2):
        keyed(world, f"k{day}")
        world.pass_time(days=1)
        assert sweep(world) == 1
    first, second = stated(world)
    assert first.record != second.record
    assert {each.record_id for each in world.relay.deletions} == {world.relay.deletions[0].record_id}


def test_sealed_answers_and_what_attempts_left_behind_are_wiped(world: ScoringWorld) -> None:
    record = world.give()
    world.nodes["lender"].enquiries.score(Enquiry("M001"))
    source = world.nodes["tax-01"]
    source.runtime.attempts.save_blob("c/scorecard/1", "rows.0", b"frozen rows of an attempt that never ended")
    world.pass_time(minutes=6)
    source.data_life.sweep()
    with source.runtime.store.reading() as session:
        (row,) = session.scalars(select(AnswerRow)).all()
        assert row.answer is None  # its nonce stays, so that the request cannot be played again
        assert session.get(AttemptBlobRow, ("c/scorecard/1", "rows.0")) is not None
    world.pass_time(days=2)
    source.data_life.sweep()
    assert source.runtime.attempts.blob("c/scorecard/1", "rows.0") is None
    data = b"".join(file.read_bytes() for file in source.runtime.config.data_dir.rglob("*") if file.is_file())
    assert b"frozen rows of an attempt" not in data
    assert notes(world, "tax-01", "attempt-wiped") == [{"attempt": "c/scorecard/1", "pieces": 1}]
    assert record.record_id.encode() in data  # consents stay: they are the ground on which the node answered
