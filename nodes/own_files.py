"""A node's own files: its store, the lock that one process holds at a time, and what commands write for the owner."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select, update

from nodes.config import NodeConfig
from nodes.errors import ConfigError
from nodes.store import Store
from nodes.tables.copies import StoreCopyRow
from nodes.tables.owner import OwnerRow

STORE_FILE = "node.db"
LOCK_FILE = "node.lock"


@contextmanager
def hold_alone(config: NodeConfig) -> Iterator[None]:
    """Hold a node's data folder alone.

    Raises:
        ConfigError: another process runs this node.
    """
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(config.data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise ConfigError(
                f"{config.party_id} is running already on {config.data_dir}",
                field="data_dir",
                remedy="stop the other process first",
            ) from problem
        yield
    finally:
        os.close(descriptor)


def open_store(config: NodeConfig) -> Store:
    """The node's store, which must be its own.

    Raises:
        ConfigError: it belongs to another party, or cannot be used.
    """
    store = Store.open(config.data_dir / STORE_FILE)
    with store.session() as session:
        owner = session.get(OwnerRow, 1)
        if owner is None:
            session.add(OwnerRow(id=1, party_id=config.party_id))
    if owner is not None and owner.party_id != config.party_id:
        store.close()
        raise ConfigError(
            f"{config.data_dir} holds the ledger of {owner.party_id}",
            field="data_dir",
            remedy=f"give {config.party_id} a data_dir of its own",
        )
    return store


def note_copy(store: Store, now: int) -> None:
    """Where the store is a backup that came back, note when it was first opened."""
    with store.reading() as session:
        unopened = session.scalars(select(StoreCopyRow).where(StoreCopyRow.opened_at.is_(None))).first()
    if unopened is not None:
        with store.session() as session:
            session.execute(update(StoreCopyRow).where(StoreCopyRow.opened_at.is_(None)).values(opened_at=now))


def held(config: NodeConfig) -> bool:
    """Say whether a process holds the node's data folder. Asking keeps nobody from asking too."""
    try:
        descriptor = os.open(config.data_dir / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a text that only its owner may read.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as problem:
        raise ConfigError(
            f"{path} cannot be written: {problem.strerror}", field="out", remedy="check the path and its permissions"
        ) from problem
