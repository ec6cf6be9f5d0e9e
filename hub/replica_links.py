"""The parties' links of all replicas: found in the database, asked directly or by one hop (docs/adr/0007).

M1  A replica enters each link that opens with it, before anything goes over it; a newer link of a party replaces the
    entry, and the replica that holds the older one ends that at once (K5 across replicas).
M2  A request goes over an own link, else by one hop to the replica that is entered. A replica that is asked so uses its
    own links only: there is no second hop.
M3  Where the replica is gone, the caller gets `PeerMoving`: the same request may be sent again, and the party comes
    back at another replica. A worker gets `HubAwayError` (B2).
M4  Before a query goes to a party over an own link, the party has stored all of its feed that was committed by then:
    a revocation that any replica accepted holds at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError

from crypto.wire.base import PartyId
from crypto.wire.link import FrameType
from hub.db import Database
from hub.errors import HubError, PeerUnreachable
from hub.links import Links, LinkState
from hub.peers import HubAwayError
from hub.relayed_links import DistantLinks
from hub.replica_hops import Hops, ReplicaAwayError
from hub.replica_news import NewsDesk
from hub.replicas import Replica, serving
from hub.state_errors import PeerMoving, ReplicaEndedError
from hub.tables.replicas import LinkPlaceRow, ReplicaRow

_logger = structlog.get_logger("hub.replicas")


class LinkStateView(BaseModel):
    """A link as the replica that holds it tells the others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: int
    software: str
    acked: int


STATES: TypeAdapter[dict[PartyId, LinkStateView]] = TypeAdapter(dict[PartyId, LinkStateView])


@dataclass(frozen=True)
class Place:
    """Where a party's newest link is entered; `replica` is None where that one is gone."""

    instance: str
    replica: Replica | None


