"""Commands of nodes beside running ones, in a federation whose hub relays behind a real socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
from typer.testing import CliRunner, Result

from nodes.cli import app
from tests.scoring_world import ScoringWorld


class RelayServer:
    """The relay behind a real socket, one request at a time."""

    def __init__(self, world: ScoringWorld) -> None:
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = httpx.Request(self.command, f"http://hub{self.path}", content=self.rfile.read(length))
                with lock:
                    answer = world.relay.handle(request)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST  # noqa: N815 (the name that http.server asks for)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def call(world: ScoringWorld, party: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*(str(each) for each in arguments), "--config", str(world.config_path(party))])


def done(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def refused(result: Result, code: str) -> dict[str, str]:
    assert result.exit_code == 1, result.output
    facts: dict[str, str] = json.loads(result.stderr)
    assert facts["code"] == code
    return facts


def running(world: ScoringWorld, party: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nodes.cli", "run", "--config", str(world.config_path(party)), "--json"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert process.stderr is not None
    for line in process.stderr:
        if b"is running" in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process
    raise AssertionError(f"{party} did not start")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
