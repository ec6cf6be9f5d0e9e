"""The platform's doctor finds what was altered; a backup comes back whole, or not at all; its figures."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection, func, select, text
from typer.testing import CliRunner

from hub import cli
from hub.bearer import collector_auth
from hub.db import open_database
from hub.errors import StateError
from hub.platform.app import create_platform
from hub.platform.backup import Manifest, restore, write_backup
from hub.platform.callers import Caller
from hub.platform.config import PlatformConfig, load_platform_config
from hub.platform.errors import PlatformStateError
from hub.platform.examination.all import examine_platform
from hub.platform.financing_orders import Order
from hub.platform.installation import at_desk, initialise
from hub.platform.lending import Lending
from hub.platform.programme_book import ProgrammeBook
from hub.platform.subsidised import Thing
from hub.platform.subsidy_book import SubsidyBook
from hub.platform.subsidy_rules import RULES
from hub.platform.tables.base import load_tables
from hub.platform.tables.subsidies import AccrualRow
from hub.platform.world.generator import draw_world
from hub.platform.world.loading import load_world
from hub.platform.world.parameters import read_world
from hub.state_errors import BackupError
from models.findings import Finding
from tests.databases import Server
from tests.lending_world import whole_life
from tests.platform_site import PlatformSite
from tests.unit.test_hub_platform_subsidies import RULE

HEADLINE = Path(__file__).parents[2] / "configs" / "worlds" / "headline.yaml"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A platform with merchants, lending, a subsidy that was accrued, a product of two versions, and a key."""
    folder = tmp_path_factory.mktemp("platform")
    config = initialise(folder, party_id="two-small", port=8450)
    config.gateway.token_file.write_text("t" * 32)
    config.gateway.token_file.chmod(0o600)
    full = read_world(HEADLINE)
    world = draw_world(full.model_copy(update={"merchants": 80, "financings": (20, 20, 20)}))
    with at_desk(config, clock=lambda: NOW) as desk:
        load_world(world, desk.register, desk.products, desk.financings)
        desk.callers.make(Caller("bank", "bank-01"), actor="operator:li")
        lending = Lending(desk.db, desk.audit.write, lambda: NOW, desk.register.applicant, desk.box)
        programmes = ProgrammeBook(lending)
        subsidies = SubsidyBook(lending, programmes)
        rule = RULES.validate_python(RULE | {"since": "2023-01-01", "until": "2027-01-01"})
        granted = 0
        with desk.db.session() as session:
            programmes.publish_in(session, "government:office", [rule])
        for each in world.financings:
            if not subsidies.why_not("two-small", Thing(each.financing_id)):
                with desk.db.session() as session:
                    subsidies.grant_in(session, "government:office", "two-small", Thing(each.financing_id))
                granted += 1
        assert granted > 5
        assert sum(part.fen for part in subsidies.accrue("government:office", "two-small", date(2026, 5, 1))) > 0
    return folder


@pytest.fixture
def config(original: Path, tmp_path: Path) -> PlatformConfig:
    """A copy that a test may alter."""
    shutil.copytree(original, tmp_path / "platform")
    return load_platform_config(tmp_path / "platform" / "platform.yaml")


def found(config: PlatformConfig) -> dict[str, list[Finding]]:
    with at_desk(config, clock=lambda: NOW) as desk:
        findings: dict[str, list[Finding]] = {}
        for each in examine_platform(config, desk):
            findings.setdefault(each.check, []).append(each)
    return findings


def states(config: PlatformConfig) -> dict[str, set[str]]:
    return {check: {each.state for each in some} for check, some in found(config).items()}


LOOKED_AT = ("permissions", "database", "audit-record", "accounts", "financings", "grants", "documents", "events")
SOUND = {check: {"ok"} for check in LOOKED_AT} | {"gateway": {"warning"}}  # nobody listens there


def altered(config: PlatformConfig, statement: str, **values: Any) -> None:
    db = open_database(config)
    with db.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount == 1
    db.close()


