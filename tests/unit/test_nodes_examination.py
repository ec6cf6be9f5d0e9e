"""`digua-node doctor`: a sound node passes; each fault planted in its store is found and says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from sqlalchemy import delete, select, update
from typer.testing import CliRunner

from crypto.attempts import NodeAttempt
from crypto.key_line import KeyLine
from crypto.wire.campaign import MechanismTerms, TablesMechanism
from models.findings import Finding
from nodes.attempts import AttemptStore
from nodes.cli import app
from nodes.config import NodeConfig
from nodes.examination import ledger as examination
from nodes.examination.all import examine_node
from nodes.examination.consents import examine_consents
from nodes.examination.journal import examine_journal
from nodes.examination.ledger import examine_ledger
from nodes.examination.log import examine_log
from nodes.examination.models import examine_models, examine_signed
from nodes.ledger import Ledger
from nodes.store import Store
from nodes.tables.attempts import AttemptRow
from nodes.tables.campaigns import CampaignPrivacyRow
from nodes.tables.consents import ConsentEventRow, ConsentRow
from nodes.tables.journal import JournalRow
from nodes.tables.ledger import SentRow
from nodes.tables.mirror import MirrorEntryRow, MirrorTileRow
from nodes.tables.models import ModelRow
from nodes.tables.witness import CosignedCheckpointRow, CosignedLogRow, SignedReleaseRow
from nodes.witness.mirror import MIRROR_FILE
from tests.node_world import SignerWorld
from tests.regulator_world import RegulatorWorld
from tests.scoring_world import ScoringWorld

TABLES: tuple[MechanismTerms, ...] = (
    TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=16.7, count=10),
    TablesMechanism(mechanism="discrete-gaussian-cells", stage="scorecard", sigma=35.4, count=45),
)
SENT, VOID, FREE = "c/scorecard/1", "c/scorecard/2", "c/scorecard/3"


def faults(findings: Iterator[Finding]) -> list[str]:
    found = [each for each in findings if each.state == "fault"]
    assert all(each.party and each.remedy is not None for each in found)
    return [f"{each.check}: {each.what}" for each in found]


class Ledgers:
    """A node that sent one term, had another voided, and accepted a third attempt."""

    def __init__(self, base: Path) -> None:
        self.world = SignerWorld(base)
        self.config = self.world.config()
        self.store = Store.open(self.config.data_dir / "node.db")
        ledger, attempts = Ledger(self.store, 3.0, 1e-5), AttemptStore(self.store)
        with self.store.session() as session:
            stated = {"mechanisms": [each.model_dump(mode="json", exclude={"scale"}) for each in TABLES]}
            session.add(CampaignPrivacyRow(campaign_id="c", stage="scorecard", stated=json.dumps(stated)))
        for attempt, h in ((SENT, b"\x01" * 32), (VOID, b"\x02" * 32), (FREE, b"\x03" * 32)):
            state = NodeAttempt.accept(
                attempt, h, matrix_sha256=bytes(32), charge=1.0, witness_key=bytes(32), sort="sum"
            )
            attempts.save(state)
            if attempt == FREE:
                continue
            payload = ledger.record_send(
                campaign_id="c", attempt=attempt, h=h, payload=attempt.encode() * 9, mechanisms=TABLES
            )
            state = state.send(payload)
            attempts.save(state)
            if attempt == VOID:
                ledger.refund(attempt, h)
                attempts.save(state.void(h))

    def found(self) -> list[str]:
        return faults(examine_ledger(self.store, self.config))


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Ledgers]:
    made = Ledgers(tmp_path)
    yield made
    made.store.close()


def test_a_sound_ledger_is_computed_anew(ledgers: Ledgers) -> None:
    (only,) = examine_ledger(ledgers.store, ledgers.config)
    spent = Ledger(ledgers.store, 3.0, 1e-5).spent().epsilon
    assert (only.state, f"epsilon {spent:.4f} of 3" in str(only.what)) == ("ok", True)
    assert str(only.what).startswith("2 lines")


def test_a_charge_that_was_removed(ledgers: Ledgers) -> None:
    with ledgers.store.session() as session:
        session.execute(delete(SentRow).where(SentRow.attempt == SENT))
    assert ledgers.found() == [f"ledger: attempt {SENT} sent a term, and the ledger has no charge of it"]


def test_lines_that_came_from_the_witness_after_a_restore_are_told(ledgers: Ledgers) -> None:
    Ledger(ledgers.store, 3.0, 1e-5).record_forgotten(
        campaign_id="c", attempt="c/scorecard/9", h=bytes(32), mechanisms=TABLES, delta_sum=0.0
    )
    found = list(examine_ledger(ledgers.store, ledgers.config))
    assert [each.state for each in found] == ["warning", "ok"]
    assert "restored from a backup" in str(found[0].remedy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"payload": b"other"}, "the bytes on record"),
        ({"h": bytes(32)}, "another manifest"),
        ({"refunded": True}, "was taken back, and it is not void"),
        ({"mechanisms": "[]"}, "charged less or other"),
        ({"mechanisms": json.dumps([TABLES[1].model_dump(mode="json")])}, "charged less or other"),
    ],
)
def test_a_line_that_was_altered(ledgers: Ledgers, change: dict[str, object], says: str) -> None:
    with ledgers.store.session() as session:
        session.execute(update(SentRow).where(SentRow.attempt == SENT).values(**change))
    (found,) = ledgers.found()
    assert says in found
    assert SENT in found


def test_an_attempt_that_cannot_be_read_or_sent_other_bytes(ledgers: Ledgers) -> None:
    with ledgers.store.session() as session:
        row = session.get_one(AttemptRow, SENT)
        row.state = row.state.replace(b'"phase":"sent"', b'"phase":"gone"')
    assert "cannot be read" in ledgers.found()[0]


def test_a_wrong_accountant_and_a_budget_that_was_lowered(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    low = ledgers.world.config(budget={"epsilon": 0.1, "delta": 1e-5})
    assert [each.state for each in examine_ledger(ledgers.store, low)] == ["warning"]
    monkeypatch.setattr(examination, "gdp_mu", lambda _mechanisms: 0.1)
    assert "in closed form" in ledgers.found()[0]


# journal, consents and models of a node in a federation

NODE = "bank-01"
BUDGET = {"epsilon": 20, "delta": 1e-5}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path)
    for merchant in ("M001", "M002"):
        world.give(merchant)
    world.revoked = world.give("M003")  # type: ignore[attr-defined]
    world.pass_time(seconds=10)
    world.change(world.revoked, "revoked", merchant="M003")  # type: ignore[attr-defined]
    world.release(world.artefact())
    yield world
    world.close()


def store_of(world: ScoringWorld) -> Store:
    return world.nodes[NODE].runtime.store


def config_of(world: ScoringWorld) -> NodeConfig:
    return world.nodes[NODE].runtime.config


def test_a_sound_node_passes(world: ScoringWorld) -> None:
    for name, node in world.nodes.items():
        findings = list(examine_node(node.runtime.config))
        assert not [each for each in findings if each.state in ("fault", "warning")], name
    found = {each.check: str(each.what) for each in examine_node(config_of(world))}
    assert found["consents"].startswith("3 consents are signed")
    assert found["models"].startswith("1 models")


def test_a_journal_that_was_altered_or_shortened_in_the_middle(world: ScoringWorld) -> None:
    store = store_of(world)
    with store.session() as session:
        row = session.get_one(JournalRow, 2)
        row.entry = row.entry[:-2] + bytes([row.entry[-2] ^ 1]) + row.entry[-1:]
    assert "does not hold together at entry 2" in faults(examine_journal(store, NODE))[0]
    with store.session() as session:
        session.execute(delete(JournalRow).where(JournalRow.seq == 2))
    assert faults(examine_journal(store, NODE))


def test_consents_that_were_altered_removed_or_put_there(world: ScoringWorld) -> None:
    store = store_of(world)
    with store.session() as session:
        session.execute(update(ConsentRow).where(ConsentRow.state == "revoked").values(state="given"))
    assert "its events lead to revoked" in faults(examine_consents(store, NODE))[0]
    with store.session() as session:
        session.execute(delete(ConsentEventRow))
    assert faults(examine_consents(store, NODE)) == [
        "consents: 1 consents or events that the journal has taken are not in the store"
    ]
    with store.session() as session:
        row = session.scalars(select(ConsentRow)).first()
        assert row is not None
        row.valid_until += 999_999
    assert any("something else than what the merchant signed" in each for each in faults(examine_consents(store, NODE)))


def test_a_forged_consent_is_neither_signed_nor_in_the_journal(world: ScoringWorld) -> None:
    store = store_of(world)
    with store.session() as session:
        row = session.scalars(select(ConsentRow).where(ConsentRow.state == "given")).first()
        assert row is not None
        head, payload, signature = row.token.split(".")
        row.token = f"{head}.{payload}.{signature[:-6]}AAAAAA"
        record = world.record("M001", recipients=("platform",))
        forged = world.merchants["M002"].sign(record, "consent")
        values = {c.name: getattr(row, c.name) for c in ConsentRow.__table__.columns}
        session.add(ConsentRow(**{**values, "record_id": record.record_id, "token": forged}))
    found = faults(examine_consents(store, NODE))
    assert sum("not signed by the merchant's key" in each for each in found) >= 1
    assert any(record.record_id in each and "ever taken" in each for each in found)


def test_a_consent_under_a_key_that_was_replaced_is_counted(world: ScoringWorld) -> None:
    world.now += timedelta(hours=3)
    world.enrol_keys([world.merchants["M001"]])
    world.give("M001")
    (only,) = examine_consents(store_of(world), NODE)
    assert (only.state, "4 consents" in str(only.what)) == ("ok", True)


@pytest.mark.parametrize("change", ["artefact", "release", "scope"])
def test_models_that_were_altered(world: ScoringWorld, change: str) -> None:
    store, roster = store_of(world), world.nodes[NODE].runtime.roster
    with store.session() as session:
        row = session.scalars(select(ModelRow)).one()
        assert row.artefact is not None
        assert row.release is not None
        if change == "artefact":
            row.artefact = row.artefact.replace(b"1", b"2", 1)
        elif change == "release":
            row.release = row.release[:-6] + "AAAAAA"
        else:
            row.scope = "evaluation"
    (found,) = faults(examine_models(store, roster, NODE))
    assert found.startswith("models: model sha256:")


def test_the_command_and_a_damaged_file(world: ScoringWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = config_of(world), world.config_path(NODE)
    plain = json.loads(config.model_dump_json(by_alias=True, exclude_none=True))
    for name, key in config.require_trust():
        plain["trust"][name] = (
            key if isinstance(key, str) else plain["trust"][name].rstrip("=").translate({43: 45, 47: 95})
        )
    path.write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("DIGUA_LANG", "zh")
    done = CliRunner().invoke(app, ["doctor", "--offline", "--json", "--config", str(path)])
    assert done.exit_code == 0, done.output
    assert {each["check"] for each in json.loads(done.stdout)["findings"]} == {
        "store",
        "journal",
        "ledger",
        "consents",
        "keys",
        "roster",
        "models",
    }
    with store_of(world).session() as session:
        session.execute(update(JournalRow).where(JournalRow.seq == 1).values(hash=bytes(32)))
    done = CliRunner().invoke(app, ["doctor", "--offline", "--config", str(path)])
    assert done.exit_code == 1
    assert "故障  运行日志" in done.stdout
    assert NODE in done.stdout
    online = CliRunner().invoke(app, ["doctor", "--json", "--config", str(path)])
    assert {"clock", "hub", "journal"} <= {each["check"] for each in json.loads(online.stdout)["findings"]}


# the witness


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegulatorWorld]:
    office = RegulatorWorld(tmp_path_factory.mktemp("office"), by_hand=False)
    yield office
    office.close()


def test_the_witness_rebuilds_the_log(office: RegulatorWorld, tmp_path: Path) -> None:
    base = SignerWorld(tmp_path).config(party_id="witness", kind="witness", trust=None, budget=BUDGET)
    config = base.model_copy(update={"data_dir": office.base})
    roster = office.trained.federation.witness_context.roster

    class Roster:
        hub_id, witness_id = "hub", "witness"
        hub_keys, witness_keys = KeyLine.of(office.hub.public), KeyLine.of(office.witness.public)

    def found() -> list[str]:
        return faults(examine_log(office.store, Roster(), config))  # type: ignore[arg-type]

    assert roster is not None
    assert (office.base / MIRROR_FILE).exists()
    assert found() == []
    assert [each.state for each in examine_ledger(office.store, config)] == ["ok"]
    with office.mirror.store.session() as session:
        row = session.get_one(MirrorEntryRow, 7)
        kept, row.leaf = row.leaf, row.leaf[:-9] + bytes([row.leaf[-9] ^ 1]) + row.leaf[-8:]
    assert any("head that was cosigned at" in each for each in found())
    with office.mirror.store.session() as session:
        session.get_one(MirrorEntryRow, 7).leaf = kept
        session.execute(update(MirrorTileRow).values(data=b"\x00" * 32))
    assert found() == ["mirror: the copy's tiles are not what its entries give"]
    with office.store.session() as session:
        newest = session.get_one(CosignedLogRow, 1)
        newest.size -= 1
    assert any("is remembered" in each for each in found())
    with office.store.session() as session:
        session.get_one(CosignedLogRow, 1).size += 1
        session.execute(update(CosignedCheckpointRow).values(root=bytes(32)))
    assert any("does not verify" in each for each in found())
    office.fork()
    assert any("does not extend its log" in each for each in found())


def test_what_the_witness_signed_about_models(office: RegulatorWorld) -> None:
    class Roster:
        witness_id, witness_keys = "witness", KeyLine.of(office.witness.public)

    def states() -> list[str]:
        return [each.state for each in examine_signed(office.store, Roster(), "witness")]  # type: ignore[arg-type]

    model_id = office.propose_model()
    office.models.approve(model_id)
    office.propose_model()
    assert states() == ["ok"]
    with office.store.session() as session:
        assert session.scalars(select(SignedReleaseRow)).all()
        session.execute(update(SignedReleaseRow).values(scope="evaluation"))
    assert states() == ["fault"]
