"""Replicas: several processes that serve one PostgreSQL, each under a lease that its heartbeat renews (docs/adr/0007).

H1  A replica enters itself when it starts, and says every fifth of the lease that it is there, by the database's clock.
H2  Whose lease is over is ended by whoever finds it so, in the turn of writers. From then on it commits nothing: each
    of its transactions that may write looks, once it has the turn, whether it was ended. So what it left unfinished can
    be done again without being done twice. Its connections are ended before that, so that one that hangs, or whose
    machine vanished, keeps neither the turn nor the lead.
H3  Who was away itself accuses nobody: a replica ends others only after a lease of unbroken beats of its own. A
    database that was started again ends no replica.
H4  A replica that was ended stops.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, TextClause, delete, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from hub.clock import Clock, seconds
from hub.config import HubConfig
from hub.db import Database
from hub.errors import StateError
from hub.own_address import own_address
from hub.state_errors import ReplicaEndedError
from hub.tables.replicas import LinkPlaceRow, ReplicaRow

_BEATS = 5
_AGAIN_S = 0.5
_FORGET_MS = 86_400_000
_NOW = TextClause("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
_LOOK = "SELECT ended FROM replicas WHERE instance = %s"
_CUT = TextClause(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND application_name = :name"
)
_BEAT = TextClause(
    "UPDATE replicas SET seen_ms = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
    " WHERE instance = :instance AND NOT ended"
)
_logger = structlog.get_logger("hub.replicas")


@dataclass(frozen=True)
class Replica:
    """A process that serves, as the others know it."""

    instance: str
    address: str
    machine: str
    started_at: int


def replica_address(config: HubConfig) -> str:
    """Return where other processes of the hub reach this one: as configured, else by this machine's name."""
    if config.replicas is not None and config.replicas.address is not None:
        return config.replicas.address
    address = own_address(config)
    if config.listen.host in ("0.0.0.0", "::"):  # noqa: S104  (addresses to compare with, not to bind)
        return f"{address.partition('://')[0]}://{socket.gethostname()}:{config.listen.port}"
    return address


def serving(session: Session, lease_s: float) -> list[Replica]:
    """Return the replicas whose lease runs, the oldest first."""
    query = select(ReplicaRow).where(ReplicaRow.ended.is_(False), ReplicaRow.seen_ms > _limit(session, lease_s))
    rows = session.scalars(query.order_by(ReplicaRow.started_at, ReplicaRow.instance))
    return [Replica(row.instance, row.address, row.machine, row.started_at) for row in rows]


def _now(session: Session) -> int:
    return int(session.execute(_NOW).scalar_one())


def _limit(session: Session, lease_s: float) -> int:
    return _now(session) - int(lease_s * 1000)