def test_all_of_it_is_sound_and_the_last_hash_is_told(config: PlatformConfig) -> None:
    findings = states(config)
    assert {check: state for check, state in findings.items() if check != "disk"} == SOUND
    (record,) = found(config)["audit-record"]
    with at_desk(config) as desk:
        number, last = desk.audit.verify()
    assert str(number) in str(record.what)
    assert last.hex() in str(record.what)


ALTERATIONS = (
    "UPDATE merchants SET origin = '000000' WHERE rowid = 3",
    "UPDATE merchants SET identifier_digest = x'00' WHERE rowid = 5",
    "DELETE FROM merchant_versions WHERE account_id = (SELECT account_id FROM merchants WHERE rowid = 7)",
    "UPDATE merchant_versions SET account = replace(account, '\"33', '\"34')"
    " WHERE account_id = (SELECT account_id FROM merchants WHERE rowid = 9)",
    "UPDATE financings SET amount_fen = amount_fen + 1 WHERE rowid = 7",
    "UPDATE financings SET state = 'refused' WHERE rowid = 8",
    "UPDATE instalments SET interest_fen = interest_fen + 1 WHERE number = 1 AND financing_id ="
    " (SELECT financing_id FROM financings WHERE disbursed_on IS NOT NULL AND rowid > 8 LIMIT 1)",
    "DELETE FROM repayments WHERE number = 1 AND financing_id ="
    " (SELECT financing_id FROM financings WHERE disbursed_on IS NOT NULL AND rowid > 20 LIMIT 1)",
    "UPDATE subsidy_grant_years SET accrued_fen = accrued_fen - 1 WHERE rowid ="
    " (SELECT min(rowid) FROM subsidy_grant_years WHERE accrued_fen > 0 AND number > 1)",
    "UPDATE subsidy_grants SET state = 'taken-back' WHERE rowid = 1",
    "UPDATE products SET terms = terms || ' ' WHERE rowid = 1",
    "UPDATE subsidy_programmes SET sha256 = 'f' WHERE rowid = 1",
)
TOLD = {
    "accounts": (
        "it is not what its last version says",
        "its identifier does not open, or is not what it is found by",
        "a version of its history is missing",
    ),
    "financings": ("it is not what the record's orders make of it",),
    "grants": ("its bookings add up to", "was taken back, and still holds money"),
    "documents": ("it was altered",),
}


def test_an_entry_that_was_altered_is_found_and_financings_are_not_rebuilt_from_it(config: PlatformConfig) -> None:
    altered(config, "UPDATE audit SET entry = replace(entry, 'merchant-', 'Merchant-') WHERE seq = 5")
    findings = states(config)
    assert (findings["audit-record"], findings["financings"]) == ({"fault"}, {"skipped"})
    (fault,) = found(config)["audit-record"]
    assert "entry 5" in str(fault.what)


def test_what_was_altered_is_found_and_where(config: PlatformConfig) -> None:
    db = open_database(config)
    with db.engine.begin() as connection:
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        for statement in ALTERATIONS:
            assert connection.execute(text(statement)).rowcount == 1, statement
    db.close()
    findings = found(config)
    faults = {check: [str(each.what) for each in some if each.state == "fault"] for check, some in findings.items()}
    assert {check: len(some) for check, some in faults.items() if some} == {
        "accounts": 4,
        "financings": 4,
        "grants": 2,
        "documents": 2,
    }
    for check, told in TOLD.items():
        for each in told:
            assert any(each in what for what in faults[check]), (each, faults[check])


def test_a_financing_that_the_record_does_not_know_is_found(config: PlatformConfig) -> None:
    db = open_database(config)
    with db.engine.begin() as connection:
        connection.execute(text("PRAGMA foreign_keys = OFF"))
        name = connection.scalar(text("SELECT financing_id FROM financings WHERE state = 'closed' LIMIT 1"))
        for table in ("repayments", "instalments", "financings"):
            connection.execute(text(f"DELETE FROM {table} WHERE financing_id = :name"), {"name": name})
    db.close()
    (fault,) = found(config)["financings"]
    assert (fault.state, "60 financings" in str(fault.what), "59" in str(fault.what)) == ("fault", True, True)


