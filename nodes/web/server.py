"""Serves a node's pages in a thread of its own, beside the link and the gateway."""

from __future__ import annotations

import structlog
import uvicorn
from fastapi import FastAPI

from models.web.headers import proxy_options
from models.web.tls import renew
from nodes.config import PagesConfig
from nodes.errors import ConfigError
from nodes.threaded_server import ThreadedServer

_LOG = structlog.get_logger("nodes.web.server")


class PageServer(ThreadedServer):
    """Uvicorn on the configured address."""

    def __init__(self, app: FastAPI, config: PagesConfig) -> None:
        self._config = config
        tls = config.tls
        super().__init__(
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
            ),
            config.listen.host,
            config.listen.port,
            name="pages",
            what="the pages cannot be served",
            field="pages.listen",
            remedy="choose a free port and an address of this machine under pages.listen in the configuration",
        )

    def renew_certificate(self) -> None:
        """Take certificate and key from their files again, for connections from now on."""
        tls, context = self._config.tls, self._server.config.ssl
        if tls is not None and context is not None:
            renew(context, tls.certificate, tls.key)

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on, or certificate and key cannot be used.
        """
        try:
            self._server.config.load()
        except OSError as problem:
            raise ConfigError(
                f"certificate or key of the pages cannot be used: {problem.strerror or problem}",
                field="pages.tls",
                remedy="name a certificate chain and its key, both PEM",
            ) from problem
        super().start()
        _LOG.info("pages-up", at=self._config.origin)
