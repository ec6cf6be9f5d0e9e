"""Serves a node's pages in a thread of its own, beside the link and the gateway."""

from __future__ import annotations

import logging
import socket
import threading

import uvicorn
from fastapi import FastAPI

from models.web.headers import proxy_options
from nodes.config import PagesConfig
from nodes.errors import ConfigError

_LOG = logging.getLogger(__name__)


class PageServer:
    """Uvicorn on the configured address."""

    def __init__(self, app: FastAPI, config: PagesConfig) -> None:
        self._config = config
        tls = config.tls
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                ssl_certfile=None if tls is None else str(tls.certificate),
                ssl_keyfile=None if tls is None else str(tls.key),
                **proxy_options(config.proxies),
            )
        )
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on; the configured one before it does."""
        return self._config.listen.port if self._socket is None else int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on, or certificate and key cannot be used.
        """
        host, port = self._config.listen.host, self._config.listen.port
        try:
            self._server.config.load()
        except OSError as problem:
            raise ConfigError(
                f"certificate or key of the pages cannot be used: {problem.strerror or problem}",
                field="pages.tls",
                remedy="name a certificate chain and its key, both PEM",
            ) from problem
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as problem:
            raise ConfigError(
                f"the pages cannot be served on {host}:{port}: {problem.strerror}",
                field="pages.listen",
                remedy="choose a free port and an address of this machine under pages.listen in the configuration",
            ) from problem
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="pages", daemon=True
        )
        self._thread.start()
        _LOG.info("the pages are at %s", self._config.origin)

    def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)
