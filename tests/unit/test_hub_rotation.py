"""The hub's signing key followed by another: what the operator does, what every process does, and the emergency."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

import hub.signing_key
from crypto.checkpoint import parse_note
from crypto.errors import SuccessionError
from crypto.keys import IdentityKey, fingerprint
from crypto.succession import line_of, sign_succession
from hub import cli
from hub.app import create_app
from hub.audit import read_header, verify_export
from hub.errors import StateError
from hub.keys import new_signing_key
from hub.readiness import examine
from hub.rotation import announce, prepare
from hub.services import Hub
from nodes.cli import app as node_cli
from nodes.commands import trust as trusting
from nodes.config import key_to_text, load_node_config
from nodes.hub_client import HubClient
from nodes.keys import create_keys
from nodes.own_files import open_store
from nodes.roster import RosterBook
from tests.hub_world import HubWorld, Member

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubWorld]:
    monkeypatch.setattr(hub.signing_key, "LOOK_S", 0.0)  # every process looks each time
    made = HubWorld(tmp_path / "hub")
    made.join(made.witness, Member("bank-1", "bank"), Member("tax-1", "tax"))
    yield made
    made.hub.close()


def rotate(world: HubWorld) -> bytes:
    """Announce a key and let its moment come."""
    done = announce(world.hub, prepare(world.hub), lead=2 * MINUTE)
    world.now = world.links.time = world.now + 3 * MINUTE
    return done.new_key


def test_every_process_switches_at_the_moment_and_not_before(world: HubWorld) -> None:
    other = Hub.open(world.hub.config, clock=lambda: world.now)
    old = world.hub.signing.public
    done = announce(world.hub, prepare(world.hub), lead=2 * MINUTE)
    for each in (world.hub, other):
        assert each.signing.public == old
        world.now += 2 * MINUTE - timedelta(seconds=1)
        assert each.signing.public == old
        world.now += timedelta(seconds=1)
        assert each.signing.public == done.new_key
        assert each.signing.line.publics == (done.new_key, old)
        assert each.info().former_keys == (old,)
        world.now -= 2 * MINUTE
    other.close()


def test_log_feed_and_roster_say_it(world: HubWorld) -> None:
    old = world.hub.signing.public
    ends = world.hub.feed.ends()
    new = rotate(world)
    for party in ("bank-1", "tax-1", world.witness.party_id):
        (item,) = json.loads(world.hub.feed.page(party, ends[party]).body)["items"]
        assert item["kind"] == "key-succession"
        assert line_of(old, [item["token"]], "hub-lishui").newest == new
    assert world.hub.roster.propose() == ()
    assert world.hub.roster.current()[1].hub_sign_key == new
    world.settle()
    entries = [json.loads(leaf) for leaf in world.hub.log.reader.entries(0, 1000)]
    (entry,) = [each for each in entries if each["type"] == "key-rotation"]
    assert entry["facts"]["sign_key"] == fingerprint(new)
    assert entry["facts"]["former_key"] == fingerprint(old)
    assert entry["facts"]["by_former_key"] is True


def test_a_checkpoint_that_waited_for_the_witness_is_offered_under_the_new_key(world: HubWorld) -> None:
    world.settle()
    old = world.hub.signing.public
    world.links.reachable = False
    done = announce(world.hub, prepare(world.hub), lead=2 * MINUTE)
    while world.hub.log.sequence():
        pass
    world.now = world.links.time = world.now + 9 * MINUTE
    world.links.reachable = True
    assert world.hub.log._cosigner.offer()
    _, lines = parse_note(world.hub.log.reader.checkpoint())
    assert [line.kind(done.new_key) for line in lines] == [1, None]
    file = world.export()
    for key in (old, done.new_key):
        keys = read_header(file).lines(key, world.witness.identity.public)
        assert verify_export(file, keys).ok
    keys = read_header(file).lines(IdentityKey.generate().public, world.witness.identity.public)
    assert not verify_export(file, keys).ok


def test_what_is_refused(world: HubWorld) -> None:
    new = prepare(world.hub)
    assert prepare(world.hub).public == new.public
    for lead in (timedelta(seconds=29), timedelta(days=31)):
        with pytest.raises(StateError, match="has to hold between"):
            announce(world.hub, new, lead=lead)
    announce(world.hub, new, lead=MINUTE)
    with pytest.raises(StateError, match="announced already"):
        announce(world.hub, prepare(world.hub), lead=MINUTE)
    new_signing_key(world.hub.config.keys_dir)
    with pytest.raises(StateError, match="Several keys"):
        prepare(world.hub)


def test_a_process_without_the_new_key_signs_nothing_and_says_so(world: HubWorld) -> None:
    keys = world.hub.config.keys_dir
    other = Hub.open(world.hub.config, clock=lambda: world.now)
    new = rotate(world)
    (file,) = keys.glob("sign-*.pem")
    content = file.read_bytes()
    file.unlink()
    other.signing._keys.pop(new, None)
    with pytest.raises(StateError, match="not in keys_dir"):
        other.feed.page("bank-1", 0)
    assert not next(check for check in examine(other) if check.name == "keys").ok
    file.write_bytes(content)
    file.chmod(0o600)
    assert other.feed.page("bank-1", 0).end
    other.close()


def test_the_operators_commands(world: HubWorld) -> None:
    config = ["--config", str(world.base / "hub.yaml"), "--json"]
    made = json.loads(CliRunner().invoke(cli.app, ["rotate-key", *config]).stdout)
    assert made["announced"] is False
    wrong = CliRunner().invoke(cli.app, ["rotate-key", "--confirm", "SHA256:x", *config])
    assert wrong.exit_code != 0
    done = json.loads(CliRunner().invoke(cli.app, ["rotate-key", "--confirm", made["fingerprint"], *config]).stdout)
    assert done["announced"] is True
    rows = json.loads(CliRunner().invoke(cli.app, ["keys", *config]).stdout)
    assert [row["fingerprint"] for row in rows][1] == made["fingerprint"]
    assert [row["holds"] for row in rows] == [True, False]
    assert rows[0]["until"] == rows[1]["since"] is not None


def test_a_lost_key_is_followed_by_hand_only(world: HubWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = world.hub.signing.public
    folder = _node(world, tmp_path / "node", old)
    config = load_node_config(folder / "node.yaml")
    store = open_store(config)
    book = RosterBook(store, config.require_trust())
    book.update(world.hub.roster.current()[0])
    (world.hub.config.keys_dir / "sign.pem").unlink()
    with pytest.raises(StateError):
        Hub.open(world.hub.config, clock=lambda: world.now)
    lost = Hub.open(world.hub.config, clock=lambda: world.now, signing_key_lost=True)
    new = announce(lost, prepare(lost), lead=2 * MINUTE, old_lost=True).new_key
    lost.close()
    world.now = world.links.time = world.now + 3 * MINUTE
    with pytest.raises(SuccessionError, match="No key that this node follows"):
        book.successions.learn(world.hub.signing.statements)
    assert book.hub_keys.publics == (old,)
    assert [each.new_key for each in book.successions.refused()] == [new]
    store.close()

    transport = TestClient(create_app(world.hub))._transport
    monkeypatch.setattr(trusting, "HubClient", lambda *args, **kwargs: HubClient(*args, **kwargs, transport=transport))
    stranger = key_to_text(IdentityKey.generate().public)
    command = ["trust-hub", "--config", str(folder / "node.yaml"), "--json", "--hub-key"]
    refused = CliRunner().invoke(node_cli, [*command, stranger])
    assert refused.exit_code != 0
    assert load_node_config(folder / "node.yaml").require_trust().hub_sign_key == old
    taken = CliRunner().invoke(node_cli, [*command, key_to_text(new)])
    assert taken.exit_code == 0, taken.output
    again = load_node_config(folder / "node.yaml")
    assert again.require_trust().hub_sign_key == new
    reopened = open_store(again)
    following = RosterBook(reopened, again.require_trust())
    assert following.version == 1
    assert following.hub_keys.publics == (new, old)
    assert following.successions.refused() == ()
    world.hub.roster.propose()
    assert following.update(world.hub.roster.current()[0]).hub_sign_key == new
    reopened.close()


def test_a_roster_under_a_rivals_key_is_refused(world: HubWorld, tmp_path: Path) -> None:
    """Somebody has the old key: who heard of the true successor follows it alone."""
    old = world.hub.keys.signing[0]
    folder = _node(world, tmp_path / "node", old.public)
    config = load_node_config(folder / "node.yaml")
    store = open_store(config)
    book = RosterBook(store, config.require_trust())
    new = rotate(world)
    book.successions.learn(world.hub.signing.statements)
    rival = sign_succession("hub-lishui", old, IdentityKey.generate(), holds_from=world.now, issued_at=world.now)
    with pytest.raises(SuccessionError, match="different keys"):
        book.successions.learn([rival])
    again = RosterBook(store, config.require_trust())
    assert again.hub_keys.publics == (new, old.public)
    assert len(again.successions.refused()) == 1
    world.hub.roster.propose()
    assert book.update(world.hub.roster.current()[0]).hub_sign_key == new
    store.close()


def _node(world: HubWorld, folder: Path, hub_key: bytes) -> Path:
    folder.mkdir()
    create_keys(folder / "keys", kind="bank")
    fields = {
        "party_id": "bank-1",
        "kind": "bank",
        "region": "Lishui",
        "hub": {"url": "http://127.0.0.1:1"},
        "trust": {
            "hub_id": "hub-lishui",
            "hub_sign_key": key_to_text(hub_key),
            "witness_id": world.witness.party_id,
            "witness_sign_key": key_to_text(world.witness.identity.public),
        },
        "data_dir": "data",
        "keys_dir": "keys",
    }
    (folder / "node.yaml").write_text(json.dumps(fields))
    return folder
