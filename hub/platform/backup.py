"""Backups of the platform: one file, one consistent state, and the way back into an empty database.

B1  All tables are read in one transaction that sees one state; the file is as `hub.database_archive` says.
B2  The manifest says how long the record was and what its last hash, and bears a mark of each key file, by which a
    restore knows the right one; a mark says nothing of the key.
B3  Key files are in it only where that was asked for. `database_password_file`, TLS and the gateway's token never are.
B4  A restore checks the whole file before anything is written, then party, keys and that the database is empty. The
    record goes on with an entry that says which backup it was: what came after it, banks and merchants bring again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from hub.clock import Clock, seconds, utc_now
from hub.database_archive import (
    ArchivedDatabase,
    add_secrets,
    add_tables,
    common_facts,
    read_sequences,
    write_archive,
)
from hub.database_restoring import check_archive, check_empty, load, open_archive, write_secrets
from hub.db import open_database
from hub.platform.audit import AuditRecord, last_entry
from hub.platform.config import PlatformConfig
from hub.platform.errors import PlatformStateError
from hub.platform.installation import sign_key
from hub.platform.migrations.runner import VERSIONS
from hub.platform.tables.base import load_tables
from hub.state_errors import BackupError
from models.web.vault import open_vault

_MARKED = b"digua/platform/backup-mark"


class Manifest(ArchivedDatabase):
    """What a backup says of itself.

    Attributes:
        entries, last_hash: of the record.
        marks: field of the configuration → mark of its key file, hex.
    """

    kind: Literal["two-small"]
    party_id: str
    entries: Annotated[int, Field(ge=0)]
    last_hash: str
    marks: dict[str, str]


def write_backup(config: PlatformConfig, path: Path, *, with_keys: bool, clock: Clock = utc_now) -> Manifest:
    """B1 to B3: write a backup of a platform, which may be serving.

    Raises:
        BackupError: the file is there already, or cannot be written.
        StateError: the database has another schema, or a key file cannot be used.
    """
    marks = _marks(config)
    db = open_database(config)
    try:
        VERSIONS.check_schema(db)

        def fill(archive: zipfile.ZipFile) -> Manifest:
            with db.reading() as session:
                made_at = clock()
                entries, last = last_entry(session)
                sequences = read_sequences(session)
                members = add_tables(archive, session, load_tables())
            if with_keys:
                members |= add_secrets(archive, _files(config))
            return Manifest(
                **common_facts(VERSIONS.newest(), made_at),
                kind="two-small",
                party_id=config.party_id,
                entries=entries,
                last_hash=last.hex(),
                marks=marks,
                sequences=sequences,
                members=members,
            )

        return write_archive(path, fill)
    finally:
        db.close()


def restore(config: PlatformConfig, path: Path, *, actor: str, clock: Clock = utc_now) -> Manifest:
    """B4: bring a backup back.

    Args:
        config: of the same platform, with an empty database.
        path: of the backup.
        actor: who does it, as the record names it.
        clock: the time.

    Raises:
        BackupError: the file is none, is damaged, or is another platform's.
        PlatformStateError: key files are neither there nor in it.
        StateError: the database is not empty.
    """
    with open_archive(path) as archive:
        manifest = check_archive(archive, Manifest)
        if manifest.party_id != config.party_id:
            raise BackupError(
                f"The backup is of {manifest.party_id}.",
                field="archive",
                remedy="Name the configuration of the same platform.",
            )
        db = open_database(config)
        try:
            check_empty(db)
            write_secrets(archive, manifest, _files(config).get)
            _check_keys(config, manifest)
            load(db, archive, manifest, VERSIONS)
            VERSIONS.migrate(db)
            with db.session() as session:
                what: dict[str, JsonValue] = {
                    "made_at": seconds(manifest.made_at),
                    "entries": manifest.entries,
                    "hash": manifest.last_hash,
                }
                AuditRecord(db, clock).write(session, actor, "platform-restore", config.party_id, what)
        finally:
            db.close()
    return manifest


def _files(config: PlatformConfig) -> dict[str, Path]:
    found = {"key_file": config.key_file, "sign_key_file": config.sign_key_file}
    if config.pages is not None:
        found["pages.key_file"] = config.pages.key_file
    return found


def _marks(config: PlatformConfig) -> dict[str, str]:
    for field, path in _files(config).items():
        if not path.exists():  # a vault would make a new one
            raise PlatformStateError(f"{path} is not there.", field=field, remedy="Restore it from its backup.")
    found = {
        "key_file": open_vault(config.key_file).blur(_MARKED).hex(),
        "sign_key_file": sha256(_MARKED + sign_key(config).public).hexdigest(),
    }
    if config.pages is not None:
        found["pages.key_file"] = open_vault(config.pages.key_file).blur(_MARKED).hex()
    return found


def _check_keys(config: PlatformConfig, manifest: Manifest) -> None:
    present: Mapping[str, str] = _marks(config)
    for field, mark in manifest.marks.items():
        if present.get(field, mark) != mark:
            raise BackupError(
                f"The key in {field} is not the one of this backup.",
                field=field,
                remedy="Restore the keys of the same platform; no other opens what is in the backup.",
            )
