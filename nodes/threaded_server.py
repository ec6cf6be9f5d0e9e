"""An application on an address of this machine, served in a thread beside the link: gateway, monitor, pages."""

from __future__ import annotations

import socket
import threading

import uvicorn

from nodes.errors import ConfigError


class ThreadedServer:
    """Uvicorn on one address.

    Args:
        config: application and options of uvicorn; address and port are not taken from it.
        host, port: where to listen; port 0 is any free one.
        name: of the thread.
        what, field, remedy: of the error where it cannot listen.
    """

    def __init__(
        self, config: uvicorn.Config, host: str, port: int, *, name: str, what: str, field: str, remedy: str
    ) -> None:
        self._server = uvicorn.Server(config)
        self._host = host
        self._port = port
        self._name = name
        self._what = what
        self._field = field
        self._remedy = remedy
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the configured one before it does."""
        return self._port if self._socket is None else int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._socket = socket.create_server((self._host, self._port), family=family)
        except OSError as problem:
            raise ConfigError(
                f"{self._what} on {self._host}:{self._port}: {problem.strerror}", field=self._field, remedy=self._remedy
            ) from problem
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=self._name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)
