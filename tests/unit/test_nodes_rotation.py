"""New keys in place of old ones, against a hub in this process and across crashes at every step."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from hub.app import create_app
from hub.roster import RosterKeeper
from nodes.cli import app
from nodes.clock import system_clock
from nodes.config import NodeConfig, key_to_text, load_node_config
from nodes.errors import ConfigError
from nodes.fingerprint import party_fingerprint
from nodes.hub_client import HubClient
from nodes.keys import NodeKeys, create_keys, load_keys
from nodes.own_files import hold_alone
from nodes.runtime import NodeRuntime
from tests.hub_world import HubWorld, Member

PARTY = "bank-01"


class RotationWorld(HubWorld):
    """A hub with a bank that has a folder of its own."""

    def __init__(self, base: Path, kind: str = "bank") -> None:
        super().__init__(base / "hub")
        self.now = system_clock()
        self.folder = base / "node"
        self.folder.mkdir()
        self.old = create_keys(self.folder / "keys", kind=kind)
        self.member = Member(PARTY, kind, self.old.identity, self.old.box)
        if kind == "bank":
            self.join(self.witness, self.member)
        trust = {
            "hub_id": "hub-lishui",
            "hub_sign_key": key_to_text(self.hub.keys.identity.public),
            "witness_id": self.witness.party_id if kind == "bank" else PARTY,
            "witness_sign_key": key_to_text(self.witness.identity.public),
        }
        fields: dict[str, object] = {
            "party_id": PARTY,
            "kind": kind,
            "region": "Lishui",
            "hub": {"url": "http://127.0.0.1:1"},
            "trust": trust,
            "data_dir": "data",
            "keys_dir": "keys",
        }
        (self.folder / "node.yaml").write_text(json.dumps(fields))
        self.transport = TestClient(create_app(self.hub))._transport

    @property
    def config(self) -> NodeConfig:
        return load_node_config(self.folder / "node.yaml")

    @property
    def keys(self) -> NodeKeys:
        return load_keys(self.folder / "keys", kind="bank")

    def at_hub(self) -> tuple[bytes, bytes]:
        party = self.hub.parties.get(PARTY)
        assert party is not None
        return party.sign_key, party.box_key

    def open(self) -> NodeRuntime:
        client = HubClient(
            self.config.hub, party_id=PARTY, identity=self.keys.identity, transport=self.transport, patience_seconds=0
        )
        return NodeRuntime.open(self.config, hub=client)

    def rotate(self) -> Result:
        return CliRunner().invoke(app, ["rotate", "--config", str(self.folder / "node.yaml"), "--json"])

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "keys").iterdir())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RotationWorld]:
    world = RotationWorld(tmp_path)
    _use(world, monkeypatch)
    yield world
    world.hub.close()


def _use(world: RotationWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGUA_LANG", "en")

    def client(*args: object, **kwargs: object) -> HubClient:
        return HubClient(*args, **kwargs, transport=world.transport)  # type: ignore[arg-type]

    monkeypatch.setattr("nodes.commands.rotate.HubClient", client)


def both(keys: NodeKeys) -> tuple[bytes, bytes]:
    return keys.identity.public, keys.box.public


def test_new_keys_are_in_place_and_count_once_approved(world: RotationWorld) -> None:
    runtime = world.open()
    runtime.roster.update(runtime.hub.roster())
    runtime.close()
    world.links.approved.discard(PARTY)
    done = world.rotate()
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    new = world.keys
    assert both(new) == world.at_hub()
    assert set(both(new)).isdisjoint(both(world.old))
    enrolled = world.hub.parties.get(PARTY)
    assert enrolled is not None
    assert new.training is not None
    assert world.old.training is not None
    assert enrolled.training_key == new.training.public != world.old.training.public
    assert shown["fingerprint"] == party_fingerprint(PARTY, "bank", *both(new))
    assert shown["sign_key"] == key_to_text(new.identity.public)
    assert world.files() == ["box.pem", "box.pem.old", "sign.pem", "sign.pem.old", "training.key", "training.key.old"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (world.folder / "keys").iterdir())

    assert world.hub.roster.propose() == (PARTY,)
    runtime = world.open()  # opens before the approval, so that it can follow the feed
    assert runtime.check_own_entry() is None
    again = world.rotate()
    assert (again.exit_code, json.loads(again.stderr)["field"]) == (1, "keys_dir")
    assert both(world.keys) == both(new)
    world.links.approved.add(PARTY)
    assert world.hub.roster.propose() == ()
    runtime.roster.update(runtime.hub.roster())
    entry = runtime.check_own_entry()
    assert entry is not None
    assert (entry.sign_key, entry.box_key) == both(new)
    runtime.close()


def test_rotating_twice_keeps_the_newest_old_keys(world: RotationWorld) -> None:
    assert world.rotate().exit_code == 0
    world.hub.roster.propose()
    first = world.keys
    assert world.rotate().exit_code == 0
    assert both(world.keys) not in (both(first), both(world.old))
    assert (world.folder / "keys" / "sign.pem.old").read_bytes() != b""
    runtime = world.open()
    runtime.roster.update(runtime.hub.roster())
    assert runtime.check_own_entry() is None  # the roster's are the first rotation's, which are the old ones now
    runtime.close()


@pytest.mark.parametrize("approved", [False, True])
def test_a_crash_between_hub_and_swap_is_made_good(
    world: RotationWorld, monkeypatch: pytest.MonkeyPatch, approved: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("nodes.rotation._swap", _crash)
        assert world.rotate().exit_code == 1
    taken = world.at_hub()
    assert taken != both(world.old)
    assert both(world.keys) == both(world.old)
    if approved:
        world.hub.roster.propose()
    done = world.rotate()
    assert done.exit_code == 0, done.output
    assert both(world.keys) == taken == world.at_hub()
    assert world.files() == ["box.pem", "box.pem.old", "sign.pem", "sign.pem.old", "training.key", "training.key.old"]


@pytest.mark.parametrize("crash_at", [1, 2, 3, 4])
def test_a_crash_within_the_swap_is_made_good(
    world: RotationWorld, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    real, calls = os.replace, 0

    def replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == crash_at:
            _crash()
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("nodes.rotation.os.replace", replace)
        assert world.rotate().exit_code == 1
    taken = world.at_hub()
    if crash_at > 2:
        with pytest.raises(ConfigError, match="interrupted"):
            world.open()
    done = world.rotate()
    assert done.exit_code == 0, done.output
    assert both(world.keys) == taken == world.at_hub()
    assert [name for name in world.files() if name.endswith(".new")] == []
    runtime = world.open()
    runtime.roster.update(runtime.hub.roster())
    assert runtime.check_own_entry() is None
    runtime.close()


def test_a_hub_that_refuses_changes_nothing(world: RotationWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = create_keys(world.folder / "others", kind="bank")
    (world.folder / "keys" / "sign.pem").write_bytes((world.folder / "others" / "sign.pem").read_bytes())
    assert json.loads(world.rotate().stderr)["field"] == "keys_dir"  # the roster has other keys
    monkeypatch.setattr(RosterKeeper, "current", lambda self: None)
    refused = world.rotate()
    assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, "signature-invalid")
    assert world.at_hub() == both(world.old)
    assert world.keys.identity.public == stranger.identity.public
    with hold_alone(world.config):
        assert "running already" in world.rotate().stderr


def test_the_witness_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = RotationWorld(tmp_path, "witness")
    _use(world, monkeypatch)
    refused = world.rotate()
    problem = json.loads(refused.stderr)
    assert (refused.exit_code, problem["field"]) == (1, "kind")
    assert "pins the witness's key" in problem["what"]
    assert world.files() == ["box.pem", "sign.pem", "training.key", "voprf.seed"]
    world.hub.close()


def _crash(*_: object) -> None:
    raise RuntimeError("power failure")
