"""A backup is one consistent state; it comes back into an empty database of either kind, or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, insert, select
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from hub import cli
from hub.backup import Manifest, write_backup
from hub.config import load_config
from hub.database_archive import TableMember as File
from hub.database_archive import read_sequences
from hub.database_restoring import check_archive, load
from hub.db import Database
from hub.doctor import examine
from hub.errors import StateError
from hub.log_reading import latest_checkpoint
from hub.migrations.runner import VERSIONS, migrate, newest
from hub.restoring import restore
from hub.services import Hub
from hub.state_errors import BackupError
from hub.tables.base import load_tables
from hub.tables.log import LogPendingRow
from hub.tables.restores import RestoreRow
from tests.databases import empty_database
from tests.hub_world import HubWorld, Member

RUN = CliRunner()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HubWorld]:
    made = HubWorld(tmp_path / "hub")
    made.join(made.witness, Member("bank-1", "bank"))
    made.settle()
    with made.hub.db.session() as session:  # written, and without its place in the log yet
        made.hub.log.append(session, "consent", "hub-lishui", subject=bytes(32))
    yield made
    made.hub.close()


def elsewhere(world: HubWorld, *, keys: bool = True) -> Path:
    """The configuration of the same hub in another folder, with an empty database of the test's kind."""
    folder = world.base.parent / "again"
    folder.mkdir()
    written = (world.base / "hub.yaml").read_text()
    line = next(each for each in written.splitlines() if each.startswith("database:"))
    (folder / "hub.yaml").write_text(written.replace(line, f"database: {empty_database()}"))
    if keys:
        shutil.copytree(world.base / "keys", folder / "keys")
        for name in ("admin.token", "internal.token"):
            shutil.copy(world.base / name, folder / name)
    return folder / "hub.yaml"


def rows(db: Database) -> dict[str, list[tuple[object, ...]]]:
    """Everything in a database but the note of its restoring."""
    with db.reading() as session:
        return {
            table.name: sorted(map(tuple, session.execute(select(table)).all()), key=repr)
            for table in load_tables().sorted_tables
            if table.name != "restores"
        }


