"""Two replicas on one PostgreSQL: links, feeds, keys of requests, nonces, limits, roster and log are one for both."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from crypto.jws import sign_model
from crypto.merkle import leaf_hash
from crypto.wire.base import SUITE
from crypto.wire.party import EnrolmentRequest
from hub.clock import seconds, utc_now
from hub.config import load_config
from hub.demo.merchants import event_of
from hub.errors import (
    IdempotencyInProgressError,
    PeerRefused,
    PeerUnreachable,
    ReplayError,
    StateError,
    TooManyRequestsError,
)
from hub.idempotent_answers import StoredAnswer
from hub.log import AuditLog, NewEntry
from hub.nonces import Nonces
from hub.peers import HubAwayError
from hub.rate_limits import RateLimit
from hub.replica_set import ReplicaSet, worker_links
from hub.services import Hub
from hub.state_errors import PeerMoving, ReplicaEndedError
from hub.tables.log import LogEntryRow, LogPendingRow
from nodes.fingerprint import party_fingerprint
from nodes.tables.consents import ConsentRow
from tests import served_world
from tests.databases import Server, on_postgresql
from tests.hub_world import Member
from tests.served_world import HubProcess, free_port, wait_until

LEASE_S = 2.0
YAML = {"replicas": {"lease_s": LEASE_S}, "campaigns": {"worker": "external"}, "feed_heartbeat_s": 60.0}
AT_A = ("witness", "bank-1")
AT_B = ("tax-1", "utility-1")


class TwoReplicas:
    """A and B; witness and bank are linked to A, tax and utility to B."""

    def __init__(self, base: Path) -> None:
        self.made = served_world.ServedWorld(
            base, merchants=20, nodes={"bank": 1, "tax": 1, "utility": 1}, hub_yaml=yaml.safe_dump(YAML)
        )
        self.made.wait_connected()
        self.processes: list[HubProcess] = []
        self.process_b = self.another()
        for party in AT_B:
            self.move(party, self.b)
        self.everybody = frozenset(self.made.agents)

    def another(self) -> HubProcess:
        """One more process on the same files but for its port; stopped at the end at the latest."""
        folder = self.made.base / "hub"
        fields = yaml.safe_load((folder / "hub.yaml").read_text(encoding="utf-8"))
        fields["listen"]["port"] = free_port()
        file = folder / f"hub-{secrets.token_hex(4)}.yaml"
        file.write_text(yaml.safe_dump(fields), encoding="utf-8")
        process = HubProcess(file)
        process.start()
        self.processes.append(process)
        return process

    def move(self, party: str, hub: Hub) -> None:
        """Have a party's agent open its link to this replica."""
        old = self.made.agents[party]
        old.close()
        url = f"http://127.0.0.1:{hub.config.listen.port}"
        remote = old.config.hub.model_copy(update={"url": url})
        agent = served_world.Agent.open(old.config.model_copy(update={"hub": remote}))
        self.made.agents[party] = agent
        agent.connect()
        wait_until(lambda: party in hub.link_server.connected(), what=f"{party}'s link")

    @property
    def a(self) -> Hub:
        return self.made.hub

    @property
    def b(self) -> Hub:
        return self.process_b.hub

    def close(self) -> None:
        for process in self.processes:
            process.stop()
        self.made.close()


def replica(hub: Hub) -> ReplicaSet:
    assert hub.replica_set is not None
    return hub.replica_set


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Iterator[TwoReplicas]:
    with on_postgresql(postgresql):
        made = TwoReplicas(tmp_path_factory.mktemp("replicas"))
    yield made
    made.close()


