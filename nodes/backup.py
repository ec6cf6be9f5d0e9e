"""Backups of a node: one file; and why a store that comes back knows that it is a copy.

O1  SQLite's own online backup copies the store in one state, beside a running node.
O2  What must never work twice is not in the copy: keys and bytes of attempts under way. So no copy can mask anew
    under a key that was used.
O3  The copy is marked as one (`store_copies`), in itself, so that it does not matter how it comes back. A marked store
    takes part in training only after its ledger was reconciled with what the witness knows
    (`nodes.charge_reconciliation`), and takes consents that it knew as used up for their current period.
O4  The file is a ZIP: `manifest.json` with sizes and SHA-256, `node.db`, and under `keys/` the keys, where asked for.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.archive import Member, first_difference, measure
from nodes.clock import Clock, system_clock
from nodes.config import NodeConfig
from nodes.errors import BackupError
from nodes.own_files import STORE_FILE, hold_alone
from nodes.store import STORE_VERSION, Store
from nodes.tables.attempts import AttemptBlobRow, AttemptKeyRow
from nodes.tables.copies import StoreCopyRow
from nodes.tables.feed import FeedPlaceRow
from nodes.tables.ledger import SentRow

MANIFEST = "manifest.json"
KEYS = "keys/"


class Manifest(BaseModel):
    """What a node's backup says of itself: whose, when, how far in the feed, how many lines of the ledger."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    party_id: str
    kind: str
    software: str
    store_version: int
    made_at: datetime
    feed_seq: int
    ledger_lines: int
    members: dict[str, Member]


def write_backup(config: NodeConfig, path: Path, *, with_keys: bool, clock: Clock = system_clock) -> Manifest:
    """O1 to O4, beside a running node or not.

    Raises:
        BackupError: the file is there already or cannot be written, there is no store, or it is a witness's.
    """
    _refuse_witness(config)
    source = config.data_dir / STORE_FILE
    if path.exists():
        raise BackupError(f"{path} is there already; it is never overwritten", field="out", remedy="name a new file")
    if not source.exists():
        raise BackupError(f"{source} is not there", field="data_dir", remedy="name the configuration of this node")
    try:
        with TemporaryDirectory(dir=path.absolute().parent, prefix=".backup-") as folder:
            copied = Path(folder) / STORE_FILE
            made_at = clock()
            feed_seq, lines = _copy(source, copied, int(made_at.timestamp()))
            files = {STORE_FILE: copied}
            if with_keys:
                files |= {KEYS + each.name: each for each in sorted(config.keys_dir.glob("*")) if each.is_file()}
            manifest = Manifest(
                format=1,
                party_id=config.party_id,
                kind=config.kind,
                software=version("digua"),
                store_version=STORE_VERSION,
                made_at=made_at,
                feed_seq=feed_seq,
                ledger_lines=lines,
                members={name: _member(file) for name, file in files.items()},
            )
            packed = Path(folder) / "packed"
            with os.fdopen(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
                    for name, file in files.items():
                        archive.write(file, name)
                out.flush()
                os.fsync(out.fileno())
            os.replace(packed, path)
    except OSError as problem:
        raise BackupError(
            f"{path} cannot be written: {problem.strerror}", field="out", remedy="give it room and permissions"
        ) from problem
    return manifest


def restore(config: NodeConfig, path: Path) -> Manifest:
    """Put a backup in the place of a store that is gone; keys that are there already stay.

    Raises:
        BackupError: the file is no backup, is damaged, is another party's, or there is a store.
        ConfigError: the node runs.
    """
    _refuse_witness(config)
    target = config.data_dir / STORE_FILE
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _checked(archive)
            if manifest.party_id != config.party_id:
                raise BackupError(
                    f"the backup is of {manifest.party_id}", field="archive", remedy="name the backup of this party"
                )
            if manifest.store_version > STORE_VERSION:
                raise BackupError(
                    f"the backup has store version {manifest.store_version}, this software knows {STORE_VERSION}",
                    field="archive",
                    remedy="install the newer digua-node",
                )
            with hold_alone(config):
                if target.exists():
                    raise BackupError(
                        f"{target} is there",
                        field="data_dir",
                        remedy="go on with it: it is newer. Where it is damaged, move it away and keep it",
                    )
                for name in manifest.members:
                    place = target if name == STORE_FILE else config.keys_dir / Path(name).name
                    if not place.exists():
                        _unpack(archive, name, place)
    except (OSError, zipfile.BadZipFile) as problem:
        raise BackupError(
            f"{path} cannot be restored: {problem}", field="archive", remedy="name a file of `digua-node backup`"
        ) from problem
    return manifest


def _refuse_witness(config: NodeConfig) -> None:
    if config.kind == "witness":
        raise BackupError(
            "a witness's store is never brought back from a copy: it would sign a second history",
            field="kind",
            remedy="keep its disk redundant and back up keys_dir alone; see docs/operations.md, Backup and restore",
        )


def _copy(source: Path, copied: Path, made_at: int) -> tuple[int, int]:
    """O1 to O3; returns the place in the feed and the number of lines in the ledger."""
    Store.open(copied).close()  # with its mode, before any byte is in it
    with sqlite3.connect(source) as running, sqlite3.connect(copied) as copy:
        running.backup(copy)
    running.close()
    copy.close()
    store = Store.open(copied)
    try:
        with store.session() as session:
            for table in (AttemptKeyRow, AttemptBlobRow):
                session.query(table).delete()
            session.add(StoreCopyRow(made_at=made_at))
            place = session.get(FeedPlaceRow, 1)
            lines = session.query(SentRow).count()
        store.scrub()
    finally:
        store.close()
    with sqlite3.connect(copied) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.execute("VACUUM")  # no free page holds what was deleted
    copy.close()
    return (0 if place is None else place.seq), lines


def _member(file: Path) -> Member:
    with file.open("rb") as data:
        found = measure(data)
    return Member(bytes=found.bytes, sha256=found.sha256)


def _checked(archive: zipfile.ZipFile) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(archive.read(MANIFEST))
    except (KeyError, ValidationError, ValueError) as problem:
        raise BackupError(
            "this is no backup of a node", field="archive", remedy="name a file of `digua-node backup`"
        ) from problem
    what = first_difference(archive, manifest.members, manifest=MANIFEST)
    if what is None and STORE_FILE not in manifest.members:
        what = "its files are not those that its manifest names"
    if what is not None:
        raise _damaged(what)
    return manifest


def _unpack(archive: zipfile.ZipFile, name: str, place: Path) -> None:
    """Durably, under another name first, so that no half of a store is ever in its place."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = place.with_name(place.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with (
        archive.open(name) as data,
        os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        shutil.copyfileobj(data, out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(unfinished, place)


def _damaged(what: str) -> BackupError:
    return BackupError(f"the backup is damaged: {what}", field="archive", remedy="take another copy of it")
