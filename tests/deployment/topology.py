"""The compose file's services as running processes: started in order, asked for their health, killed, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.deployment.compose_file import Compose
from tests.deployment.sandbox import Sandboxes

_STOP_SECONDS = 15.0
_TAIL = 25


@dataclass
class Topology:
    """Runs services.

    Args:
        compose: the file.
        sandboxes: makes their containers.
        logs: a folder; service S writes `logs/S.log`.
    """

    compose: Compose
    sandboxes: Sandboxes
    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, names: Iterable[str]) -> None:
        """Start services in their order, each after those it depends on are as it wants them."""
        wanted = set(names)
        for name in self.compose.start_order(wanted):
            for other, condition in self.compose.services[name].depends_on.items():
                if condition == "service_healthy" and other in self.running:
                    self.wait_healthy(other)
            self._launch(name)
        for name in wanted:
            self.wait_healthy(name)

    def wait_healthy(self, name: str) -> None:
        """Wait until the service's own health check passes, as often and as long as the file says."""
        check = self.compose.services[name].health
        if check is None:
            raise AssertionError(f"service {name} has no health check")
        deadline = time.monotonic() + check.start_period + check.interval * check.retries
        while True:
            self._alive(name)
            done = self.sandboxes.run(name, *check.test)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                said = (done.stdout + done.stderr).strip()
                raise AssertionError(f"{name} is not healthy: {said}\n{self.tail(name)}")
            time.sleep(0.5)

    def kill(self, name: str) -> None:
        """SIGKILL to everything in the service's container."""
        self._signal(name, signal.SIGKILL)
        self.running.pop(name).wait(_STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM to all, then SIGKILL to what is left."""
        for name in list(self.running):
            self._signal(name, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for name, process in list(self.running.items()):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(name, signal.SIGKILL)
                process.wait(_STOP_SECONDS)
        self.running.clear()

    def tail(self, name: str) -> str:
        """The end of a service's log."""
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-_TAIL:])

    def processes(self, name: str) -> list[psutil.Process]:
        """What runs in the service's container, bubblewrap left out."""
        inside = psutil.Process(self.running[name].pid).children(recursive=True)
        return [process for process in inside if process.name() != "bwrap"]

    def _launch(self, name: str) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as sink:
            self.running[name] = subprocess.Popen(
                self.sandboxes.command(name), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )

    def _alive(self, name: str) -> None:
        code = self.running[name].poll()
        if code is not None:
            raise AssertionError(f"{name} ended with exit code {code}:\n{self.tail(name)}")

    def _signal(self, name: str, number: signal.Signals) -> None:
        """To the service itself: bubblewrap would pass nothing on."""
        found = self.processes(name) if self.running[name].poll() is None else []
        targets = found if number == signal.SIGKILL else found[:1]
        for process in targets:
            with contextlib.suppress(ProcessLookupError):  # it ended with another
                os.kill(process.pid, number)
