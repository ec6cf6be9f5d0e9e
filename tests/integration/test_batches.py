"""A batch through the hub's own parts: whatever breaks on the way, each merchant is logged, asked and counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from crypto.wire.audit import LogEntry
from hub.audit import read_entries
from hub.errors import PeerUnreachable
from hub.reconciliation import reconcile
from nodes.batches import Batches
from nodes.enquiries import Enquiry
from nodes.errors import PeerError
from nodes.tables.scoring import UseRow
from tests.walk_world import SOURCES, WalkWorld


class Crash(BaseException):
    """The requester's process ends here: nothing of the product catches it."""


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalkWorld]:
    world = WalkWorld(tmp_path_factory.mktemp("batches"))
    world.enrol_merchants()
    world.consent_all()
    world.train()
    yield world
    world.close()


def lose(world: WalkWorld, patch: pytest.MonkeyPatch, error: BaseException, *, at: int) -> Counter[str]:
    """The answer to the `at`-th query is lost: the hub has given it, the requester gets an error; counts requests."""
    http = world.nodes["platform"].runtime.hub._http
    send, queries = http.request, Counter[str]()

    def request(method: str, path: str, **given: object) -> httpx.Response:
        answer = send(method, path, **given)  # type: ignore[arg-type]
        queries[path] += path == "/v1/queries"
        if path == "/v1/queries" and queries[path] == at:
            raise error
        return answer

    patch.setattr(http, "request", request)
    return queries


@pytest.mark.parametrize("error", [Crash(), httpx.ReadError("the connection broke")])
def test_a_batch_is_logged_asked_and_counted_once(
    world: WalkWorld, error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nodes.batches.MAX_ITEMS", 2)
    platform = world.nodes["platform"]
    merchants = world.merchants[:5] if isinstance(error, Crash) else world.merchants[5:10]
    known = sum(entry.type == "query" for entry in entries(world, tmp_path))
    made = platform.batches.create(map(Enquiry, merchants), source_sha256="0" * 64)
    with monkeypatch.context() as patch:
        sent = lose(world, patch, error, at=2)
        if isinstance(error, Crash):
            with pytest.raises(Crash):
                platform.batches.run(made)
        else:
            platform.batches.run(made)  # the same request again, within the client's patience
    assert sent["/v1/queries"] == (2 if isinstance(error, Crash) else 4)
    again = Batches(platform.runtime.store, platform.enquiries, folder=platform.runtime.config.data_dir)
    ended = again.run(made)
    assert (ended.state, ended.scored, ended.refused) == ("finished", 5, {})
    outcomes = list(again.outcomes(made))
    assert [each.id for each in outcomes] == merchants
    assert len({each.answer.proof.index for each in outcomes if each.answer and each.answer.proof}) == 5
    assert sum(entry.type == "query" for entry in entries(world, tmp_path)) == known + 5
    pseudonyms = [world.pseudonyms[merchant] for merchant in merchants]
    for source in SOURCES.values():
        with world.nodes[source].runtime.store.reading() as session:
            assert session.scalar(select(func.count()).where(UseRow.pseudonym.in_(pseudonyms))) == 5
        journal = tmp_path / f"{source}.ndjson"
        world.nodes[source].journal.export(journal)
        assert reconcile(tmp_path / "log.ndjson", journal) == []


def test_a_source_that_answers_late_is_asked_again_alone(world: WalkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    links, asked = world.hub.links, Counter[str]()
    request = links.request

    def away_once(party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        if frame_type == "query":
            asked[party_id] += 1
            if (party_id, asked[party_id]) == ("tax-01", 1):
                raise PeerUnreachable(party_id)
        return request(party_id, frame_type, body, timeout)

    monkeypatch.setattr(links, "request", away_once)
    answer = world.nodes["platform"].enquiries.score(Enquiry(world.merchants[20]))
    assert answer.score is not None
    assert asked == {"bank-01": 1, "tax-01": 2, "utility-01": 1}


def test_a_hub_that_is_away_stops_a_batch_which_goes_on(world: WalkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = world.nodes["platform"]
    made = platform.batches.create(map(Enquiry, world.merchants[30:33]), source_sha256="1" * 64)

    def away(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(platform.runtime.hub, "_patience", 0.1)
        patch.setattr(platform.runtime.hub._http, "request", away)
        with pytest.raises(PeerError) as caught:
            platform.batches.run(made)
    assert caught.value.peer_code == "hub-unreachable"
    assert platform.batches.run(made).scored == 3


def entries(world: WalkWorld, folder: Path) -> list[LogEntry]:
    """The hub's log, exported to `log.ndjson`, once all of it is cosigned."""
    with world.hub.db.session() as session:
        last = world.hub.log.append(session, "erasure", "hub", facts={"entries": 0})
    world.hub.log.proof_sync(last, 30.0)
    path = folder / "log.ndjson"
    path.write_bytes(b"".join(world.hub.log.reader.export()))
    return list(read_entries(path))
