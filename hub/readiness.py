"""Whether the hub can do its work: each thing that it needs, whether it is there, and what to do where it is not.

Without database, schema, log or keys nothing can be answered: those stand in the way of requests (`blocking`). Without
witness or worker most can; and both come in over this same door, so that a balancer which shut it would keep them out.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, insert, literal, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from crypto.errors import CryptoError
from hub.clock import seconds
from hub.errors import HubError, StateError
from hub.keys import load_keys
from hub.migrations.runner import check_schema
from hub.services import Hub
from hub.tables.workers import WorkerRow
from hub.worker_pulse import BEAT_S
from models.said import Said, said

FRESH_S = 2.0
"""Anybody may ask: within so many seconds all get the same answer."""
ROOM_BYTES = 64 << 20
WORKER_LATE_S = 6 * BEAT_S
_PROBE = "readiness-probe"


@dataclass(frozen=True)
class Check:
    """One thing that the hub needs.

    Attributes:
        name: stable.
        ok: it is there.
        blocking: without it the hub is not ready.
        what, remedy: where it is not: message ids of the hub's catalogue.
    """

    name: str
    ok: bool
    blocking: bool
    what: Said | None = None
    remedy: Said | None = None


class _Undone(Exception):  # noqa: N818 (rolls a probe back, never leaves)
    """What was written for the probe is not kept."""


class Readiness:
    """Looks, and remembers for a moment."""

    def __init__(self, hub: Hub, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._found: tuple[Check, ...] = ()
        self._until = 0.0

    def checks(self) -> tuple[Check, ...]:
        """All of them, at most `FRESH_S` old."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._found = examine(self._hub)
                self._until = self._monotonic() + FRESH_S
            return self._found


def examine(hub: Hub) -> tuple[Check, ...]:
    """Look at all that the hub needs, now."""
    database = _database(hub)
    if not database.ok:
        return (database, _keys(hub))
    return (database, _schema(hub), _log(hub), _keys(hub), _witness(hub), _worker(hub))


def _failed(name: str, what: Said, remedy: Said, *, blocking: bool = True) -> Check:
    return Check(name, ok=False, blocking=blocking, what=what, remedy=remedy)


def _database(hub: Hub) -> Check:
    try:
        with hub.db.reading() as session:
            session.execute(select(literal(1)))
    except SQLAlchemyError:
        return _failed(
            "database",
            said("The database does not answer."),
            said("Start the database, or check its address, its password file and the network between."),
        )
    return Check("database", ok=True, blocking=True)


def _schema(hub: Hub) -> Check:
    try:
        check_schema(hub.db)
    except (StateError, SQLAlchemyError):
        return _failed(
            "schema",
            said("The database has another schema than this program needs."),
            said("Make a backup, then run `digua-hub migrate`; a newer schema needs the newer program."),
        )
    return Check("schema", ok=True, blocking=True)


def _log(hub: Hub) -> Check:
    """A transaction of writers gets its turn, the disk has room, and the sequencer keeps up."""
    stalled = said("Entries of the audit log wait for their place")
    room = said("Check that the hub runs and that its disk has room; its own log names the cause.")
    url = make_url(hub.config.database)
    try:
        if (
            url.get_backend_name() == "sqlite"
            and url.database
            and shutil.disk_usage(_folder(url.database)).free < ROOM_BYTES
        ):
            return _failed("log", said("The database's disk is full."), said("Give it room, or move the database."))
        with hub.db.session() as session:
            _probe(session, seconds(hub.clock()))
    except _Undone:
        pass
    except (SQLAlchemyError, OSError):
        return _failed(
            "log",
            said("Nothing can be written to the audit log."),
            said("Check the database's disk, its rights, and who holds it for long."),
        )
    if any(alarm.code == "log-stalled" for alarm in hub.alarms()):
        return _failed("log", stalled, room)
    return Check("log", ok=True, blocking=True)


def _probe(session: Session, now: int) -> None:
    session.execute(insert(WorkerRow).values(machine=_PROBE, at=now))
    raise _Undone


def _folder(database: str) -> str:
    return database.rpartition("/")[0] or "."


def _keys(hub: Hub) -> Check:
    """The files are what this process holds: a start after the next crash would find them so."""
    try:
        stored = load_keys(hub.config.keys_dir)
        same = hub.signing.complete() and stored.voprf.public == hub.keys.voprf.public
    except (HubError, CryptoError):
        same = False
    if not same:
        return _failed(
            "keys",
            said("The key files are not those that the hub was started with."),
            said("Restore keys_dir from its backup, for its owner alone (mode 0600)."),
        )
    return Check("keys", ok=True, blocking=True)


def _witness(hub: Hub) -> Check:
    for alarm in hub.alarms():
        if alarm.code != "log-stalled":
            return _failed("witness", alarm.what, alarm.remedy, blocking=False)
    try:
        witness = hub.parties.witness()
        connected = witness is not None and witness.party_id in hub.links.connected()
    except HubError:
        connected = False
    if not connected:
        return _failed(
            "witness",
            said("The witness is not connected."),
            said("Enrol the witness if there is none; start its agent, or check its network."),
            blocking=False,
        )
    return Check("witness", ok=True, blocking=False)


def _worker(hub: Hub) -> Check:
    with hub.db.reading() as session:
        last = session.scalar(select(func.max(WorkerRow.at)))
    if last is None or seconds(hub.clock()) - last > WORKER_LATE_S:
        return _failed(
            "worker",
            said("No worker looks for campaigns."),
            said("Start `digua-hub worker`, or read its log; it needs the database."),
            blocking=False,
        )
    return Check("worker", ok=True, blocking=False)
