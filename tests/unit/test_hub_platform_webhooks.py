"""Events for banks: with their change or not at all, signed, sent again until taken or given up, to https alone."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from pydantic import ValidationError

from crypto.errors import SignatureError
from crypto.jws import verify
from crypto.keys import IdentityKey
from hub.platform.lending_errors import WebhookUnknownError
from hub.platform.webhook_courier import MAX_TRIES, TYP, Courier, WebhookEndpoint
from tests.lending_world import BANK, LendingWorld, apply, order

URL = "https://core.bank-01.example.org/digua"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LendingWorld]:
    world = LendingWorld(tmp_path)
    yield world
    world.close()


class Bank:
    """A core system that answers as it is told; keeps what it took."""

    def __init__(self, *answers: int | type[httpx.HTTPError]) -> None:
        self.answers = list(answers)
        self.took: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.took.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, int):
            return httpx.Response(answer, headers={"Location": "https://elsewhere.example.org/"})
        raise answer("gone")


def courier(world: LendingWorld, bank: Bank, key: IdentityKey | None = None) -> Courier:
    return Courier(
        world.box,
        {BANK: WebhookEndpoint(url=URL)},
        key=key or IdentityKey.generate(),
        kid="two-small",
        clock=lambda: world.now,
        transport=httpx.MockTransport(bank),
    )


def happen(world: LendingWorld, reference: str = "L-1") -> None:
    world.book.execute(BANK, "merchant:shop0001", [apply(reference)])


def test_an_event_is_signed_and_says_when_it_was_sent(world: LendingWorld) -> None:
    key, bank = IdentityKey.generate(), Bank()
    happen(world)
    world.now += timedelta(minutes=5)
    with courier(world, bank, key) as sends:
        assert sends.deliver_due() == 1
        assert sends.deliver_due() == 0
    (request,) = bank.took
    assert (str(request.url), request.headers["content-type"]) == (URL, "application/jose")
    token = request.content.decode()
    sent = json.loads(verify(token, key.public, typ=TYP, kid="two-small"))
    event = json.loads(sent["event"])
    assert sent["sent_at"] == "2026-03-02T01:05:00Z"
    assert (event["kind"], event["made_at"], event["bank"]) == ("financing.applied", "2026-03-02T01:00:00Z", BANK)
    assert event["facts"]["reference"] == "L-1"
    assert request.headers["idempotency-key"] == event["event_id"]
    with pytest.raises(SignatureError):
        verify(token, IdentityKey.generate().public, typ=TYP)
    assert world.box.counts() == {"delivered": 1}


def test_what_did_not_happen_is_not_told(world: LendingWorld) -> None:
    with pytest.raises(Exception, match="not-on-offer"):
        world.book.execute(BANK, "merchant:shop0001", [apply("L-1"), apply("L-2", applied_on="2025-01-01")])
    assert world.box.events() == []


def test_a_bank_that_wants_no_events_gets_none(world: LendingWorld) -> None:
    with world.db.session() as session:
        world.box.add(session, "bank-02", "offer.open", {})
    assert world.box.events() == []


@pytest.mark.parametrize("failure", [500, 404, 302, httpx.ConnectError, httpx.ReadTimeout], ids=str)
def test_it_is_tried_again_later_and_later(world: LendingWorld, failure: Any) -> None:
    bank = Bank(failure, failure)
    happen(world)
    waits = []
    with courier(world, bank) as sends:
        while not world.box.counts().get("delivered"):
            before = world.now
            while not sends.deliver_due():
                world.now += timedelta(seconds=1)
            waits.append((world.now - before).total_seconds())
    assert waits == [0, 15, 30]
    assert len({request.headers["idempotency-key"] for request in bank.took}) == 1
    assert len({request.content for request in bank.took}) == 3  # signed anew: it says when it was sent
    assert all(request.url.host == "core.bank-01.example.org" for request in bank.took)
    assert world.box.events()[0].tries == 3


def test_it_is_given_up_and_can_be_tried_anew(world: LendingWorld) -> None:
    bank = Bank(*[503] * MAX_TRIES)
    happen(world)
    with courier(world, bank) as sends:
        for _ in range(MAX_TRIES):
            assert sends.deliver_due() == 1
            world.now += timedelta(hours=7)
        assert sends.deliver_due() == 0
        (dead,) = world.box.events(bank=BANK, state="dead")
        assert (dead.tries, dead.last_failure) == (MAX_TRIES, "HTTP 503")
        with pytest.raises(WebhookUnknownError):
            world.box.retry(dead.event_id, bank="bank-02")
        world.box.retry(dead.event_id, bank=BANK)
        assert sends.deliver_due() == 1
    assert world.box.counts() == {"delivered": 1}
    with pytest.raises(WebhookUnknownError):
        world.box.retry(dead.event_id)


def test_two_workers_send_an_event_once(world: LendingWorld) -> None:
    for number in range(5):
        happen(world, f"L-{number}")
    first, second = world.box.claim(3), world.box.claim(9)
    assert [len(first), len(second)] == [3, 2]
    assert not {each.event_id for each in first} & {each.event_id for each in second}
    # A worker that died gives its events back after a while.
    world.now += timedelta(minutes=3)
    assert len(world.box.claim(9)) == 5


def test_its_bank_is_not_told_what_it_ordered_itself(world: LendingWorld) -> None:
    happen(world)
    world.book.execute(BANK, f"bank:{BANK}", [order("score")])
    assert len(world.box.events()) == 1


@pytest.mark.parametrize(
    "url",
    ["http://core.example.org/", "https://", "https://u:p@core.example.org/", "https://core.example.org/?a=1", "core"],
)
def test_only_plain_https_addresses_can_be_configured(url: str) -> None:
    with pytest.raises(ValidationError):
        WebhookEndpoint(url=url)


def test_over_tls_under_a_private_authority(world: LendingWorld, tmp_path: Path) -> None:
    authority, took = trustme.CA(), []
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            took.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = IdentityKey.generate()
    url = f"https://localhost:{server.server_port}/digua"
    happen(world)
    happen(world, "L-2")
    try:
        for endpoint in (WebhookEndpoint(url=url), WebhookEndpoint(url=url, ca_file=tmp_path / "ca.pem")):
            with Courier(world.box, {BANK: endpoint}, key=key, kid="two-small", clock=lambda: world.now) as sends:
                sends.deliver_due()
            if endpoint.ca_file is None:
                assert world.box.counts() == {"waiting": 2}
                assert world.box.events()[0].last_failure == "ConnectError"
                world.now += timedelta(minutes=1)
    finally:
        server.shutdown()
        server.server_close()
    assert world.box.counts() == {"delivered": 2}
    for token in took:
        verify(token.decode(), key.public, typ=TYP)
