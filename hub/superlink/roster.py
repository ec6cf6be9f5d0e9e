"""Who may join the SuperLink: the parties of the cosigned roster, by their training keys, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog

from crypto.training_key import public_pem
from crypto.wire.party import Party
from hub.campaign_errors import SuperLinkError
from hub.superlink.api import RegisteredNode, SuperLinkApi

LOOK_S = 5.0
_logger = structlog.get_logger("hub.superlink")


@dataclass(frozen=True)
class Changes:
    """What is to change at the SuperLink: keys to let in, and node ids to let in no longer."""

    register: tuple[bytes, ...]
    unregister: tuple[int, ...]


def due_changes(
    parties: Iterable[Party], nodes: Collection[RegisteredNode], *, only_ours: Collection[bytes] | None = None
) -> Changes:
    """Compare roster and SuperLink.

    Args:
        parties: of the cosigned roster.
        nodes: registered now.
        only_ours: keys that this hub registered, where the SuperLink has nodes of others too; None where it has not.
    """
    wanted = {public_pem(party.training_key) for party in parties if party.training_key is not None}
    known = {node.public_key for node in nodes}
    gone = [
        node.node_id
        for node in nodes
        if node.public_key not in wanted and (only_ours is None or node.public_key in only_ours)
    ]
    return Changes(tuple(sorted(wanted - known)), tuple(sorted(gone)))


class SuperLinkRoster:
    """Keeps the SuperLink's registered nodes as the roster has them, while the hub serves.

    Args:
        api: the SuperLink.
        parties: the cosigned roster's, now.
        shared: the SuperLink is not the hub's own; then only keys that this process registered are taken out.
        look_s: seconds between looks.
    """

    def __init__(
        self,
        api: SuperLinkApi,
        parties: Callable[[], Sequence[Party]],
        *,
        shared: bool,
        look_s: float = LOOK_S,
    ) -> None:
        self._api = api
        self._parties = parties
        self._ours: set[bytes] | None = set() if shared else None
        self._look_s = look_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._keep, name="superlink-roster", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self._look_s + 1.0)
            self._thread = None

    def look(self) -> Changes:
        """Bring the SuperLink up to the roster; return what was changed.

        Raises:
            SuperLinkError: it cannot be reached, or refuses.
        """
        changes = due_changes(self._parties(), self._api.nodes(), only_ours=self._ours)
        for key in changes.register:
            self._api.register(key)
            if self._ours is not None:
                self._ours.add(key)
        for node_id in changes.unregister:
            self._api.unregister(node_id)
        return changes

    def _keep(self) -> None:
        away = False
        while not self._stopping.wait(min(self._look_s, 1.0) if away else self._look_s):
            try:
                changes = self.look()
            except SuperLinkError as problem:
                if not away:
                    _logger.warning("superlink-away", reason=str(problem))
                away = True
                continue
            away = False
            if changes.register or changes.unregister:
                _logger.info("superlink-roster", let_in=len(changes.register), let_go=len(changes.unregister))
