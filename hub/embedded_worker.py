"""Other processes of the hub as children of the serving one, started again when they die; for hubs without services of
their own: the worker, and a SuperLink."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import structlog

from hub.config import HubConfig

STOP_S = 12.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0
"""A process that lived as long as this was no failure of its start."""
_logger = structlog.get_logger("hub.campaigns")


class EmbeddedProcess:
    """Starts a command of `digua-hub` whose leash is its standard input (see `hub.campaign_process`).

    Args:
        config: of the hub, as read from its file.
        command: ``worker`` or ``superlink``.
    """

    def __init__(self, config: HubConfig, command: str) -> None:
        self._config = config
        self._command = command
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and watch it."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name=f"embedded-{self._command}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end; campaigns under way stay unfinished."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S + 2.0)
            self._thread = None

    def _watch(self) -> None:
        command = [sys.executable, "-m", "hub.cli", self._command, "--leashed", "--config", str(self._config.file)]
        pause = _FIRST_PAUSE_S
        while not self._stopping.is_set():
            began = time.monotonic()
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
            while self.process.poll() is None and not self._stopping.wait(_FIRST_PAUSE_S):
                pass
            code = _end(self.process)
            if self._stopping.is_set():
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _STEADY_S else min(_LONGEST_PAUSE_S, pause * 2)
            _logger.warning("process-died", command=self._command, code=code, again_in_s=pause)
            self._stopping.wait(pause)


class EmbeddedWorker(EmbeddedProcess):
    """`digua-hub worker`."""

    def __init__(self, config: HubConfig) -> None:
        super().__init__(config, "worker")


class EmbeddedSuperLink(EmbeddedProcess):
    """`digua-hub superlink`."""

    def __init__(self, config: HubConfig) -> None:
        super().__init__(config, "superlink")


def _end(process: subprocess.Popen[bytes]) -> int:
    """Close the leash and wait."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
