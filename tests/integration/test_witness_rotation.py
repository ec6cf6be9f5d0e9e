"""The witness's signing key changes under campaigns, consents and queries; the old one is good for nothing any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from crypto.canonical import canonical_bytes
from crypto.checkpoint import assemble, parse_note, sign_note
from crypto.dated import verify_signer
from crypto.errors import ProofError, SignatureError, SuccessionError
from crypto.jws import peek_payload, sign_model
from crypto.keys import IdentityKey
from crypto.parcel import Parcel
from crypto.record_receipts import check_receipt
from crypto.succession import sign_succession
from crypto.wire.audit import CheckpointCosignature
from crypto.wire.base import SUITE
from crypto.wire.campaign import Decision, ModelRelease
from crypto.wire.party import Roster
from crypto.wire.receipt import ReceiptFile
from hub.audit import read_header, verify_export
from hub.demo.merchants import consent_of
from hub.errors import EnrolmentError
from hub.examination.log import examine_log
from hub.examination.models import examine_campaigns, examine_models
from hub.tables.campaigns import CampaignAttemptRow, UndeliveredDecisionRow
from hub.tables.log import CheckpointRow
from hub.tables.parties import KeySuccessionRow, PartyRow
from models.findings import Finding
from nodes import table_stage
from nodes.errors import ConfigError, PeerError
from nodes.examination.log import examine_log as examine_witness_log
from nodes.hub_client import HubClient
from nodes.keys import IDENTITY_FILE, SIGN_FILES, load_signing_keys
from nodes.logged_entries import _cosigned
from nodes.own_files import open_store
from nodes.tables.roster import RosterRow
from nodes.tables.successions import SuccessionRow
from nodes.witness_key import keep, prepare, sign_next
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
LEAD = timedelta(seconds=7)


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorld]:
    with strict_clocks(), rotating_world(tmp_path_factory.mktemp("rotated-witness")) as made:
        yield made


def announced(world: ServedWorld) -> tuple[str, bytes, datetime]:
    """As `digua-node witness rotate-key` does it, beside the running witness."""
    config, line = world.witness.config, world.witness.runtime.roster.witness_keys
    new, now = prepare(config.keys_dir, line), datetime.now(world.hub.clock().tzinfo)
    token = sign_next(config.keys_dir, "witness", line, new, holds_from=now + LEAD, now=now)
    assert sign_next(config.keys_dir, "witness", line, new, holds_from=now + 2 * LEAD, now=now) == token
    with HubClient(config.hub, party_id="witness", identity=IdentityKey.generate()) as client:
        receipt = client.announce_key(token)
        assert client.announce_key(token) == receipt  # its answer may have been lost
    keep(config.keys_dir, new.public, token)
    assert receipt.new_key == new.public
    return token, new.public, receipt.holds_from


def attempts(world: ServedWorld, campaign_id: str) -> list[CampaignAttemptRow]:
    with world.hub.db.reading() as session:
        query = select(CampaignAttemptRow).where(CampaignAttemptRow.campaign_id == campaign_id)
        return list(session.scalars(query.order_by(CampaignAttemptRow.created_at)))


def deciders(world: ServedWorld, campaign_id: str) -> set[bytes]:
    """By which keys of the witness a campaign's attempts were decided."""
    line = world.witness.runtime.roster.witness_keys
    tokens = [row.decision for row in attempts(world, campaign_id) if row.decision is not None]
    return {verify_signer(token, line, Decision, typ="decision")[1] for token in tokens}


def faults(findings: Iterator[Finding]) -> list[Finding]:
    return [each for each in findings if each.state == "fault"]


def verdict_of(world: ServedWorld, folder: Path, witness_key: bytes) -> bool:
    file = folder / "export.ndjson"
    file.write_bytes(b"".join(world.hub.log.reader.export()))
    header = read_header(file)
    return verify_export(file, header.lines(world.hub.signing.public, witness_key)).ok


def roster_names(world: ServedWorld, key: bytes) -> bool:
    current = world.hub.roster.current()
    return current is not None and any(each.sign_key == key for each in current[1].parties)