class LinkPlaces:
    """The entries of links (M1).

    Args:
        db: on PostgreSQL.
        instance: this process.
        lease_s: of replicas.
        news: tells the others.
    """

    def __init__(self, db: Database, *, instance: str, lease_s: float, news: NewsDesk) -> None:
        self._db = db
        self.instance = instance
        self._lease_s = lease_s
        self._news = news

    def opened(self, party_id: str, link: str) -> None:
        """Enter a link that is about to be used; PeerUnreachable where it cannot be: nobody would find it."""
        try:
            with self._db.session() as session:
                session.merge(LinkPlaceRow(party_id=party_id, instance=self.instance, link=link))
        except (DBAPIError, ReplicaEndedError) as error:
            _logger.warning("link-not-entered", party=party_id)
            raise PeerUnreachable(party_id) from error
        self._news.tell(links={party_id: link})

    def closed(self, party_id: str, link: str) -> None:
        """Take it out, unless a newer one stands there."""
        mine = LinkPlaceRow.party_id == party_id, LinkPlaceRow.link == link
        try:
            with self._db.session() as session:
                session.execute(delete(LinkPlaceRow).where(*mine))
        except (DBAPIError, ReplicaEndedError):  # whoever is sent here hears that there is no such link
            _logger.warning("link-not-taken-out", party=party_id)

    def newest(self) -> dict[str, str]:
        """Return party → name of its newest link."""
        with self._db.reading() as session:
            return {row.party_id: row.link for row in session.scalars(select(LinkPlaceRow))}

    def find(self, party_id: str) -> Place | None:
        """Say where a party's link is."""
        with self._db.reading() as session:
            row = session.get(LinkPlaceRow, party_id)
            if row is None:
                return None
            found = {each.instance: each for each in serving(session, self._lease_s)}
            return Place(row.instance, found.get(row.instance))

    def connected(self) -> frozenset[str]:
        """Say which parties' links are at replicas whose lease runs."""
        with self._db.reading() as session:
            found = {each.instance for each in serving(session, self._lease_s)}
            rows = session.execute(select(LinkPlaceRow.party_id, LinkPlaceRow.instance)).all()
        return frozenset(party_id for party_id, instance in rows if instance in found)

    def replicas(self) -> list[Replica]:
        """Return the replicas whose lease runs."""
        with self._db.reading() as session:
            return serving(session, self._lease_s)

    def last_change(self) -> int:
        """Return when a replica last came or went, Unix seconds; 0 where there was none."""
        with self._db.reading() as session:
            live = {each.instance for each in serving(session, self._lease_s)}
            rows = session.scalars(select(ReplicaRow)).all()
        return max((row.started_at if row.instance in live else row.seen_ms // 1000 for row in rows), default=0)


class ReplicaLinks:
    """The links of all replicas, in a process that serves.

    Args:
        own: this process's.
        places, hops, news: of the replicas.
    """

    def __init__(self, own: Links, places: LinkPlaces, hops: Hops, news: NewsDesk) -> None:
        self._own = own
        self._places = places
        self._hops = hops
        self._news = news

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link, wherever."""
        return self._own.connected() | self._places.connected()

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party from a worker thread and wait for the reply's body.

        Raises:
            PeerUnreachable, PeerTimeout, PeerRefused: no link, no answer in time, a typed refusal.
            PeerMoving: M3.
        """
        if party_id in self._own.connected():
            return self._own.request(party_id, frame_type, body, timeout)
        replica = self._replica(party_id)
        try:
            return self._hops.request(replica, party_id, frame_type, body, timeout)
        except ReplicaAwayError as away:
            raise _moving(party_id, replica, away) from away

    async def request_async(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Like `request`, without holding a thread while waiting."""
        if party_id in self._own.connected():
            return await self._own.request_async(party_id, frame_type, body, timeout)
        replica = await asyncio.to_thread(self._replica, party_id)
        try:
            return await self._hops.request_async(replica, party_id, frame_type, body, timeout)
        except ReplicaAwayError as away:
            raise _moving(party_id, replica, away) from away

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Push new feed items of these parties now, wherever they are connected."""
        wanted = frozenset(party_ids)
        self._own.notify_feed(wanted)
        self._news.tell(feeds=wanted)

    def acknowledged(self, party_id: str) -> int | None:
        """Say up to which item a party has stored its feed; None for one without an open link."""
        own = self._own.acknowledged(party_id)
        if own is not None:
            return own
        place = self._places.find(party_id)
        if place is None or place.replica is None:
            return None
        state = self._states_at(place.replica).get(party_id)
        return None if state is None else state.acked

    def states(self) -> dict[str, LinkState]:
        """Say of each party with an open link since when, with which software, and how far it has its feed."""
        found: dict[str, LinkState] = {}
        for replica in self._places.replicas():
            if replica.instance != self._places.instance:
                found |= self._states_at(replica)
        return found | self._own.states()

    def _states_at(self, replica: Replica) -> dict[str, LinkState]:
        try:
            told = STATES.validate_json(self._hops.states(replica))
        except (ReplicaAwayError, HubError, TimeoutError):
            _logger.info("replica-not-asked", instance=replica.instance)
            return {}
        return {party: LinkState(each.since, each.software, each.acked) for party, each in told.items()}

    def _replica(self, party_id: str) -> Replica:
        place = self._places.find(party_id)
        if place is None or place.instance == self._places.instance:
            raise PeerUnreachable(party_id)
        if place.replica is None:
            raise PeerMoving(party_id)
        return place.replica


class WorkerLinks(DistantLinks):
    """The links of all replicas, in a process that does not serve."""

    def __init__(self, places: LinkPlaces, hops: Hops, news: NewsDesk) -> None:
        super().__init__()
        self._places = places
        self._hops = hops
        self._news = news
        news.start()

    def close(self) -> None:
        """End all connections."""
        self._news.stop()
        self._hops.close()

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link; HubAwayError where no replica serves."""
        if not self._places.replicas():
            raise HubAwayError("no replica serves")
        self.since = self._places.last_change()
        return self._places.connected()

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask a party and wait for the reply's body.

        Raises:
            PeerUnreachable, PeerTimeout, PeerRefused: as the links do.
            HubAwayError: M3.
        """
        place = self._places.find(party_id)
        if place is None:
            self.connected()
            raise PeerUnreachable(party_id)
        if place.replica is None:
            raise HubAwayError("the replica that held the link is gone")
        try:
            return self._hops.request(place.replica, party_id, frame_type, body, timeout)
        except PeerUnreachable:
            self._still_there(place.replica)
            raise
        except ReplicaAwayError as away:
            raise HubAwayError(str(away)) from away

    def _still_there(self, replica: Replica) -> None:
        """Links end first when a replica shuts down: only one that still listens speaks of a party."""
        try:
            self._hops.states(replica)
        except ReplicaAwayError as away:
            raise HubAwayError(str(away)) from away

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Have new feed items pushed; one that is missed is pushed with the next heartbeat."""
        self._news.tell(feeds=party_ids)


def _moving(party_id: str, replica: Replica, away: ReplicaAwayError) -> PeerMoving:
    _logger.warning("replica-away", party=party_id, instance=replica.instance, reason=str(away))
    return PeerMoving(party_id)
