"""Restoring a hub from a backup: into an empty database, all or nothing, then held until the witness was heard.

D1  The archive is checked whole against its manifest before anything is written: names, rows, bytes, SHA-256.
D2  It belongs to the configuration: hub id, name of the log, and keys, which are there already or in the archive.
D3  The database is empty. Its schema is made as the backup had it, the rows are written in one transaction, then the
    newer versions of the schema are gone through, so that a backup of an older program can be restored
    (`hub.database_restoring`).
D4  The hub is noted as held (`hub.restoration`): from then on nothing is written until the witness said what it has
    cosigned since.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from crypto.checkpoint import verify_note
from crypto.errors import CryptoError
from crypto.key_line import HeldKey, KeyLine
from hub.backup import Manifest
from hub.clock import Clock, seconds, utc_now
from hub.config import HubConfig
from hub.database_restoring import check_archive, check_empty, load, open_archive, write_secrets
from hub.db import open_database
from hub.keys import load_keys
from hub.migrations.runner import VERSIONS
from hub.state_errors import BackupError
from hub.tables.restores import RestoreRow


def restore(config: HubConfig, path: Path, *, clock: Clock = utc_now) -> Manifest:
    """D1 to D4.

    Raises:
        BackupError: the archive is none, is damaged, or is another hub's.
        StateError: the database is not empty, or keys are neither there nor in the archive.
    """
    with open_archive(path) as archive:
        manifest = check_archive(archive, Manifest)
        if (manifest.hub_id, manifest.origin) != (config.hub_id, config.log_origin):
            raise BackupError(
                f"The backup is of {manifest.hub_id} with the log {manifest.origin}.",
                field="archive",
                remedy="Name the configuration of the same hub.",
            )
        db = open_database(config)
        try:
            check_empty(db)
            write_secrets(archive, manifest, partial(_place, config))
            _check_checkpoint(manifest, config)
            load(db, archive, manifest, VERSIONS)
            VERSIONS.migrate(db)
            with db.session() as session:
                session.add(
                    RestoreRow(
                        phase="held",
                        log_size=manifest.log_size,
                        made_at=seconds(manifest.made_at),
                        restored_at=seconds(clock()),
                    )
                )
        finally:
            db.close()
    return manifest


def _place(config: HubConfig, name: str) -> Path:
    """D2: where a secret file of the archive belongs."""
    places = {"admin.token": config.admin_token_file, "internal.token": config.internal_token_file}
    return places.get(name) or config.keys_dir / Path(name).name


def _check_checkpoint(manifest: Manifest, config: HubConfig) -> None:
    """D2: the newest checkpoint is signed by the key that the hub will have."""
    keys = load_keys(config.keys_dir)
    if manifest.checkpoint is None:
        return
    held = KeyLine(tuple(HeldKey(key.public) for key in keys.signing))
    try:
        verify_note(manifest.checkpoint, {manifest.origin: held}, required={manifest.origin})
    except CryptoError as error:
        raise BackupError(
            "The backup's log is not signed by the key in keys_dir.",
            field="keys_dir",
            remedy="Restore the keys of the same hub; pseudonyms and log depend on them.",
        ) from error
