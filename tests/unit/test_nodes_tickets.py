"""Tickets at a party: opened by it alone, answered once, and nothing that the hub made up."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crypto.errors import SealError
from crypto.jws import generate_merchant_key, peek_payload
from crypto.keys import BoxKey
from crypto.ticket_boxes import open_text, ticket_context
from crypto.wire.ticket import TicketAnswer, TicketItem, TicketItems
from nodes.cli import app as cli
from nodes.errors import PeerError, PolicyRefusal
from nodes.keys import BOX_FILE, OLD, former_boxes, write_secret
from nodes.services import Services
from nodes.tickets import TicketDesk
from tests.hub_merchants import Merchant
from tests.platform_world import PlatformWorld
from tests.unit.test_hub_invitations import post
from tests.unit.test_hub_tickets import TEXT, own, ticket


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PlatformWorld]:
    world = PlatformWorld(tmp_path, "bank-01", "bank-02")
    yield world
    world.close()


@pytest.fixture
def shop(world: PlatformWorld) -> Merchant:
    shop = Merchant(world.know("SHOP", "bank-01"), generate_merchant_key("ES256"))
    world.enrol_keys(shop)
    world.hub.consents.submit([world.consent(shop)[1]])
    return shop


@pytest.fixture
def desk(world: PlatformWorld) -> TicketDesk:
    return world.agents["bank-01"].tickets


def asked(world: PlatformWorld, shop: Merchant, reply: BoxKey | None = None) -> str:
    ticket_id, signed = ticket(world, shop, reply)
    assert post(world.http, "merchants/tickets", signed).status_code == 201
    return ticket_id


def journal(world: PlatformWorld, kind: str) -> list[dict[str, object]]:
    entries = [json.loads(line.entry) for line in world.agents["bank-01"].journal.lines()]
    return [entry["facts"] for entry in entries if entry["type"] == kind]


def test_a_ticket_is_read_and_answered(world: PlatformWorld, desk: TicketDesk, shop: Merchant) -> None:
    reply = BoxKey.generate()
    ticket_id = asked(world, shop, reply)
    (received,) = desk.waiting()
    assert (received.merchant, received.state, received.decision) == ("SHOP", "open", None)
    assert desk.read(received, reader="officer") == TEXT
    assert journal(world, "ticket-opened") == [{"ticket": ticket_id, "reader": "officer"}]
    desk.answer(desk.find(ticket_id), "partly-granted", "已复核，部分更正。", author="officer")
    assert journal(world, "ticket-answered")[0]["author"] == "officer"
    (standing,) = own(world.http, world, shop).tickets
    assert standing.answer is not None
    said = TicketAnswer.model_validate_json(peek_payload(standing.answer))
    context = ticket_context(ticket_id, shop.pseudonym, "bank-01", "answer")
    assert open_text(said.sealed, reply, context=context) == "已复核，部分更正。"
    assert desk.find(ticket_id).decision == "partly-granted"
    with pytest.raises(PeerError) as refused:
        desk.answer(desk.find(ticket_id), "declined", "anders", author="officer")
    assert refused.value.peer_code == "ticket-state"
    with pytest.raises(SealError):
        desk.answer(received, "granted", "x" * 2001, author="officer")
    with pytest.raises(PolicyRefusal):
        desk.find(secrets.token_hex(16))
    assert world.agents["bank-02"].tickets.waiting() == ()


def test_what_the_hub_makes_up_is_refused(
    world: PlatformWorld, desk: TicketDesk, shop: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(world, shop)
    (item,) = world.hub.tickets.of_party("bank-01").tickets
    other = world.merchant("other")
    statement = world.hub.merchant_keys.statement(other.pseudonym)
    forged = ticket(world, Merchant(shop.pseudonym, other.jwk))[1]
    to_other = ticket(world, shop, party_id="bank-02")[1]
    stolen = ticket(world, other, pii_principal_id=shop.pseudonym)[1]
    made_up = (
        item.model_copy(update={"ticket": forged}),
        item.model_copy(update={"merchant_key": statement}),
        item.model_copy(update={"ticket": to_other}),
        TicketItem.model_validate({**dict(item), "ticket": stolen, "merchant_key": statement}),
    )
    answer = TicketItems(tickets=(*made_up, item))
    monkeypatch.setattr(
        world.agents["bank-01"].runtime.hub, "request", lambda *_, **__: answer.model_dump_json().encode()
    )
    assert [each.ticket.ticket_id for each in desk.waiting()] == [json.loads(peek_payload(item.ticket))["ticket_id"]]
    assert len(journal(world, "ticket-refused")) == len(made_up)


def test_after_a_rotation_older_tickets_open_with_the_former_key(
    world: PlatformWorld, shop: Merchant, tmp_path: Path
) -> None:
    asked(world, shop)
    agent = world.agents["bank-01"]
    received = agent.tickets.waiting()[0]
    keys_dir = agent.runtime.config.keys_dir
    assert former_boxes(keys_dir) == []
    write_secret(keys_dir / (BOX_FILE + OLD), (keys_dir / BOX_FILE).read_bytes())
    (former,) = former_boxes(keys_dir)
    assert former.public == agent.runtime.box.public
    agent.tickets._boxes = (BoxKey.generate(), former)
    assert agent.tickets.read(received, reader="officer") == TEXT
    agent.tickets._boxes = (BoxKey.generate(),)
    with pytest.raises(SealError):
        agent.tickets.read(received, reader="officer")


def test_commands_list_show_and_answer(
    world: PlatformWorld, shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Services]:
        yield world.agents["bank-01"]

    monkeypatch.setattr("nodes.commands.tickets.open_services", opened)
    monkeypatch.setenv("DIGUA_LANG", "zh")
    ticket_id = asked(world, shop)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["tickets", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    listed = json.loads(run("list", "--json"))["tickets"]
    assert [(line["ticket"], line["merchant"]) for line in listed] == [(ticket_id, "SHOP")]
    assert "人工复核" in run("list")
    assert TEXT in run("show", ticket_id)
    words = tmp_path / "answer.txt"
    words.write_text("已复核。\n", encoding="utf-8")
    assert "同意" in run("answer", ticket_id, "--decision", "granted", "--text", str(words))
    assert own(world.http, world, shop).tickets[0].state == "answered"
    wrong = CliRunner().invoke(cli, ["tickets", "answer", ticket_id, "--decision", "yes", "--text", str(words)])
    assert wrong.exit_code == 1