def test_campaigns_consents_and_queries_go_on_across_a_rotation(world: ServedWorld, tmp_path: Path) -> None:
    old = world.witness.runtime.identity.public
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
        _, new, holds_from = announced(world)
        assert world.witness.runtime.identity.line.at(holds_from - timedelta(seconds=1)) == old
        wait_past(holds_from)
        gate.opened.set()
        state = world.ended(across, seconds=240)
    assert state["status"] == "succeeded", state["failure"]
    assert world.witness.runtime.identity.public == new

    # The roster follows by itself, and every awake node takes it.
    wait_until(lambda: roster_names(world, new), what="the roster with the new key", seconds=120)
    follow(world)
    after = trained(world, nodes=OTHERS)
    assert deciders(world, first) == {old}
    assert deciders(world, after) == {new}
    assert score(world) == before
    taken = world.merchants[0]
    _, consent = consent_of(
        taken,
        purposes=("credit-scoring",),
        recipients=(taken.sources["bank"],),
        reasons=False,
        count=3,
        now=datetime.now(holds_from.tzinfo),
    )
    world.hub.consents.submit([consent])
    follow(world)
    assert all(agent.runtime.feed.refused() == () for name, agent in world.agents.items() if name != SLEEPER)

    # Who slept through it catches up with the link's welcome.
    world.agents[SLEEPER] = Agent.open(world.agents[SLEEPER].config)
    assert world.agents[SLEEPER].runtime.roster.witness_keys.newest == old
    world.agents[SLEEPER].connect()
    follow(world)
    assert world.agents[SLEEPER].runtime.roster.witness_keys.publics == (new, old)
    assert trained(world, nodes=[*OTHERS, SLEEPER])

    # An export and a receipt verify from either key alone; hub and witness find what they keep sound.
    wait_until(lambda: verdict_of(world, tmp_path, old), what="an export that is cosigned to its end")
    assert verdict_of(world, tmp_path, new)
    assert not verdict_of(world, tmp_path, IdentityKey.generate().public)
    bank = world.agents[str(taken.sources["bank"])].runtime.hub
    body = bank.request("GET", f"/v1/consents/{world.records[0]}/receipt", signed=True)
    for key in (old, new):
        check_receipt(ReceiptFile.model_validate_json(body), hub_key=world.hub.signing.public, witness_key=key)
    assert [*faults(examine_log(world.hub)), *faults(examine_models(world.hub))] == []
    assert faults(examine_campaigns(world.hub)) == []
    own = world.witness
    assert faults(examine_witness_log(own.runtime.store, own.runtime.roster, own.config)) == []


def test_a_decision_that_a_node_has_not_heard_is_signed_anew_for_it(world: ServedWorld) -> None:
    line = world.witness.runtime.roster.witness_keys
    campaign = next(each.campaign_id for each in reversed(world.hub.campaigns.book.all()))
    assert deciders(world, campaign) == {line.keys[0].public}
    (attempt,) = [row.attempt for row in attempts(world, campaign)]
    charges = world.agents["bank-1"].runtime.ledger.charges()
    with world.hub.db.session() as session:
        session.add(UndeliveredDecisionRow(attempt=attempt, party_id="bank-1"))
    wait_until(lambda: world.hub.campaigns.book.undelivered() == {}, what="the decision at the node", seconds=60)
    assert deciders(world, campaign) == {line.newest}
    assert world.agents["bank-1"].runtime.ledger.charges() == charges


