"""A node's backup: a copy that knows that it is one, without what must never work twice; it replaces nothing."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from crypto.keys import BoxKey
from nodes.attempts import AttemptStore
from nodes.backup import restore, write_backup
from nodes.cli import app
from nodes.config import NodeConfig
from nodes.errors import BackupError, ConfigError
from nodes.keys import create_keys
from nodes.own_files import STORE_FILE, hold_alone, note_copy, open_store
from nodes.store import STORE_VERSION, Store
from nodes.tables.copies import StoreCopyRow


def config_in(folder: Path, *, kind: str = "bank", party: str = "bank-01") -> NodeConfig:
    return NodeConfig.model_validate(
        {
            "party_id": party,
            "kind": kind,
            "region": "Lishui",
            "hub": {"url": "http://127.0.0.1:1"},
            "data_dir": folder / "data",
            "keys_dir": folder / "keys",
        }
    )


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    made = config_in(tmp_path / "node")
    create_keys(made.keys_dir, kind="bank")
    open_store(made).close()
    return made


def test_keys_of_attempts_under_way_are_not_in_it(config: NodeConfig, tmp_path: Path) -> None:
    store = open_store(config)
    attempts, key = AttemptStore(store), BoxKey.generate()
    attempts.save_key("c/scorecard/1", key)
    attempts.save_blob("c/scorecard/1", "rows", b"masked rows of merchants")
    path = tmp_path / "node.backup"
    manifest = write_backup(config, path, with_keys=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(manifest.members) == {STORE_FILE}
    with zipfile.ZipFile(path) as archive:
        data = archive.read(STORE_FILE)
    assert key.raw not in data
    assert b"masked rows" not in data
    assert attempts.key("c/scorecard/1").raw == key.raw  # the running node keeps its own
    with store.reading() as session:
        assert session.scalars(select(StoreCopyRow)).all() == []
    store.close()


def test_it_comes_back_marked_as_a_copy(config: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "node.backup"
    write_backup(config, path, with_keys=True)
    there = config_in(tmp_path / "again")
    restore(there, path)
    assert sorted(each.name for each in there.keys_dir.iterdir()) == ["box.pem", "sign.pem", "training.key"]
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o600 for each in there.keys_dir.iterdir())
    assert (there.keys_dir / "sign.pem").read_bytes() == (config.keys_dir / "sign.pem").read_bytes()
    store = open_store(there)
    note_copy(store, 1_000)
    note_copy(store, 2_000)
    with store.reading() as session:
        row = session.scalars(select(StoreCopyRow)).one()
    assert (row.opened_at, row.settled_at) == (1_000, None)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    store.close()


def test_nothing_that_is_there_is_replaced(config: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "node.backup"
    write_backup(config, path, with_keys=False)
    with pytest.raises(BackupError, match="never overwritten"):
        write_backup(config, path, with_keys=False)
    with pytest.raises(BackupError, match=r"node\.db is there"):
        restore(config, path)
    there = config_in(tmp_path / "again")
    with hold_alone(there), pytest.raises(ConfigError, match="is running already"):
        restore(there, path)
    with pytest.raises(BackupError, match="is not there"):
        write_backup(config_in(tmp_path / "nowhere"), tmp_path / "none.backup", with_keys=False)


def test_damaged_and_foreign_files_are_refused(config: NodeConfig, tmp_path: Path) -> None:
    path = tmp_path / "node.backup"
    write_backup(config, path, with_keys=False)
    with pytest.raises(BackupError, match="is of bank-01"):
        restore(config_in(tmp_path / "other", party="bank-02"), path)
    there = config_in(tmp_path / "again")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    cases = {
        "is not what was written": {**members, STORE_FILE: members[STORE_FILE][:-1] + b"x"},
        "not those that its manifest": {"manifest.json": members["manifest.json"]},
        "no backup of a node": {STORE_FILE: members[STORE_FILE]},
        f"store version {STORE_VERSION + 1}": {
            **members,
            "manifest.json": json.dumps({**manifest, "store_version": STORE_VERSION + 1}).encode(),
        },
    }
    for number, (said, files) in enumerate(cases.items()):
        altered = tmp_path / f"{number}.backup"
        with zipfile.ZipFile(altered, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        with pytest.raises(BackupError, match=said):
            restore(there, altered)
    (tmp_path / "text.backup").write_text("no archive")
    with pytest.raises(BackupError, match="cannot be restored"):
        restore(there, tmp_path / "text.backup")
    assert not (there.data_dir / STORE_FILE).exists()


def test_a_witness_is_never_brought_back_from_a_copy(tmp_path: Path) -> None:
    witness = config_in(tmp_path / "witness", kind="witness", party="witness")
    open_store(witness).close()
    with pytest.raises(BackupError, match="second history"):
        write_backup(witness, tmp_path / "w.backup", with_keys=False)


def test_a_store_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    store = Store.open(path)
    with store.session() as session:  # as version 1 had it
        session.connection().exec_driver_sql("DROP TABLE store_copies")
        session.connection().exec_driver_sql("PRAGMA user_version = 1")
    store.close()
    again = Store.open(path)
    with again.reading() as session:
        assert session.scalars(select(StoreCopyRow)).all() == []
        assert session.connection().exec_driver_sql("PRAGMA user_version").scalar_one() == STORE_VERSION
    again.close()


def test_the_commands(config: NodeConfig, tmp_path: Path) -> None:
    run, path = CliRunner(), tmp_path / "node.backup"
    file = tmp_path / "node.yaml"
    text = "party_id: bank-01\nkind: bank\nregion: Lishui\nhub: {url: 'http://127.0.0.1:1'}\n"
    file.write_text(f"{text}data_dir: {config.data_dir}\nkeys_dir: {config.keys_dir}\n")
    made = run.invoke(app, ["backup", str(path), "--no-keys", "--config", str(file), "--json"])
    assert json.loads(made.stdout)["ledger_lines"] == 0
    file.write_text(f"{text}data_dir: {tmp_path / 'new'}\nkeys_dir: {config.keys_dir}\n")
    done = run.invoke(app, ["restore", str(path), "--config", str(file)], env={"DIGUA_LANG": "zh"})
    assert done.exit_code == 0, done.output
    assert "见证方" in done.stdout
