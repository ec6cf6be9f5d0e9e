"""The hub's signing key changes under campaigns and queries, over real links; each campaign is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from crypto.dated import verify_any
from crypto.errors import SignatureError, SuccessionError
from crypto.key_line import KeyLine
from crypto.keys import IdentityKey
from crypto.succession import sign_succession
from crypto.wire.campaign import Terms
from hub.audit import read_header, verify_export
from hub.config import load_config
from hub.errors import StateError
from hub.examination.log import examine_log
from hub.rotation import Announced, announce, prepare
from hub.services import Hub
from hub.tables.campaigns import CampaignAttemptRow
from hub.tables.parties import HubIdentityRow, KeySuccessionRow
from nodes.examination.successions import examine_successions
from tests.assessments import assess
from tests.gates import Gate
from tests.rotations import (
    ENCODER,
    OTHERS,
    SLEEPER,
    follow,
    rotating_world,
    score,
    strict_clocks,
    trained,
    wait_past,
)
from tests.served_world import Agent, ServedWorld, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]
LEAD = timedelta(seconds=6)


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    with strict_clocks(), rotating_world(tmp_path_factory.mktemp("rotated")) as made:
        yield made


def rotated(world: ServedWorld) -> Announced:
    """As the operator does it, beside the running hub: through an object of its own on the same files."""
    beside = Hub.open(load_config(world.base / "hub" / "hub.yaml"))
    try:
        return announce(beside, prepare(beside), lead=LEAD)
    finally:
        beside.close()


def signers(world: ServedWorld, campaign_id: str) -> set[bytes]:
    """By which keys a campaign's terms are signed."""
    with world.hub.db.reading() as session:
        query = select(CampaignAttemptRow.terms).where(CampaignAttemptRow.campaign_id == campaign_id)
        tokens = session.scalars(query).all()
    found: set[bytes] = set()
    for key in world.hub.signing.line.keys:
        for token in tokens:
            try:
                verify_any(token, KeyLine.of(key.public), Terms, typ="terms")
            except SignatureError:
                continue
            found.add(key.public)
    return found


def test_campaigns_and_queries_go_on_across_a_rotation(world: ServedWorld, tmp_path: Path) -> None:
    old = world.hub.signing.public
    first = trained(world, nodes=OTHERS)
    assess(world.hub, first)
    world.hub.models.release(str(world.state(first)["model_id"]), "release")
    follow(world)
    before = score(world)

    world.agents[SLEEPER].close()
    wait_until(lambda: SLEEPER not in world.hub.links.connected(), what="the sleeper's end")
    with Gate(world.agents["bank-1"], "train.round", skip=1) as gate:
        across = world.start(nodes=OTHERS, **ENCODER)
        assert gate.reached.wait(240)
        done = rotated(world)
        assert done.old_key == old
        assert world.hub.signing.public == old
        wait_past(done.holds_from)
        gate.opened.set()
        state = world.ended(across, seconds=240)
    assert state["status"] == "succeeded", state["failure"]
    assert world.hub.signing.public == done.new_key
    assert signers(world, first) == signers(world, across) == {old}

    # The roster follows by itself, and every awake node trusts the new key.
    wait_until(
        lambda: all(
            agent.runtime.roster.current().hub_sign_key == done.new_key
            for name, agent in world.agents.items()
            if name != SLEEPER
        ),
        what="the roster with the new key",
        seconds=120,
    )
    for _ in range(2):
        after = trained(world, nodes=OTHERS)
        assert signers(world, after) == {done.new_key}
    assert score(world) == before

    # Who slept through it catches up with the link's welcome.
    world.agents[SLEEPER] = Agent.open(world.agents[SLEEPER].config)
    assert world.agents[SLEEPER].runtime.roster.hub_keys.newest == old
    world.agents[SLEEPER].connect()
    follow(world)
    assert world.agents[SLEEPER].runtime.roster.hub_keys.publics == (done.new_key, old)
    assert trained(world, nodes=[*OTHERS, SLEEPER])

    # An export verifies from either key alone, and the hub finds its own log sound.
    wait_until(lambda: verdict_of(world, tmp_path, old).ok, what="an export that is cosigned to its end")
    assert verdict_of(world, tmp_path, done.new_key).ok
    assert not verdict_of(world, tmp_path, IdentityKey.generate().public).ok
    assert [each.state for each in examine_log(world.hub) if each.state == "fault"] == []


def verdict_of(world: ServedWorld, folder: Path, hub_key: bytes):
    file = folder / "export.ndjson"
    file.write_bytes(b"".join(world.hub.log.reader.export()))
    witness = world.hub.parties.witness()
    assert witness is not None
    header = read_header(file)
    return verify_export(file, header.lines(hub_key, witness.sign_key))


def test_a_second_successor_of_one_key_is_refused_and_shown(world: ServedWorld) -> None:
    held = {key.public: key for key in world.hub.keys.signing}
    agent = world.agents["bank-1"]
    old = held[agent.runtime.roster.hub_keys.keys[0].public]
    now = datetime.now(world.hub.clock().tzinfo)
    forged = sign_succession("hub", old, IdentityKey.generate(), holds_from=now, issued_at=now)
    line = agent.runtime.roster.hub_keys
    with pytest.raises(SuccessionError, match="different keys"):
        agent.runtime.roster.successions.learn([forged])
    assert agent.runtime.roster.hub_keys == line
    (found,) = examine_successions(agent.runtime.roster, agent.config)
    assert found.state == "fault"
    assert [each.state for each in examine_successions(world.witness.runtime.roster, world.witness.config)] == ["ok"]
    follow(world)
    assert score(world)


def test_the_hub_starts_without_the_former_key_and_not_without_the_present_one(world: ServedWorld) -> None:
    keys = world.hub.config.keys_dir
    files = {path: path.read_bytes() for path in keys.glob("sign*.pem")}
    former = keys / "sign.pem"
    former.unlink()
    world.process.restart()
    world.wait_connected()
    assert score(world)
    assert world.hub.signing.complete()
    (present,) = keys.glob("sign*.pem")
    former.write_bytes(files[former])
    former.chmod(0o600)
    present.unlink()
    assert not world.hub.signing.complete()
    with pytest.raises(StateError, match="signing key"):
        Hub.open(load_config(world.base / "hub" / "hub.yaml"))
    present.write_bytes(files[present])
    present.chmod(0o600)


def test_a_database_that_was_set_back_brings_no_former_key_back(world: ServedWorld) -> None:
    new = world.hub.signing.public
    with world.hub.db.session() as session:
        row = session.scalars(select(KeySuccessionRow)).one()
        former, token = row.old_key, row.token
        session.execute(delete(KeySuccessionRow))
        session.execute(update(HubIdentityRow).values(sign_key=former))
    beside = Hub.open(load_config(world.base / "hub" / "hub.yaml"))
    try:
        assert beside.signing.public == new
        assert beside.signing.statements == (token,)
    finally:
        beside.close()
