"""The thread at a running witness that keeps its mirror of the log up to what it cosigned."""

from __future__ import annotations

import threading

import structlog

from crypto.errors import CryptoError
from nodes.errors import NodeError
from nodes.witness.mirror import Mirror

_LOG = structlog.get_logger("nodes.witness.mirror_follower")

LOOK_SECONDS = 1.0
"""How often it is compared with the newest cosigned checkpoint."""
PAUSE_SECONDS = 30.0
"""After a failure: the hub may come back, or its operator mend the log."""


class MirrorFollower:
    """Catches up again and again until it is stopped."""

    def __init__(self, mirror: Mirror, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._mirror = mirror
        self._look = look_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Check what is stored, then follow. A damaged mirror is an alarm; the witness's other duties go on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the block at hand."""
        self._stopping.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        pause, checked = 0.0, False
        while not self._stopping.wait(pause):
            pause = self._look
            try:
                if not checked:
                    self._mirror.check()
                    checked = True
                self._mirror.catch_up(stopping=self._stopping.is_set)
            except (CryptoError, NodeError) as problem:
                pause = PAUSE_SECONDS
                _LOG.error("mirror-behind", code=problem.code, reason=problem.message, remedy=problem.remedy)
            except Exception:
                pause = PAUSE_SECONDS
                _LOG.exception("mirror-failed")