def test_all_of_it_comes_back_and_numbers_go_on(world: HubWorld, tmp_path: Path) -> None:
    path = tmp_path / "hub.backup"
    manifest = write_backup(world.hub, path, revision=newest(), with_keys=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (manifest.log_size, manifest.waiting) == (world.hub.log.reader.size(), 1)
    assert not manifest.with_keys
    config = load_config(elsewhere(world))
    restore(config, path)
    again = Hub.open(config, clock=lambda: world.now)
    assert rows(again.db) == rows(world.hub.db)
    assert examine(again) == []
    numbers = []
    for hub in (world.hub, again):
        with hub.db.session() as session:
            numbers.append(session.scalar(insert(LogPendingRow).returning(LogPendingRow.id), {"leaf": b"x"}))
            session.rollback()
    assert numbers[0] == numbers[1]
    with again.db.reading() as session:
        row = session.scalars(select(RestoreRow)).one()
    assert (row.phase, row.log_size, row.witness_size) == ("held", manifest.log_size, None)
    again.close()


def test_a_backup_of_sqlite_comes_back_on_the_other_database(world: HubWorld, tmp_path: Path) -> None:
    path = tmp_path / "hub.backup"
    write_backup(world.hub, path, revision=newest(), with_keys=True)
    config = load_config(elsewhere(world, keys=False)).model_copy(
        update={"database": f"sqlite:///{tmp_path / 'moved.sqlite'}"}
    )
    restore(config, path)
    moved = Hub.open(config, clock=lambda: world.now)
    assert rows(moved.db) == rows(world.hub.db)
    assert moved.keys.identity.public == world.hub.keys.identity.public
    assert examine(moved) == []
    moved.close()


def test_what_is_written_meanwhile_is_not_half_in_it(
    world: HubWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, path = world.hub, tmp_path / "hub.backup"

    def write_first(session: Session) -> dict[str, int]:
        with hub.db.session() as writer:
            hub.log.append(writer, "erasure", "hub-lishui", facts={"entries": 0})
        return read_sequences(session)

    monkeypatch.setattr("hub.backup.read_sequences", write_first)
    manifest = write_backup(hub, path, revision=newest(), with_keys=False)
    with hub.db.reading() as session:
        assert len(session.scalars(select(LogPendingRow)).all()) == 2
    assert manifest.waiting == manifest.members["tables/log_pending.jsonl"].rows == 1


def test_nothing_that_is_there_is_overwritten(world: HubWorld, tmp_path: Path) -> None:
    path = tmp_path / "hub.backup"
    write_backup(world.hub, path, revision=newest(), with_keys=False)
    with pytest.raises(BackupError, match="never overwritten"):
        write_backup(world.hub, path, revision=newest(), with_keys=False)
    with pytest.raises(StateError, match="not empty"):
        restore(world.hub.config, path)
    config = load_config(elsewhere(world, keys=False))
    with pytest.raises(StateError, match="cannot be read"):
        restore(config, path)


def altered(path: Path, name: str, data: bytes | None) -> Path:
    """A copy of an archive with one member changed, or left out."""
    out = path.with_name("altered.backup")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as copy:
        for each in source.namelist():
            if each != name:
                copy.writestr(each, source.read(each))
            elif data is not None:
                copy.writestr(each, data)
    return out


def test_damaged_foreign_and_newer_archives_leave_the_database_empty(world: HubWorld, tmp_path: Path) -> None:
    path = tmp_path / "hub.backup"
    write_backup(world.hub, path, revision=newest(), with_keys=False)
    config = load_config(elsewhere(world))
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        parties = archive.read("tables/parties.jsonl")
    newer = json.dumps({**manifest, "revision": "9999"}).encode()
    foreign = json.dumps({**manifest, "hub_id": "hub-2"}).encode()
    for name, data, said in (
        ("tables/parties.jsonl", parties.replace(b"bank", b"tank"), "not what was written"),
        ("tables/parties.jsonl", None, "not those that its manifest names"),
        ("manifest.json", None, "no backup of this kind"),
        ("manifest.json", newer, "does not know"),
        ("manifest.json", foreign, "is of hub-2"),
    ):
        with pytest.raises(BackupError, match=said):
            restore(config, altered(path, name, data))
    (tmp_path / "text.backup").write_text("no archive")
    with pytest.raises(BackupError, match="cannot be read"):
        restore(config, tmp_path / "text.backup")
    restore(config, path)


def test_the_commands(world: HubWorld, tmp_path: Path) -> None:
    path, config = tmp_path / "hub.backup", elsewhere(world)
    made = RUN.invoke(cli.app, ["backup", str(path), "--no-keys", "--config", str(world.base / "hub.yaml"), "--json"])
    assert json.loads(made.stdout)["log_size"] == world.hub.log.reader.size()
    done = RUN.invoke(cli.app, ["restore", str(path), "--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["complaints"] == []


def test_a_database_of_newer_software_is_left_alone(world: HubWorld) -> None:
    with world.hub.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateError, match="schema 9999") as opened:
        Hub.open(world.hub.config)
    assert "newer program" in (opened.value.remedy or "")
    with pytest.raises(StateError, match="newer program"):
        migrate(world.hub.db)


def as_of(path: Path, revision: str) -> Path:
    """The archive as a program with an older schema had written it: without later tables and columns."""
    empty = Database(f"sqlite:///{path.parent / 'older.sqlite'}")
    migrate(empty, revision=revision)
    older = MetaData()
    older.reflect(empty.engine)
    empty.close()
    out = path.with_name("older.backup")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as copy:
        manifest = Manifest.model_validate_json(source.read("manifest.json"))
        members = {}
        for table in older.sorted_tables:
            if table.name == "alembic_version":
                continue
            name = f"tables/{table.name}.jsonl"
            kept = [
                {column.name: row[column.name] for column in table.columns}
                for row in map(json.loads, source.read(name).splitlines())
            ]
            data = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
            members[name] = File(bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(kept))
            copy.writestr(name, data)
        fields = {"revision": revision, "members": members}
        copy.writestr("manifest.json", manifest.model_copy(update=fields).model_dump_json())
    return out


def test_a_database_of_the_first_schema_is_brought_up_to_date_with_its_data(world: HubWorld, tmp_path: Path) -> None:
    path = tmp_path / "hub.backup"
    write_backup(world.hub, path, revision=newest(), with_keys=False)
    file = elsewhere(world)
    config = load_config(file)
    db = Database(config.database)
    with zipfile.ZipFile(as_of(path, "0001")) as archive:
        load(db, archive, check_archive(archive, Manifest), VERSIONS)
    with pytest.raises(StateError, match=r"schema 0001, this program needs") as refused:
        Hub.open(config)
    assert "digua-hub migrate" in (refused.value.remedy or "")
    done = RUN.invoke(cli.app, ["migrate", "--config", str(file)])
    assert done.exit_code == 0, done.output
    upgraded = Hub.open(config, clock=lambda: world.now)
    upgraded.links = world.links
    assert rows(upgraded.db) == rows(world.hub.db)
    assert examine(upgraded) == []
    before = upgraded.log.reader.size()
    while upgraded.log.sequence():
        upgraded.log._cosigner.offer()
    assert upgraded.log.reader.size() == before + 1
    assert upgraded.roster.party("bank-1").kind == "bank"
    with upgraded.db.reading() as session:
        newest_checkpoint = latest_checkpoint(session, cosigned=True)
    assert newest_checkpoint is not None
    assert newest_checkpoint.size == before + 1  # the witness goes on where it was
    upgraded.close()
    db.close()
