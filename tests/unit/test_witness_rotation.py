"""The witness's signing key followed by another: its owner's commands, its own process, the hub, and nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner, Result

import hub.signing_key
import nodes.witness_key
from crypto.checkpoint import parse_note
from crypto.dated import verify_signer
from crypto.errors import ProofError, SignatureError, SuccessionError
from crypto.jws import sign_model
from crypto.key_line import TOLERANCE
from crypto.keys import BoxKey, IdentityKey, fingerprint
from crypto.succession import read_succession, sign_succession
from crypto.wire.party import Roster
from hub.app import create_app
from hub.errors import EnrolmentError
from hub.log_reading import latest_checkpoint
from hub.services import Hub
from hub.tables.parties import KeySuccessionRow
from nodes.cli import app
from nodes.clock import Clock
from nodes.config import key_to_text, load_node_config
from nodes.errors import ConfigError, PeerError
from nodes.hub_client import HubClient
from nodes.keys import IDENTITY_FILE, NodeKeys, create_keys
from nodes.own_files import open_store
from nodes.readiness import _keys
from nodes.roster import RosterBook
from nodes.witness_key import WitnessKey, keep, keep_statements, kept_statements, prepare, sign_next
from tests.hub_world import HubWorld, Member

MINUTE = timedelta(minutes=1)
OFF = TOLERANCE + MINUTE


class World(HubWorld):
    """A hub whose witness has a folder of its own; `now` is everybody's time."""

    def __init__(self, base: Path) -> None:
        super().__init__(base / "hub")
        self.folder = base / "witness"
        self.folder.mkdir()
        self.secret: NodeKeys = create_keys(self.folder / "keys", kind="witness")
        self.witness.identity, self.witness.box = self.secret.identity, self.secret.box
        self.join(self.witness, Member("bank-1", "bank"), Member("tax-1", "tax"))
        self.old = self.witness.identity
        fields = {
            "party_id": self.witness.party_id,
            "kind": "witness",
            "region": "Lishui",
            "hub": {"url": "http://127.0.0.1:1"},
            "trust": {
                "hub_id": "hub-lishui",
                "hub_sign_key": key_to_text(self.hub.keys.identity.public),
                "witness_id": self.witness.party_id,
                "witness_sign_key": key_to_text(self.old.public),
            },
            "data_dir": "data",
            "keys_dir": "keys",
        }
        (self.folder / "node.yaml").write_text(json.dumps(fields))
        self.config = load_node_config(self.folder / "node.yaml")
        self.keys = self.config.keys_dir
        self.store = open_store(self.config)

    def book(self) -> RosterBook:
        """The book of any party that pins the first keys, from this store."""
        return RosterBook(self.store, self.config.require_trust())

    def statement(self, new: IdentityKey, *, lead: timedelta = 2 * MINUTE, old: IdentityKey | None = None) -> str:
        signer = self.old if old is None else old
        return sign_succession(self.witness.party_id, signer, new, holds_from=self.now + lead, issued_at=self.now)

    def pass_by(self, time: timedelta) -> None:
        self.now = self.links.time = self.now + time

    def rotated(self) -> IdentityKey:
        """Announce a key, and let its moment and the time after it come."""
        new = IdentityKey.generate()
        self.hub.witness_rotation.announce(self.statement(new))
        self.pass_by(2 * MINUTE + OFF)
        self.witness.identity = new
        return new

    def facts(self) -> list[dict[str, object]]:
        lines = (json.loads(line) for line in self.hub.log.reader.export())
        entries = (json.loads(line["leaf"]) for line in lines if "leaf" in line)
        return [entry["facts"] for entry in entries if entry["type"] == "key-rotation"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(hub.signing_key, "LOOK_S", 0.0)  # every process looks each time
    monkeypatch.setattr(nodes.witness_key, "LOOK_S", 0.0)
    monkeypatch.setenv("DIGUA_LANG", "en")
    made = World(tmp_path)
    yield made
    made.store.close()
    made.hub.close()


def clock_of(world: World) -> Clock:
    return lambda: world.now


def run(world: World, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    transport = TestClient(create_app(world.hub))._transport

    def client(*args: object, **kwargs: object) -> HubClient:
        return HubClient(*args, **kwargs, transport=transport, patience_seconds=0)  # type: ignore[arg-type]

    monkeypatch.setattr("nodes.commands.witness_keys.HubClient", client)
    monkeypatch.setattr("nodes.commands.witness_keys.system_clock", clock_of(world))
    config = ["--config", str(world.folder / "node.yaml"), "--json"]
    return CliRunner().invoke(app, ["witness", *arguments, *config])


def test_feed_and_roster_say_it_and_the_hub_takes_the_new_key(world: World) -> None:
    ends = world.hub.feed.ends()
    new = world.rotated()
    for party in ("bank-1", "tax-1", world.witness.party_id):
        (item,) = json.loads(world.hub.feed.page(party, ends[party]).body)["items"]
        assert item["kind"] == "key-succession"
    assert world.hub.info().successions == (item["token"],)
    witness = world.hub.parties.witness()
    assert witness is not None
    assert witness.sign_key == world.old.public
    assert world.hub.roster.propose() == ()
    token, roster = world.hub.roster.current() or ("", None)
    assert roster is not None
    assert next(each for each in roster.parties if each.kind == "witness").sign_key == new.public
    assert verify_signer(token, witness.keys, Roster, typ="roster")[1] == new.public
    assert world.hub.info().witness is not None
    assert world.hub.info().witness.sign_key == new.public
    world.settle()
    with world.hub.db.reading() as session:
        checkpoint = latest_checkpoint(session, cosigned=True)
    assert checkpoint is not None
    assert parse_note(checkpoint.note)[0].size == checkpoint.size
    other = Hub.open(world.hub.config, clock=clock_of(world))
    assert other.roster.current() == world.hub.roster.current()
    other.close()


def test_the_former_key_cosigns_nothing_and_signs_no_roster_at_the_hub(world: World) -> None:
    new = world.rotated()
    world.witness.identity = world.old
    with pytest.raises(SignatureError):
        world.hub.roster.propose()
    with pytest.raises(ProofError, match="did not hold"):
        world.settle()
    world.witness.identity = new
    assert world.hub.roster.propose() == ()


@pytest.mark.parametrize(
    ("lie", "field"),
    [
        ("lead", "holds_from"),
        ("late", "holds_from"),
        ("alone", "old_key"),
        ("party", "party_id"),
        ("future", "issued_at"),
    ],
)
def test_what_is_no_announcement_of_the_witness_is_refused(world: World, lie: str, field: str) -> None:
    new, who = IdentityKey.generate(), world.witness.party_id
    when = {"lead": timedelta(seconds=20), "late": timedelta(days=40)}.get(lie, 2 * MINUTE)
    issued = world.now + (timedelta(hours=1) if lie == "future" else timedelta())
    token = sign_succession(
        "bank-1" if lie == "party" else who,
        world.old.public if lie == "alone" else world.old,
        new,
        holds_from=issued + when,
        issued_at=issued,
    )
    with pytest.raises(EnrolmentError) as refused:
        world.hub.witness_rotation.announce(token)
    assert refused.value.field == field
    assert world.hub.info().successions == ()


def test_a_stranger_and_another_partys_key_are_refused(world: World) -> None:
    stranger = IdentityKey.generate()
    with pytest.raises(EnrolmentError) as refused:
        world.hub.witness_rotation.announce(world.statement(IdentityKey.generate(), old=stranger))
    assert refused.value.field == "old_key"
    bank = Member("bank-2", "bank")
    world.join(bank)
    with pytest.raises(EnrolmentError) as refused:
        world.hub.witness_rotation.announce(world.statement(bank.identity))
    assert refused.value.field == "new_key"


def test_one_change_at_a_time_and_one_successor(world: World) -> None:
    first, second = IdentityKey.generate(), IdentityKey.generate()
    token = world.statement(first)
    world.hub.witness_rotation.announce(token)
    assert world.hub.witness_rotation.announce(token).new_key == first.public
    with pytest.raises(SuccessionError, match="different keys"):
        world.hub.witness_rotation.announce(world.statement(second))
    world.pass_by(3 * MINUTE)
    with pytest.raises(EnrolmentError) as refused:
        world.hub.witness_rotation.announce(world.statement(second, old=first))
    assert refused.value.field == "issued_at"
    world.pass_by(OFF)
    world.hub.witness_rotation.announce(world.statement(second, old=first))
    with world.hub.db.reading() as session:
        assert len(session.scalars(select(KeySuccessionRow)).all()) == 2
    witness = world.hub.parties.witness()
    assert witness is not None
    assert witness.keys.publics == (second.public, first.public, world.old.public)


def test_a_witness_that_enrols_again_with_lost_keys_begins_a_new_line(world: World) -> None:
    world.rotated()
    world.witness.identity, world.witness.box = IdentityKey.generate(), BoxKey.generate()
    world.hub.enrolment.enrol(world.enrolment(world.witness, replace=True))
    witness = world.hub.parties.witness()
    assert witness is not None
    assert witness.keys.publics == (world.witness.identity.public,)
    assert world.hub.info().successions == ()


def test_the_commands_announce_it_and_list_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(run(world, monkeypatch, "rotate-key").stdout)
    assert made == json.loads(run(world, monkeypatch, "rotate-key").stdout)
    assert not made["announced"]
    wrong = run(world, monkeypatch, "rotate-key", "--confirm", "SHA256:other")
    assert (wrong.exit_code, json.loads(wrong.stderr)["field"]) == (1, "confirm")
    assert world.hub.info().successions == ()
    done = run(world, monkeypatch, "rotate-key", "--confirm", made["fingerprint"], "--in", "120")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["holds_from"] == (world.now + 2 * MINUTE).isoformat()
    assert kept_statements(world.keys) == world.hub.info().successions
    shown = json.loads(run(world, monkeypatch, "keys").stdout)["keys"]
    assert [(each["fingerprint"], each["holds"], each["file"]) for each in shown] == [
        (fingerprint(world.old.public), True, True),
        (made["fingerprint"], False, True),
    ]
    again = run(world, monkeypatch, "rotate-key", "--again")
    assert json.loads(again.stdout) == {"announced": [made["fingerprint"]]}


def test_a_lost_answer_does_not_make_two_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(run(world, monkeypatch, "rotate-key").stdout)
    with monkeypatch.context() as patch:
        patch.setattr(HubClient, "announce_key", _lost)
        assert run(world, patch, "rotate-key", "--confirm", made["fingerprint"]).exit_code == 1
    assert kept_statements(world.keys) == ()  # it signs nothing with a key of which the hub may not have heard
    (unsent,) = world.keys.glob("*.jws.signed")
    token = unsent.read_text()
    world.pass_by(MINUTE)
    assert run(world, monkeypatch, "rotate-key", "--confirm", made["fingerprint"], "--in", "500").exit_code == 0
    assert world.hub.info().successions == kept_statements(world.keys) == (token,)


def _lost(*_: object) -> None:
    raise PeerError("hub", "no answer", peer_code="hub-unreachable", remedy="again")


def test_the_witness_signs_with_the_key_that_holds_and_with_no_other(world: World) -> None:
    key = WitnessKey(world.keys, world.book(), clock=clock_of(world))
    new = prepare(world.keys, key.line)
    assert prepare(world.keys, key.line).public == new.public
    token = sign_next(world.keys, world.witness.party_id, key.line, new, holds_from=world.now + MINUTE, now=world.now)
    assert key.line.publics == (world.old.public,)
    keep(world.keys, new.public, token)
    assert key.line.publics == (new.public, world.old.public)
    assert key.public == world.old.public
    world.pass_by(MINUTE)
    assert key.public == new.public
    assert key.sign(b"x") == new.sign(b"x")
    assert key.complete()

    # Where the store was set back the folder brings it; where the folder lacks it, the store.
    (world.keys / IDENTITY_FILE).unlink()
    (statement,) = world.keys.glob("*.jws")
    statement.unlink()
    book = world.book()
    assert WitnessKey(world.keys, book, clock=clock_of(world)).public == new.public
    assert kept_statements(world.keys) == (token,)
    keep_statements(world.keys, book)
    assert _keys(world.config, book).ok
    (present,) = world.keys.glob("sign-*.pem")
    present.unlink()
    create_keys(world.folder / "others", kind="witness")
    (world.folder / "others" / IDENTITY_FILE).rename(world.keys / IDENTITY_FILE)
    with pytest.raises(ConfigError, match="signing key that holds"):
        WitnessKey(world.keys, book, clock=clock_of(world))
    assert not _keys(world.config, book).ok
    key._keys.clear()
    with pytest.raises(ConfigError, match="not in keys_dir"):
        key.sign(b"x")


def test_a_node_takes_no_roster_of_the_former_key_after_one_of_the_new(world: World) -> None:
    book = world.book()
    first = world.hub.roster.current()
    assert first is not None
    book.update(first[0])
    new = world.rotated()
    (token,) = world.hub.info().successions
    book.successions.learn([token])
    until = read_succession(token).said.holds_from
    world.hub.roster.propose()
    current = world.hub.roster.current()
    assert current is not None
    book.update(current[0])
    assert book.witness_keys.publics == (new.public, world.old.public)
    for at, error in ((world.now, SignatureError), (until - MINUTE, PeerError)):
        roster = current[1].model_copy(update={"version": 99, "issued_at": at})
        with pytest.raises(error):
            book.update(sign_model(roster, world.old, typ="roster", kid=world.witness.party_id))
    assert book.version == current[1].version
    assert world.book().version == book.version


def test_a_feed_that_was_complete_since_brings_nothing_of_the_former_key(world: World) -> None:
    book = world.book()
    new = world.rotated()
    (token,) = world.hub.info().successions
    book.successions.learn([token])
    until = read_succession(token).said.holds_from
    both = (new.public, world.old.public)
    assert book.arriving_witness_keys.publics == both
    book.feed_complete(until + 2 * TOLERANCE)
    assert book.arriving_witness_keys.publics == both
    book.feed_complete(until + 2 * TOLERANCE + timedelta(seconds=1))
    assert book.arriving_witness_keys.publics == (new.public,)
    assert book.witness_keys.publics == both