def test_secrets_that_others_may_read_another_key_and_events_given_up(config: PlatformConfig) -> None:
    config.key_file.write_bytes(bytes(32))
    config.sign_key_file.chmod(0o644)
    insert = (
        "INSERT INTO webhook_events (event_id, bank, body, state, tries, made_at, due_at)"
        " VALUES ('e', 'bank-01', '{}', 'dead', 9, 1, 1)"
    )
    altered(config, insert)
    findings = states(config)
    assert findings["permissions"] == {"fault"}
    assert findings["accounts"] == {"fault"}
    assert findings["events"] == {"warning"}
    assert any("80 faults in all" in str(each.what) for each in found(config)["accounts"])


def rows(config: PlatformConfig) -> dict[str, list[tuple[object, ...]]]:
    db = open_database(config)
    with db.reading() as session:
        kept = {
            table.name: sorted(map(tuple, session.execute(select(table)).all()), key=repr)
            for table in load_tables().sorted_tables
        }
    db.close()
    return kept


def elsewhere(config: PlatformConfig, folder: Path, *, keys: bool) -> PlatformConfig:
    folder.mkdir()
    shutil.copy(config.key_file.parent.parent / "platform.yaml", folder)
    if keys:
        shutil.copytree(config.key_file.parent, folder / "keys")
    return load_platform_config(folder / "platform.yaml")


@pytest.mark.parametrize("with_keys", [True, False])
def test_a_backup_comes_back_and_says_so_in_the_record(config: PlatformConfig, tmp_path: Path, with_keys: bool) -> None:
    path = tmp_path / "two-small.backup"
    manifest = write_backup(config, path, with_keys=with_keys, clock=lambda: NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    again = elsewhere(config, tmp_path / "again", keys=not with_keys)
    restore(again, path, actor="operator:li", clock=lambda: NOW)
    before, after = rows(config), rows(again)
    assert len(after["audit"]) == len(before["audit"]) + 1 == manifest.entries + 1
    assert {name: some for name, some in after.items() if name != "audit"} == {
        name: some for name, some in before.items() if name != "audit"
    }
    shutil.copy(config.gateway.token_file, again.gateway.token_file)
    assert {check: state for check, state in states(again).items() if check != "disk"} == SOUND
    with at_desk(again) as desk:
        last = desk.audit.entries(after=manifest.entries)[0]
    assert (last.action, last.what["hash"]) == ("platform-restore", manifest.last_hash)


def test_a_restore_that_cannot_be_is_refused_and_writes_nothing(config: PlatformConfig, tmp_path: Path) -> None:
    path = tmp_path / "two-small.backup"
    write_backup(config, path, with_keys=False)
    with pytest.raises(BackupError, match="never overwritten"):
        write_backup(config, path, with_keys=False)
    with pytest.raises(StateError, match="not empty"):
        restore(config, path, actor="operator:li")
    bare = elsewhere(config, tmp_path / "bare", keys=False)
    with pytest.raises(PlatformStateError, match="is not there"):
        restore(bare, path, actor="operator:li")
    assert not bare.key_file.exists()
    strange = elsewhere(config, tmp_path / "strange", keys=True)
    strange.key_file.write_bytes(bytes(range(32)))
    with pytest.raises(BackupError, match="key_file is not the one of this backup"):
        restore(strange, path, actor="operator:li")
    with pytest.raises(BackupError, match="is of two-small"):
        restore(bare.model_copy(update={"party_id": "other"}), path, actor="operator:li")
    damaged = tmp_path / "damaged.backup"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(damaged, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, source.read(name).replace(b"bank-01", b"bank-02"))
    with pytest.raises(BackupError, match="not what was written"):
        restore(bare, damaged, actor="operator:li")
    for each in (bare, strange):
        db = open_database(each)
        with db.engine.connect() as connection:
            assert _tables(connection) == []
        db.close()


def _tables(connection: Connection) -> list[str]:
    return [str(name) for (name,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))]