@pytest.fixture
def deaf(world: TwoReplicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """No replica hears from another."""
    for hub in (world.a, world.b):
        monkeypatch.setattr(replica(hub).news, "tell", lambda *_, **__: None)


def test_both_see_all_links_and_reach_them(world: TwoReplicas) -> None:
    assert world.a.link_server.connected() == set(AT_A)
    assert world.b.link_server.connected() == set(AT_B)
    for hub in (world.a, world.b):
        assert hub.links.connected() == world.everybody
        assert hub.link_view.states().keys() == world.everybody
        for party in world.everybody - {"witness"}:
            with pytest.raises(PeerRefused) as refused:  # the party's own word: it was reached
                hub.links.request(party, "query", b"no query", 10)
            assert refused.value.party == party
        with pytest.raises(PeerUnreachable) as absent:
            hub.links.request("bank-9", "query", b"", 5)
        assert not isinstance(absent.value, PeerMoving)


def test_a_worker_reaches_all_links_and_interrupts_when_a_replica_is_gone(world: TwoReplicas) -> None:
    config = world.a.config
    assert config.replicas is not None
    token = config.internal_token_file.read_text().strip()
    with worker_links(config, world.a.db, config.replicas, instance="worker", token=token) as links:
        assert links.wait_for_hub(lambda: False)
        assert links.connected() == world.everybody
        assert links.since >= world.a.opened_at
        for party in ("bank-1", "tax-1"):
            with pytest.raises(PeerRefused):
                links.request(party, "query", b"no query", 10)
        replica(world.a).places.opened("bank-7", "gone")
        with pytest.raises(PeerUnreachable):  # its replica answers that there is no such link
            links.request("bank-7", "query", b"", 5)
        replica(world.a).places.closed("bank-7", "gone")
        third = world.another()
        replica(third.hub).places.opened("bank-8", "here")
        third.stop()
        assert replica(world.a).places.find("bank-8") is None  # it signed off
    assert world.a.links.connected() == world.everybody


def test_a_replica_that_is_gone_is_named_as_such(world: TwoReplicas, monkeypatch: pytest.MonkeyPatch) -> None:
    third = world.another()
    places = replica(third.hub).places
    places.opened("bank-8", "here")
    assert "bank-8" in world.a.links.connected()
    monkeypatch.setattr(replica(third.hub).replicas, "stop", replica(third.hub).replicas._stopping.set)
    third.stop()  # it signs off with nobody
    with pytest.raises(PeerMoving) as moving:
        world.a.links.request("bank-8", "query", b"", 5)
    assert (moving.value.party, moving.value.status, moving.value.retry_after_s) == ("bank-8", 503, 2)
    config = world.a.config
    assert config.replicas is not None
    token = config.internal_token_file.read_text().strip()
    asked = worker_links(config, world.a.db, config.replicas, instance="worker", token=token)
    with asked as links, pytest.raises(HubAwayError):
        links.request("bank-8", "query", b"", 5)
    wait_until(lambda: replica(world.a).places.find("bank-8") is None, what="the end of its entry")
    assert world.a.links.connected() == world.everybody


def test_a_newer_link_elsewhere_ends_the_older(world: TwoReplicas) -> None:
    before = world.a.link_server.states()["bank-1"]
    older = replica(world.a).places.newest()["bank-1"]
    replica(world.b).places.opened("bank-1", "newer")
    wait_until(
        lambda: replica(world.a).places.newest().get("bank-1") not in (None, older, "newer"), what="the agent's return"
    )
    wait_until(lambda: "bank-1" in world.a.link_server.connected(), what="its link")
    assert world.a.link_server.states()["bank-1"].software == before.software


def test_news_wakes_feeds_at_once(world: TwoReplicas) -> None:
    """The heartbeat is a minute here: only news can bring this revocation."""
    row = next(row for row in range(20) if world.made.sources["tax"][row] == "tax-1")
    revoke(world, row, world.a)
    wait_until(lambda: held(world, "tax-1", row) == "revoked", what="the revocation", seconds=10)


@pytest.mark.usefixtures("deaf")
def test_a_revocation_at_one_replica_holds_for_queries_at_the_other_without_news(world: TwoReplicas) -> None:
    rows = iter([row for row in range(20) if world.made.sources["tax"][row] == "tax-1"][1:3])
    for asked in (world.b, world.a):  # over its own link, and by a hop
        row = next(rows)
        revoke(world, row, world.a)
        assert held(world, "tax-1", row) != "revoked"  # nothing was pushed
        with pytest.raises(PeerRefused):
            asked.links.request("tax-1", "query", b"no query", 10)
        assert held(world, "tax-1", row) == "revoked"  # the party stored it before it saw the query


def test_a_key_in_progress_is_kept_while_its_replica_lives(world: TwoReplicas) -> None:
    scope, body = secrets.token_bytes(32), b"\x01" * 32
    assert world.a.idempotency.begin(scope, body) is None
    with pytest.raises(IdempotencyInProgressError):
        world.b.idempotency.begin(scope, body)
    world.b.idempotency.release(scope)  # not its own
    world.b.idempotency.release_unfinished()  # as when B starts anew
    with pytest.raises(IdempotencyInProgressError):
        world.b.idempotency.begin(scope, body)
    world.a.idempotency.finish(scope, StoredAnswer(200, "text/plain", b"done"))
    assert world.b.idempotency.begin(scope, body) == StoredAnswer(200, "text/plain", b"done")


def test_a_replica_that_misses_its_lease_commits_nothing_more(world: TwoReplicas) -> None:
    third = world.another()
    hub = third.hub
    ended = threading.Event()
    replica(hub).on_end = ended.set
    scope, body = secrets.token_bytes(32), b"\x01" * 32
    assert hub.idempotency.begin(scope, body) is None
    beats = replica(hub).replicas
    beats._stopping.set()  # it hangs
    assert beats._thread is not None
    beats._thread.join(10)
    with pytest.raises(DBAPIError):  # its connection was ended with it
        hang_with_the_turn(hub, lambda: taken_over(world.b, scope, body))
    with pytest.raises(ReplicaEndedError):
        hub.idempotency.finish(scope, StoredAnswer(200, "text/plain", b"late"))
    with pytest.raises(ReplicaEndedError):
        hub.log.append_durably([NewEntry("voprf", "p")])
    beats._stopping.clear()
    beats._run()  # it wakes up
    assert ended.is_set()
    world.b.idempotency.finish(scope, StoredAnswer(200, "text/plain", b"once"))
    assert world.a.idempotency.begin(scope, body) == StoredAnswer(200, "text/plain", b"once")
    third.stop()


def test_who_was_away_itself_ends_nobody(world: TwoReplicas) -> None:
    third = world.another()
    beats = replica(third.hub).replicas
    name = replica(world.b).replicas.instance
    with third.hub.db.session() as session:
        assert not beats.gone(session, name)
        assert not beats.gone(session, beats.instance)
        assert beats.gone(session, "one that signed off")
    third.stop()


def test_nonces_are_spent_for_both(world: TwoReplicas) -> None:
    now = seconds(utc_now())
    at_a, at_b = replica(world.a).nonces("party"), replica(world.b).nonces("party")
    at_a.spend(b"one", now, now)
    with pytest.raises(ReplayError):
        at_b.spend(b"one", now, now)
    replica(world.b).nonces("merchant").spend(b"one", now, now)
    nonce = secrets.token_bytes(16)
    with ThreadPoolExecutor(8) as pool:
        passed = list(pool.map(lambda number: spent((at_a, at_b)[number % 2], nonce, now), range(16)))
    assert passed.count(True) == 1


def test_limits_count_for_both(world: TwoReplicas) -> None:
    limits = [RateLimit("4/minute", what="test", storage=replica(hub).windows) for hub in (world.a, world.b)]
    for number in range(4):
        limits[number % 2].count("10.0.0.1")
    for limit in limits:
        with pytest.raises(TooManyRequestsError):
            limit.count("10.0.0.1")
        limit.count("10.0.0.2")


def test_one_log_in_one_order_with_proofs_at_both(world: TwoReplicas) -> None:
    logs = (world.a.log, world.b.log)

    def append(number: int) -> tuple[AuditLog, int]:
        log = logs[number % 2]
        with (world.a, world.b)[number % 2].db.session() as session:
            return log, log.append(session, "voprf", f"p-{number}", facts={"number": number})

    with ThreadPoolExecutor(8) as pool:
        appended = list(pool.map(append, range(60)))
        proofs = list(pool.map(lambda each: each[0].proof_sync(each[1], 20), appended))
    assert len({proof.index for proof in proofs}) == 60
    with world.a.db.reading() as session:
        entries = session.execute(select(LogEntryRow.index, LogEntryRow.leaf, LogEntryRow.hash)).all()
        waiting = session.scalars(select(LogPendingRow.id)).all()
    assert sorted(index for index, *_ in entries) == list(range(len(entries)))
    assert all(leaf_hash(leaf) == hash_ for _, leaf, hash_ in entries)
    assert not {pending for _, pending in appended} & set(waiting)
    assert world.a.log.reader.root_matches()
    assert world.b.log_alarms.refusals() == ()


def test_one_leads_and_the_other_takes_over(world: TwoReplicas) -> None:
    wait_until(lambda: world.a.leads() != world.b.leads(), what="a leader")
    first, second = (world.a, world.b) if world.a.leads() else (world.b, world.a)
    assert first.leadership is not None
    first.leadership.stop()
    wait_until(second.leads, what="the other's lead")
    assert not first.leads()
    with first.db.session() as session:
        entry = first.log.append(session, "voprf", "p", facts={})
    assert first.log.proof_sync(entry, 20).entry  # through the other's cosigner
    first.leadership.start()


def test_a_roster_that_one_adopted_is_known_to_the_other(world: TwoReplicas) -> None:
    versions = [roster_version(hub) for hub in (world.a, world.b)]
    assert versions[0] == versions[1] > 0
    newcomer = Member("bank-5", "bank")
    approvals = world.made.witness.services.witness
    assert approvals is not None
    fingerprint = party_fingerprint("bank-5", "bank", newcomer.identity.public, newcomer.box.public)
    approvals.approvals.approve("bank-5", fingerprint)
    for hub in (world.a, world.b):
        hub.roster.current()
    follower = world.b if world.a.leads() else world.a
    token = world.a.enrolment.issue_token("bank", "bank-5", valid_for=timedelta(hours=1))
    request = EnrolmentRequest(suite=SUITE, token=token, party=newcomer.party(), issued_at=utc_now())
    follower.enrolment.enrol(sign_model(request, newcomer.identity, typ="enrolment", kid="bank-5"))
    for hub in (world.a, world.b):
        wait_until(partial(knows, hub, "bank-5"), what="the roster")
    assert roster_version(world.a) == roster_version(world.b) == versions[0] + 1


def test_a_hub_that_says_nothing_of_replicas_does_not_serve_beside_them(world: TwoReplicas) -> None:
    folder = world.made.base / "hub"
    fields = yaml.safe_load((folder / "hub.yaml").read_text(encoding="utf-8"))
    del fields["replicas"]
    (folder / "alone.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    alone = Hub.open(load_config(folder / "alone.yaml"))
    with pytest.raises(StateError) as refused:
        alone.start()
    assert refused.value.field == "replicas"
    alone.close()


def revoke(world: TwoReplicas, row: int, hub: Hub) -> None:
    merchant, record = world.made.merchants[row], world.made.records[row]
    hub.consents.submit_events((event_of(merchant, record, "revoked"),))


def held(world: TwoReplicas, party: str, row: int) -> str | None:
    with world.made.agents[party].runtime.store.reading() as session:
        found = session.get(ConsentRow, world.made.records[row])
        return None if found is None else found.state


def hang_with_the_turn(hub: Hub, ready: Callable[[], bool]) -> None:
    with hub.db.session() as session:
        session.execute(select(1))
        wait_until(ready, what="the key's release")
        session.execute(select(1))


def taken_over(hub: Hub, scope: bytes, body: bytes) -> bool:
    try:
        return hub.idempotency.begin(scope, body) is None
    except IdempotencyInProgressError:
        time.sleep(0.1)
        return False


def knows(hub: Hub, party: str) -> bool:
    return hub.roster.approved(party) is not None


def spent(nonces: Nonces, nonce: bytes, now: int) -> bool:
    try:
        nonces.spend(nonce, now, now)
    except ReplayError:
        return False
    return True


def roster_version(hub: Hub) -> int:
    current = hub.roster.current()
    return 0 if current is None else current[1].version
