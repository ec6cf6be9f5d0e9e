"""What the base of the hub asks of the nodes' links and of the feed, without knowing either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from sqlalchemy.orm import Session

from crypto.wire.link import FrameType
from hub.errors import PeerUnreachable

__all__ = ["FeedPublisher", "HubAwayError", "NoLinks", "PeerLinks"]


class HubAwayError(Exception):
    """The process that holds the links is gone or was started again; no refusal, so that nobody is blamed for it."""


class PeerLinks(Protocol):
    """Requests to parties over the connections that they opened."""

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Ask and wait for the reply's body. Raises PeerUnreachable, PeerRefused, PeerTimeout."""

    async def request_async(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Like `request`, without holding a thread while waiting."""

    def connected(self) -> frozenset[str]:
        """Say which parties have an open link."""

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Push the parties' new feed items now."""


class FeedPublisher(Protocol):
    """Adds an item to parties' feeds, in the caller's transaction."""

    def publish(
        self,
        session: Session,
        party_ids: Iterable[str],
        kind: str,
        *,
        token: str | None = None,
        model_id: str | None = None,
    ) -> None:
        """Append the item to each party's feed; it is pushed by `PeerLinks.notify_feed` after the commit."""


class NoLinks:
    """No party is connected: the state of a hub that is not serving."""

    def request(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Refuse: there is no link."""
        raise PeerUnreachable(party_id)

    async def request_async(self, party_id: str, frame_type: FrameType, body: bytes, timeout: float) -> bytes:
        """Refuse: there is no link."""
        raise PeerUnreachable(party_id)

    def connected(self) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    def notify_feed(self, party_ids: Iterable[str]) -> None:
        """Nobody to notify; links push what is missing when they open."""
