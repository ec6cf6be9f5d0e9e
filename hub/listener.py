"""An application behind uvicorn until the process is told to stop: the hub's, and the platform's."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from hub.config import Listen, Tls
from models.web.headers import proxy_options
from models.web.tls import on_hangup, renew

STOP_S = 15


def serve_app(app: FastAPI, listen: Listen, tls: Tls | None, *, started: Callable[[], object], **options: Any) -> None:
    """Serve until SIGINT or SIGTERM; from the main thread. SIGHUP takes certificate and key from their files again.

    Args:
        started: called before the listener opens.
        options: more of uvicorn's.
    """
    config = uvicorn.Config(
        app,
        host=listen.host,
        port=listen.port,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        access_log=False,
        log_config=None,
        server_header=False,
        **proxy_options(listen.believed),
        timeout_graceful_shutdown=STOP_S,
        lifespan="on",
        **options,
    )
    config.load()

    def renew_certificate() -> None:
        if tls is not None and config.ssl is not None:
            renew(config.ssl, tls.certificate, tls.key)

    on_hangup(renew_certificate)
    # Uvicorn shuts down on these and raises them again afterwards; then they must not end us before we have closed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    started()
    uvicorn.Server(config).run()