class Replicas:
    """This process as a replica, and what it knows of the others.

    Args:
        db: on PostgreSQL.
        instance: this process's random name.
        address: where the others reach it.
        lease_s: after so many seconds without a beat a replica is taken for dead.
        on_end: called once where this one was ended by another (H4).
    """

    def __init__(
        self,
        db: Database,
        *,
        instance: str,
        address: str,
        lease_s: float,
        clock: Clock,
        on_end: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self.instance = instance
        self._address = address
        self._lease_s = lease_s
        self._clock = clock
        self._on_end = on_end
        self._monotonic = monotonic
        self._steady_since = monotonic()
        self._beaten = monotonic()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _guard(self, connection: Connection) -> None:
        """H2: once this replica was ended, its transactions end before they write anything."""
        row = connection.exec_driver_sql(_LOOK, (self.instance,)).one_or_none()
        if row is None or row[0]:
            raise ReplicaEndedError()

    def start(self) -> None:
        """H1: enter this replica, then beat."""
        self._db.name_connections(_connections_of(self.instance))
        with self._db.session() as session:
            now = _now(session)
            gone = select(ReplicaRow.instance).where(ReplicaRow.seen_ms < now - _FORGET_MS)
            session.execute(delete(LinkPlaceRow).where(LinkPlaceRow.instance.in_(gone)))
            session.execute(delete(ReplicaRow).where(ReplicaRow.seen_ms < now - _FORGET_MS))
            session.add(
                ReplicaRow(
                    instance=self.instance,
                    address=self._address,
                    machine=socket.gethostname()[:255],
                    started_at=seconds(self._clock()),
                    seen_ms=now,
                    ended=False,
                )
            )
        self._db.guard(self._guard)
        self._steady_since = self._beaten = self._monotonic()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="replica-beat", daemon=True)
        self._thread.start()
        _logger.info("replica-entered", instance=self.instance)

    def stop(self) -> None:
        """Stop beating, and let the others know that this one is gone."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None
        try:
            with self._db.session() as session:
                session.execute(delete(LinkPlaceRow).where(LinkPlaceRow.instance == self.instance))
                session.execute(delete(ReplicaRow).where(ReplicaRow.instance == self.instance))
        except (DBAPIError, ReplicaEndedError):
            _logger.info("replica-not-signed-off")  # its lease runs out instead

    def live(self) -> list[Replica]:
        """Return the replicas whose lease runs, this one among them."""
        with self._db.reading() as session:
            return serving(session, self._lease_s)

    def gone(self, session: Session, instance: str) -> bool:
        """H2: whether a replica commits nothing more; ends it where its lease is over. In a transaction that may write.

        A replica that signed off is gone as well.
        """
        if instance == self.instance:
            return False
        row = session.get(ReplicaRow, instance)
        if row is None or row.ended:
            return True
        if not self._steady() or row.seen_ms > _limit(session, self._lease_s):
            return False
        session.execute(_CUT, {"name": _connections_of(instance)})
        row.ended = True
        session.execute(delete(LinkPlaceRow).where(LinkPlaceRow.instance == instance))
        _logger.warning("replica-ended", instance=instance, machine=row.machine)
        return True

    def _steady(self) -> bool:
        """H3."""
        return self._monotonic() - self._steady_since >= self._lease_s

    def _run(self) -> None:
        pause = self._lease_s / _BEATS
        while not self._stopping.wait(pause):
            try:
                known = self._beat()
                self._end_others()
            except DBAPIError:
                _logger.warning("replica-beat-missed", instance=self.instance)
                pause = _AGAIN_S
                continue
            except ReplicaEndedError:
                known = False
            pause = self._lease_s / _BEATS
            if not known:
                _logger.error("replica-was-ended", instance=self.instance)
                self._on_end()
                return

    def _beat(self) -> bool:
        with self._db.autocommit() as connection:
            known = connection.execute(_BEAT, {"instance": self.instance}).rowcount == 1
        now = self._monotonic()
        if now - self._beaten > 2 * self._lease_s / _BEATS + 1.0:  # H3
            self._steady_since = now
        self._beaten = now
        return known

    def _end_others(self) -> None:
        """H2, for replicas that nobody asks about."""
        if not self._steady():
            return
        with self._db.reading() as session:
            late = select(ReplicaRow.instance).where(
                ReplicaRow.ended.is_(False), ReplicaRow.seen_ms <= _limit(session, self._lease_s)
            )
            names = list(session.scalars(late))
        for name in names:
            with self._db.autocommit() as connection:  # without the turn, which it may hold
                connection.execute(_CUT, {"name": _connections_of(name)})
            with self._db.session() as session:
                self.gone(session, name)


def _connections_of(instance: str) -> str:
    return f"digua-hub {instance}"


def refuse_beside_replicas(db: Database, lease_s: float = 10.0) -> None:
    """Refuse to serve without the section `replicas` while replicas serve the same database; StateError."""
    if db.engine.dialect.name == "sqlite":
        return
    with db.reading() as session:
        others = serving(session, lease_s)
    if others:
        raise StateError(
            f"A replica on {others[0].machine} serves this database ({others[0].address}).",
            field="replicas",
            remedy="Write the section `replicas` into this hub.yaml too, or stop the replicas first.",
        )
