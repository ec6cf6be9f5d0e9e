"""This process among the replicas of one database: everything in which it differs from one that serves alone."""

from __future__ import annotations

from collections.abc import Callable

from hub.clock import Clock
from hub.config import HubConfig, ReplicaOptions
from hub.cosigning import Cosigner
from hub.db import Database
from hub.links import Links
from hub.nonces import SharedNonces
from hub.replica_hops import Hops
from hub.replica_links import LinkPlaces, ReplicaLinks, WorkerLinks
from hub.replica_news import News, NewsDesk
from hub.replicas import Replicas, replica_address
from hub.roster import RosterKeeper
from hub.shared_limits import SharedWindows


class ReplicaSet:
    """Started before all other parts of the hub, and stopped after them.

    Attributes:
        on_end: called where this replica was ended by another; it must not go on.

    Args:
        config, db, clock: the hub's.
        options: the section `replicas`.
        instance: this process's random name.
        token: the internal one.
    """

    def __init__(
        self, config: HubConfig, db: Database, options: ReplicaOptions, *, instance: str, token: str, clock: Clock
    ) -> None:
        self._db = db
        self.on_end: Callable[[], None] = lambda: None
        self.ended = False
        self.news = NewsDesk(db, sender=instance, hear=self._hear, look=self._look)
        self.replicas = Replicas(
            db,
            instance=instance,
            address=replica_address(config),
            lease_s=options.lease_s,
            clock=clock,
            on_end=self._end,
        )
        self.places = LinkPlaces(db, instance=instance, lease_s=options.lease_s, news=self.news)
        self.windows = SharedWindows(db, clock)
        self._hops = Hops(config, token)
        self._links: Links | None = None
        self._cosigner: Cosigner | None = None
        self._roster: RosterKeeper | None = None

    def nonces(self, use: str) -> SharedNonces:
        """Return the nonces that all replicas share for one use."""
        return SharedNonces(self._db, use)

    def join(self, links: Links, cosigner: Cosigner, roster: RosterKeeper) -> ReplicaLinks:
        """Let news reach these parts of the hub; return the links of all replicas."""
        self._links, self._cosigner, self._roster = links, cosigner, roster
        return ReplicaLinks(links, self.places, self._hops, self.news)

    def start(self) -> None:
        """Enter this replica."""
        self.replicas.start()
        self.news.start()

    def stop(self) -> None:
        """Sign off."""
        self.news.stop()
        self.replicas.stop()

    def close(self) -> None:
        """End all connections to other replicas."""
        self._hops.close()

    def _end(self) -> None:
        self.ended = True
        self.on_end()

    def _hear(self, news: News) -> None:
        if self._links is not None and news.feeds:
            self._links.notify_feed(news.feeds)
        if self._links is not None and news.links:
            self._links.end_older(self.places.newest())
        if self._cosigner is not None and news.cosigned:
            self._cosigner.heard()
        if self._cosigner is not None and news.offer:
            self._cosigner.wake()
        if self._roster is not None and news.roster:
            self._roster.heard()

    def _look(self) -> None:
        """Whatever may have been missed."""
        if self._links is not None:
            self._links.notify_feed(self._links.connected())
            self._links.end_older(self.places.newest())
        if self._cosigner is not None:
            self._cosigner.heard()
            self._cosigner.wake()
        if self._roster is not None:
            self._roster.heard()


def worker_links(config: HubConfig, db: Database, options: ReplicaOptions, *, instance: str, token: str) -> WorkerLinks:
    """Return the links of all replicas for a process that does not serve; close it."""
    news = NewsDesk(db, sender=instance)
    places = LinkPlaces(db, instance=instance, lease_s=options.lease_s, news=news)
    return WorkerLinks(places, Hops(config, token), news)