def test_the_commands(config: PlatformConfig, tmp_path: Path) -> None:
    run, file = CliRunner(), str(config.key_file.parent.parent / "platform.yaml")
    path = tmp_path / "made.backup"
    made = run.invoke(cli.app, ["platform", "backup", str(path), "--keys", "--config", file, "--json"])
    assert json.loads(made.stdout)["entries"] > 80
    with zipfile.ZipFile(path) as archive:
        assert Manifest.model_validate_json(archive.read("manifest.json")).with_keys
    again = elsewhere(config, tmp_path / "again", keys=False)
    at = str(again.key_file.parent.parent / "platform.yaml")
    done = run.invoke(cli.app, ["platform", "restore", str(path), "--config", at])
    assert done.exit_code == 0, done.output
    looked = run.invoke(cli.app, ["platform", "doctor", "--config", at, "--json"])
    assert looked.exit_code == 1  # the gateway's token is not there: it is no part of a backup
    faults = [each for each in json.loads(looked.stdout)["findings"] if each["state"] == "fault"]
    assert [each["check"] for each in faults] == ["gateway"]
    shutil.copy(config.gateway.token_file, again.gateway.token_file)
    assert run.invoke(cli.app, ["platform", "doctor", "--config", at]).exit_code == 0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PlatformSite]:
    made = PlatformSite(tmp_path)
    yield made
    made.close()


def test_figures_are_for_the_collector_alone_and_name_nobody(site: PlatformSite, tmp_path: Path) -> None:
    merchant = site.merchant(1)
    orders: list[Order] = whole_life("L-1")
    orders[0] = orders[0].model_copy(update={"account_id": merchant.account_id})
    site.platform.products.publish("bank:bank-01", [])
    token = tmp_path / "metrics.token"
    app = create_platform(site.platform, site.register.book, collector=collector_auth(token))
    assert TestClient(app).get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    token.write_text("m" * 32)
    token.chmod(0o600)
    app = create_platform(site.platform, site.register.book, collector=collector_auth(token))
    site.platform.financings.execute("bank-01", "bank:bank-01", orders)
    http = TestClient(app)
    assert http.get("/metrics").status_code == 401
    shown = http.get("/metrics", headers={"Authorization": f"Bearer {'m' * 32}"})
    assert shown.status_code == 200
    lines = shown.text.splitlines()
    assert 'digua_platform_merchants{state="active"} 1.0' in lines
    assert 'digua_platform_financings{state="closed"} 1.0' in lines
    assert 'digua_platform_financings{state="applied"} 0.0' in lines
    assert f"digua_platform_audit_entries {float(site.world.audit.verify()[0])}" in lines
    assert merchant.account_id not in shown.text
    assert "bank-01" not in shown.text
    assert TestClient(site.app).get("/metrics").status_code == 404


@pytest.mark.postgresql
def test_a_backup_moves_to_postgresql_where_numbers_go_on(
    config: PlatformConfig, tmp_path: Path, postgresql: Server
) -> None:
    first, second = tmp_path / "first.backup", tmp_path / "second.backup"
    write_backup(config, first, with_keys=False)
    moved = config.model_copy(update={"database": postgresql.empty()})
    restore(moved, first, actor="operator:li")
    write_backup(moved, second, with_keys=False)
    again = config.model_copy(update={"database": postgresql.empty()})
    restore(again, second, actor="operator:li")
    assert {check: state for check, state in states(again).items() if check != "disk"} == SOUND
    kept, there = rows(config), rows(again)
    assert {name: some for name, some in there.items() if name != "audit"} == {
        name: some for name, some in kept.items() if name != "audit"
    }
    db = open_database(again)
    with db.session() as session:  # a number that the database gives must not be one that is taken
        highest = session.scalar(select(func.max(AccrualRow.entry))) or 0
        granted = session.scalars(select(AccrualRow.number)).first()
        row = AccrualRow(number=granted, year=2030, until=date(2030, 1, 1), fen=1, booked_at=1)
        session.add(row)
        session.flush()
        assert row.entry == highest + 1 > 1
        session.rollback()
    db.close()
