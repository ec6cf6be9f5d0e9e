"""The merchant's ES modules in a page of the hub's own origin, without anything else on it."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

STATIC = Path(str(resources.files("hub.web"))) / "static"
_PAGE = b"<!doctype html><meta charset=utf-8><title>modules</title><body><div data-problem hidden></div>"


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The static folder under /static/hub, and one empty page."""

    def do_GET(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(_PAGE)
            return
        self.path = self.path.removeprefix("/static/hub")
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the console."""


@contextmanager
def served_modules() -> Iterator[str]:
    """Serve them; gives the origin, which counts as secure because it is this machine."""
    handler = functools.partial(_Handler, directory=str(STATIC))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
