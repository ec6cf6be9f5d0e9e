"""The demo's parties as real processes: started, watched, measured and stopped together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hub.demo.errors import DemoError

_STOP_SECONDS = 10.0
_TAIL_LINES = 15
_SAMPLE_SECONDS = 1.0


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def executable(name: str) -> str:
    """The console script beside this interpreter, so that PATH does not matter."""
    return str(Path(sys.executable).with_name(name))


def environment() -> dict[str, str]:
    """This process's environment with outbound traffic off and one BLAS thread a process."""
    return {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


@dataclass
class Party:
    """One running process with its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise when the process has ended.

        Raises:
            DemoError: it has; the message holds the end of its log.
        """
        code = self.process.poll()
        if code is not None:
            raise DemoError(
                f"{self.name} ended with exit code {code}:\n{self.tail()}",
                field=self.name,
                remedy=f"the whole log is {self.log}",
            )

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])


@dataclass
class ProcessGroup:
    """All parties. Leaving the context stops every one of them, whatever happened."""

    logs: Path
    parties: dict[str, Party] = field(default_factory=dict)
    peak_bytes: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ProcessGroup:
        self.logs.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._sample, name="memory", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.stop()

    def start(self, name: str, arguments: Iterable[str]) -> Party:
        """Start a party's process; its output goes to its own log file."""
        log = self.logs / f"{name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(  # noqa: S603
                list(arguments), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment()
            )
        self.parties[name] = Party(name, process, log)
        return self.parties[name]

    def wait_until(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition while every party lives.

        Raises:
            DemoError: a party ended, or the time passed.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            for party in self.parties.values():
                party.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{what} did not happen within {seconds:.0f} s", remedy=f"look at the logs in {self.logs}"
                )
            time.sleep(0.1)

    def wait_for_interrupt(self) -> None:
        """Watch all parties until Ctrl-C or SIGTERM; DemoError where one of them ends before."""
        done = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: done.set())
        with contextlib.suppress(KeyboardInterrupt):
            while not done.wait(1.0):
                for party in self.parties.values():
                    party.check()

    def stop(self) -> None:
        """Ask each process to end (SIGTERM), then end those that did not."""
        for party in self.parties.values():
            if party.process.poll() is None:
                party.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for party in self.parties.values():
            try:
                party.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                party.process.kill()
                party.process.wait()

    def _sample(self) -> None:
        """Record the highest sum of resident memory over the driver, the parties and their children."""
        while not self._done.wait(_SAMPLE_SECONDS):
            total = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.Error:  # it ended meanwhile
                    continue
            self.peak_bytes = max(self.peak_bytes, total)


def run_command(arguments: Iterable[str], *, what: str) -> str:
    """Run one command to its end and return what it printed.

    Raises:
        DemoError: it failed; the message holds what it said.
    """
    done = subprocess.run(  # noqa: S603
        list(arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode != 0:
        raise DemoError(f"{what} failed with exit code {done.returncode}:\n{(done.stderr or done.stdout).strip()}")
    return done.stdout