def test_who_stole_the_old_key_gets_nothing_for_it(world: ServedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    stolen = IdentityKey.from_pem((world.witness.config.keys_dir / IDENTITY_FILE).read_bytes())
    line, node = world.witness.runtime.roster.witness_keys, world.agents["bank-1"]
    assert line.keys[0].public == stolen.public
    end = line.keys[0].until
    assert end is not None
    wait_until(lambda: node.runtime.feed.age(end) < -timedelta(seconds=3), what="a feed that is complete since")

    # At the hub: no cosignature, no link, no request.
    links = world.hub.links.request

    def forged(party_id: str, frame_type: str, body: bytes, timeout: float) -> bytes:
        answer = links(party_id, frame_type, body, timeout)
        if frame_type != "cosign-checkpoint":
            return answer
        with world.hub.db.reading() as session:
            note = session.scalars(select(CheckpointRow.note).order_by(CheckpointRow.size.desc()).limit(1)).one()
        moment = int(world.hub.clock().timestamp())
        line = sign_note(parse_note(note)[0].body(), "witness", stolen, cosignature_time=moment)
        return canonical_bytes(CheckpointCosignature(line=line, known_size=parse_note(note)[0].size))

    with monkeypatch.context() as patch:
        patch.setattr(world.hub.links, "request", forged)
        world.hub.enrolment.issue_token("tax", "tax-9", valid_for=timedelta(hours=1))
        wait_until(lambda: world.hub.log_alarms.now() != (), what="the alarm that nobody cosigns", seconds=60)
    wait_until(lambda: not world.hub.log_alarms.now(), what="the end of the alarm", seconds=60)
    with (
        HubClient(world.witness.config.hub, party_id="witness", identity=stolen) as client,
        pytest.raises(PeerError) as refused,
    ):
        client.request("GET", f"/v1/consents/{world.records[0]}/receipt", signed=True)
    assert refused.value.peer_code == "signature-invalid"

    # At a node: no checkpoint, no roster of today or yesterday, no void, no model.
    current = node.runtime.roster.current()
    token = node.runtime.roster.token
    next_one = Roster.model_validate_json(peek_payload(str(token))).model_copy(update={"version": current.version + 9})
    now = datetime.now(end.tzinfo).replace(microsecond=0)
    for at, error in ((now, SignatureError), (end - timedelta(minutes=1), PeerError)):
        roster = next_one.model_copy(update={"issued_at": at})
        with pytest.raises(error):
            node.runtime.roster.update(sign_model(roster, stolen, typ="roster", kid="witness"))
    assert node.runtime.roster.token == token
    with world.hub.db.reading() as session:
        note = session.scalars(select(CheckpointRow.note).where(CheckpointRow.cosigned).limit(1)).first()
        attempt = session.scalars(select(CampaignAttemptRow).where(CampaignAttemptRow.stage == "scorecard")).first()
    assert note is not None
    assert attempt is not None
    body, hubs = parse_note(note)[0].body(), note.rpartition("\n\n")[2].splitlines()[0]
    late = assemble(body, [hubs, sign_note(body, "witness", stolen, cosignature_time=int(now.timestamp()))])
    with pytest.raises(ProofError, match="did not hold"):
        _cosigned(late, node.runtime.roster.hub_keys, "witness", line)
    charges = node.runtime.ledger.charges()
    void = Decision(suite=SUITE, attempt=attempt.attempt, h=attempt.h, decision="void")
    with pytest.raises(SignatureError, match="did not hold"):
        table_stage.outcome(
            node.runtime.training_context(),
            Parcel({"decision": sign_model(void, stolen, typ="decision", kid="witness")}),
        )
    assert node.runtime.ledger.charges() == charges
    released = next(each.model_id for each in world.hub.models.all() if each.status == "release")
    model = ModelRelease.model_validate_json(peek_payload(world.hub.models.release_token(released)))
    back_dated = model.model_copy(update={"model_id": f"sha256:{'0' * 64}", "issued_at": end - timedelta(minutes=1)})
    page = sign_model(back_dated, stolen, typ="model-release", kid="witness")
    with world.hub.db.session() as session:
        world.hub.feed.publish(session, ["bank-1"], "model-release", token=page, model_id=back_dated.model_id)
    world.hub.links.notify_feed(["bank-1"])
    follow(world)
    assert [code for _, code in node.runtime.feed.refused()] == ["signature-invalid"]
    assert node.services.models.get(back_dated.model_id) is None

    # A second successor of the stolen key is followed by nobody, and a new owner cannot be named either.
    second = sign_succession("witness", stolen, IdentityKey.generate(), holds_from=now + LEAD, issued_at=now)
    with pytest.raises(EnrolmentError, match="does not follow"):
        world.hub.witness_rotation.announce(second)
    with pytest.raises(SuccessionError, match="different keys"):
        node.runtime.roster.successions.learn([second])
    assert node.runtime.roster.witness_keys == line


def test_all_parties_start_again_with_the_new_key_alone(world: ServedWorld) -> None:
    config, new = world.witness.config, world.witness.runtime.identity.public
    keys = config.keys_dir
    former = (keys / IDENTITY_FILE).read_bytes()
    (keys / IDENTITY_FILE).unlink()
    for name, agent in world.agents.items():
        agent.close()
        wait_until(lambda name=name: name not in world.hub.links.connected(), what=f"the end of {name}")
    world.process.restart()
    store = open_store(config)
    with store.session() as session:
        session.execute(delete(SuccessionRow))  # a store from before the rotation: the folder brings it back,
        session.execute(delete(RosterRow))  # and the hub the roster
    store.close()
    for name, agent in world.agents.items():
        world.agents[name] = Agent.open(agent.config)
        world.agents[name].connect()
    assert world.witness.runtime.identity.public == new
    follow(world)
    assert score(world)
    assert deciders(world, trained(world, nodes=OTHERS)) == {new}
    (present,) = keys.glob(SIGN_FILES)
    held = present.read_bytes()
    present.unlink()
    (keys / IDENTITY_FILE).write_bytes(former)
    (keys / IDENTITY_FILE).chmod(0o600)
    with pytest.raises(ConfigError, match="signing key that holds"):
        Agent.open(config)
    present.write_bytes(held)
    present.chmod(0o600)
    assert new in {key.public for key in load_signing_keys(keys)}


def test_a_hub_that_was_set_back_is_told_again(world: ServedWorld) -> None:
    def rotations() -> int:
        return sum(b'"key-rotation"' in line for line in world.hub.log.reader.export())

    before = rotations()
    with world.hub.db.session() as session:
        row = session.scalars(select(KeySuccessionRow)).one()
        former, new, token = row.old_key, row.new_key, row.token
        session.execute(delete(KeySuccessionRow))
        session.execute(update(PartyRow).where(PartyRow.party_id == "witness").values(sign_key=former))
    witness = world.hub.parties.witness()
    assert witness is not None
    assert witness.keys.newest == former
    world.hub.witness_rotation.announce(token)
    witness = world.hub.parties.witness()
    assert witness is not None
    assert witness.keys.publics == (new, former)
    world.hub.roster.propose()
    wait_until(lambda: roster_names(world, new), what="the roster with the new key", seconds=60)
    assert rotations() == before
