"""What both databases promise: writers take turns, readers see one state, nothing is given out twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from crypto.jws import sign_model
from crypto.keys import IdentityKey
from crypto.wire.base import SUITE
from crypto.wire.party import VoprfRequest
from hub.config import load_config
from hub.db import Database, open_database
from hub.errors import EnrolmentError, HubError, IdempotencyInProgressError, ReplayError, StateError, VoprfQuotaError
from hub.keys import write_secret
from hub.migrations.runner import differences
from hub.tables.feed import FeedItemRow
from hub.tables.log import LogEntryRow, LogPendingRow
from hub.tables.voprf import VoprfUseRow
from tests.hub_world import HubWorld, Member

THREADS = 8


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path)
    made.join(made.witness, Member("bank-1", "bank"))
    yield made
    made.hub.close()


def at_once(call: Callable[[int], object], count: int = THREADS) -> list[object]:
    """Results or errors of as many calls as threads, all begun together."""
    ready = threading.Barrier(count)

    def one(number: int) -> object:
        ready.wait(60)
        try:
            return call(number)
        except HubError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_hubs_are_made_on_the_database_of_the_test(world: HubWorld, database: str) -> None:
    assert world.hub.db.engine.dialect.name == database


def test_the_migrations_lead_to_the_declared_tables_on_each_database(world: HubWorld) -> None:
    assert differences(world.hub.db) == []


def test_read_then_write_is_never_overtaken(world: HubWorld) -> None:
    db = world.hub.db
    with db.session() as session:
        session.add(VoprfUseRow(party_id="bank-1", target="hub", used=0))

    def raise_by_one(_: int) -> None:
        for _ in range(10):
            with db.session() as session:
                used = session.get_one(VoprfUseRow, ("bank-1", "hub")).used
                session.execute(update(VoprfUseRow).values(used=used + 1))

    at_once(raise_by_one)
    with db.reading() as session:
        assert session.scalar(select(VoprfUseRow.used)) == 10 * THREADS


def test_a_reader_sees_one_state_whatever_is_committed_meanwhile(world: HubWorld) -> None:
    db = world.hub.db
    with db.reading() as session:
        before = session.scalar(select(func.count()).select_from(LogPendingRow))
        with db.session() as writer:
            world.hub.log.append(writer, "erasure", "hub", facts={"entries": 0})
        assert session.scalar(select(func.count()).select_from(LogPendingRow)) == before
    with db.reading() as session:
        assert session.scalar(select(func.count()).select_from(LogPendingRow)) == (before or 0) + 1


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        db = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
        assert not list(tmp_path.glob("new.*"))  # nothing is made until it is used
        with db.session() as session:
            session.execute(text("CREATE TABLE t (x INTEGER)"))
        assert {each.stat().st_mode & 0o777 for each in tmp_path.glob("new.*")} == {0o600}
        db.close()
    finally:
        os.umask(before)


def test_a_reader_cannot_write_on_postgresql(world: HubWorld, database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no such transactions")
    with pytest.raises(DBAPIError, match="read-only"), world.hub.db.reading() as session:
        session.execute(delete(LogPendingRow))


def test_the_outbox_becomes_the_log_without_gap_or_loss_while_writers_go_on(world: HubWorld) -> None:
    hub = world.hub
    world.settle()
    start = hub.log.reader.size()
    stopped = threading.Event()

    def write(number: int) -> None:
        for count in range(20):
            with hub.db.session() as session:
                hub.log.append(session, "erasure", f"writer-{number}", facts={"entries": count})

    def sequence() -> None:
        while not stopped.is_set():
            hub.log.sequence()

    sequencer = threading.Thread(target=sequence)
    sequencer.start()
    at_once(write)
    stopped.set()
    sequencer.join()
    while hub.log.sequence():
        pass
    with hub.db.reading() as session:
        rows = session.execute(select(LogEntryRow.index, LogEntryRow.pending_id).order_by(LogEntryRow.index)).all()
        assert [row.index for row in rows] == list(range(len(rows)))
        # Writers take turns, so that ids are given out in the order of commits.
        assert [row.pending_id for row in rows] == sorted(row.pending_id for row in rows)
        assert session.scalar(select(func.count()).select_from(LogPendingRow)) == 0
    written = [json.loads(leaf) for leaf in hub.log.reader.entries(start, 1000)]
    for number in range(THREADS):
        mine = [each["facts"]["entries"] for each in written if each["actor"] == f"writer-{number}"]
        assert mine == list(range(20))
    hub.log.check()


def test_feeds_have_no_gaps_and_no_doubles_under_many_writers(world: HubWorld) -> None:
    hub = world.hub
    parties = [f"new-{number}" for number in range(3)]
    order = [parties, parties[::-1]]

    def publish(number: int) -> None:
        for _ in range(10):
            with hub.db.session() as session:
                for party in order[number % 2]:  # in opposite orders: row locks alone would deadlock
                    hub.feed.publish(session, [party], "roster", token="t")

    at_once(publish)
    with hub.db.reading() as session:
        for party in parties:
            numbers = session.scalars(select(FeedItemRow.seq).where(FeedItemRow.party_id == party))
            assert sorted(numbers) == list(range(1, 10 * THREADS + 1))


def test_a_quota_and_a_nonce_hold_under_many_requests_at_once(world: HubWorld) -> None:
    bank = Member("bank-2", "bank")
    world.join(bank)
    # 100,000 is the quota; the last of these batches does not fit any more.
    with world.hub.db.session() as session:
        session.add(VoprfUseRow(party_id="bank-2", target="hub", used=100_000 - THREADS // 2))

    def ask(nonce: bytes) -> object:
        element = world.witness_voprf.public
        request = VoprfRequest(
            suite=SUITE,
            party_id="bank-2",
            target="hub",
            nonce=nonce,
            blinded=(element,),
            issued_at=world.now,
        )
        return world.hub.voprf.answer(sign_model(request, bank.identity, typ="voprf", kid="bank-2"))

    answers = at_once(lambda number: ask(bytes([number]) * 16))
    assert sum(isinstance(each, VoprfQuotaError) for each in answers) == THREADS - THREADS // 2
    with world.hub.db.session() as session:
        session.execute(update(VoprfUseRow).values(used=0))
    again = at_once(lambda _: ask(b"\xff" * 16))
    assert sum(isinstance(each, ReplayError) for each in again) == THREADS - 1


def test_an_enrolment_token_and_an_idempotency_key_are_taken_once(world: HubWorld) -> None:
    token = world.hub.enrolment.issue_token("bank", "bank-3", valid_for=world.hub.config.idempotency_life)
    members = [Member("bank-3", "bank", IdentityKey.generate()) for _ in range(THREADS)]
    enrolled = at_once(lambda number: world.hub.enrolment.enrol(world.enrolment(members[number], token=token)))
    assert sum(isinstance(each, EnrolmentError) for each in enrolled) == THREADS - 1
    begun = at_once(lambda _: world.hub.idempotency.begin(b"scope", b"body"))
    assert [each for each in begun if not isinstance(each, IdempotencyInProgressError)] == [None]


def test_a_killed_writer_leaves_nothing_and_keeps_nobody_waiting(world: HubWorld) -> None:
    config = world.base / "hub.yaml"
    script = (
        "import sys, pathlib; from hub.config import load_config; from hub.db import open_database;"
        "from hub.tables.voprf import VoprfUseRow;"
        "db = open_database(load_config(pathlib.Path(sys.argv[1])))\n"
        "with db.session() as session:\n"
        "    session.add(VoprfUseRow(party_id='left', target='hub', used=1)); session.flush()\n"
        "    print('begun', flush=True); sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().strip() == "begun"
    writer.kill()
    writer.wait()
    with world.hub.db.session() as session:
        assert session.get(VoprfUseRow, ("left", "hub")) is None


def test_the_password_lies_in_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    write_secret(secret, b"word of mouth\n")
    path = tmp_path / "hub.yaml"
    path.write_text(
        "hub_id: hub\npublic_url: http://127.0.0.1:1\n"
        "database: postgresql+psycopg://digua@db/digua\ndatabase_password_file: password\n"
    )
    config = load_config(path)
    assert open_database(config).engine.url.password == "word of mouth"
    assert "word of mouth" not in repr(config)
    secret.chmod(0o640)
    with pytest.raises(StateError, match="may be read by others"):
        open_database(config)
