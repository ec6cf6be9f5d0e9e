"""Backups of the hub: one file, one consistent state of database and log, the same for SQLite and PostgreSQL.

B1  All tables are read in one transaction that sees one state and keeps no writer waiting: consents, feeds, campaigns
    and the log belong together. What was acknowledged before it began is in it.
B2  The file is as `hub.database_archive` says. The manifest names hub, schema, log size, newest checkpoint, and each
    member's rows, bytes and SHA-256.
B3  Keys and tokens are in it only where that was asked for, under `secrets/`.

The file is written under another name and renamed when it is whole. It holds personal information (pseudonyms, salts,
consents): mode 0600, and to be encrypted by the owner's own means before it leaves the machine.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Annotated

from pydantic import Field
from sqlalchemy import func, select

from hub.database_archive import (
    ArchivedDatabase,
    add_secrets,
    add_tables,
    common_facts,
    read_sequences,
    write_archive,
)
from hub.log_reading import latest_checkpoint, log_size
from hub.services import Hub
from hub.tables.base import load_tables
from hub.tables.log import LogPendingRow


class Manifest(ArchivedDatabase):
    """What a backup says of itself.

    Attributes:
        waiting: entries that were written and had no place in the log yet.
        checkpoint: the newest signed note, with the witness's line where it had one.
    """

    hub_id: str
    origin: str
    log_size: Annotated[int, Field(ge=0)]
    waiting: Annotated[int, Field(ge=0)]
    checkpoint: str | None


def write_backup(hub: Hub, path: Path, *, revision: str, with_keys: bool) -> Manifest:
    """B1 to B3: write a backup of an open hub, which may be serving.

    Args:
        hub: the hub.
        path: of the new file.
        revision: of the database's schema.
        with_keys: whether keys and tokens are in it.

    Raises:
        BackupError: the file is there already, or cannot be written.
        StateError: a secret file cannot be read.
    """
    return write_archive(path, lambda archive: _fill(archive, hub, revision, with_keys=with_keys))


def _fill(archive: zipfile.ZipFile, hub: Hub, revision: str, *, with_keys: bool) -> Manifest:
    with hub.db.reading() as session:
        made_at = hub.clock()
        newest = latest_checkpoint(session, cosigned=False)
        size = log_size(session)
        waiting = session.scalar(select(func.count()).select_from(LogPendingRow)) or 0
        sequences = read_sequences(session)
        members = add_tables(archive, session, load_tables())
    if with_keys:
        members |= add_secrets(archive, secret_files(hub))
    return Manifest(
        **common_facts(revision, made_at),
        hub_id=hub.config.hub_id,
        origin=hub.config.log_origin,
        log_size=size,
        waiting=waiting,
        checkpoint=None if newest is None else newest.note,
        sequences=sequences,
        members=members,
    )


def secret_files(hub: Hub) -> dict[str, Path]:
    """The hub's secret files by their name in an archive; one may be absent."""
    config = hub.config
    keys = {f"keys/{path.name}": path for path in sorted(config.keys_dir.glob("*")) if path.is_file()}
    return keys | {"admin.token": config.admin_token_file, "internal.token": config.internal_token_file}
