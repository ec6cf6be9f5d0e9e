"""What replicas tell one another at once, over PostgreSQL's LISTEN and NOTIFY: hints, never the truth itself.

N1  News is sent after the commit that it is about. Whoever hears it looks into the database.
N2  News that is lost costs a moment only: everybody looks by itself at every heartbeat, and anew after each time of not
    listening. Nothing is decided by news alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, cast

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError

from crypto.wire.base import PartyId
from hub.db import Database

if TYPE_CHECKING:
    import psycopg

CHANNEL = "digua_replicas"
_PARTIES = 60
"""In one message, which has less than 8,000 bytes."""
_LOOK_S = 0.5
_STOP_S = 5.0
_KEEP = (
    # A server whose machine vanished is noticed within half a minute; an idle listener is not thrown out.
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
    "SET idle_session_timeout = 0",
)
_NOTIFY = TextClause("SELECT pg_notify(:channel, :payload)")
_logger = structlog.get_logger("hub.replicas")


class News(BaseModel):
    """What happened.

    Attributes:
        sender: instance of the process that tells.
        feeds: parties whose feeds have new items.
        links: party → name of its newest link, which opened just now.
        offer: entries wait for the witness's signature.
        cosigned: a checkpoint has it.
        roster: parties changed, or a roster was adopted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sender: str
    feeds: tuple[PartyId, ...] = ()
    links: dict[PartyId, str] = {}
    offer: bool = False
    cosigned: bool = False
    roster: bool = False


class NewsDesk:
    """Sends and hears news.

    Args:
        db: on PostgreSQL.
        sender: this process's instance; its own news is not heard.
        hear: takes the news of others, on the listener's thread; None for a process that only sends.
        look: called whenever listening begins: news may have been missed.
    """

    def __init__(
        self,
        db: Database,
        *,
        sender: str,
        hear: Callable[[News], None] | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._sender = sender
        self._hear = hear
        self._look = look
        self._lock = threading.Lock()
        self._fresh = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._forget()

    def _forget(self) -> None:
        self._feeds: set[str] = set()
        self._links: dict[str, str] = {}
        self._flags: set[str] = set()

    def tell(self, *flags: str, feeds: Iterable[str] = (), links: Mapping[str, str] | None = None) -> None:
        """Tell the others soon; what is told meanwhile goes along in one message.

        Args:
            flags: names of the true fields of `News`.
            feeds, links: as there.
        """
        with self._lock:
            self._feeds.update(feeds)
            self._links.update(links or {})
            self._flags.update(flags)
        self._fresh.set()

    def start(self) -> None:
        """Begin to send, and to listen."""
        self._stopping.clear()
        runs = [("replica-news-out", self._send_all)]
        if self._hear is not None:
            runs.append(("replica-news-in", self._listen))
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in runs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what waits, then end."""
        self._stopping.set()
        self._fresh.set()
        for thread in self._threads:
            thread.join(_STOP_S)
        self._threads = []

    def _taken(self) -> list[News]:
        with self._lock:
            feeds, links, flags = sorted(self._feeds), sorted(self._links.items()), self._flags
            self._forget()
        found = [News(sender=self._sender, **dict.fromkeys(flags, True))] if flags else []
        for first in range(0, len(feeds), _PARTIES):
            found.append(News(sender=self._sender, feeds=tuple(feeds[first : first + _PARTIES])))
        for first in range(0, len(links), _PARTIES):
            found.append(News(sender=self._sender, links=dict(links[first : first + _PARTIES])))
        return found

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._db.autocommit() as connection:
                    for statement in _KEEP:
                        connection.exec_driver_sql(statement)
                    while True:
                        self._fresh.wait()
                        self._fresh.clear()
                        for news in self._taken():
                            payload = news.model_dump_json(exclude_defaults=True)
                            connection.execute(_NOTIFY, {"channel": CHANNEL, "payload": payload})
                        if self._stopping.is_set():
                            return
            except DBAPIError:  # N2
                _logger.warning("replica-news-not-sent")
                self._stopping.wait(_LOOK_S)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._db.autocommit() as connection:
                    for statement in (*_KEEP, f"LISTEN {CHANNEL}"):
                        connection.exec_driver_sql(statement)
                    self._look()
                    self._hear_all(cast("psycopg.Connection", connection.connection.driver_connection))
            except Exception:  # the connection ended, or what heard it failed: N2
                if not self._stopping.is_set():
                    _logger.warning("replica-news-not-heard", exc_info=True)
                self._stopping.wait(_LOOK_S)

    def _hear_all(self, connection: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            for notify in connection.notifies(timeout=_LOOK_S):
                try:
                    news = News.model_validate_json(notify.payload)
                except ValidationError:
                    _logger.warning("replica-news-malformed")
                    continue
                if news.sender != self._sender and self._hear is not None:
                    self._hear(news)
            connection.execute("SELECT 1")  # notices a server that is gone
