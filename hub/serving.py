"""Serving: uvicorn from Python, logs without payloads."""

from __future__ import annotations

import os
import signal

import structlog

from hub.app import create_app
from hub.link import WS_MAX_BYTES
from hub.listener import serve_app
from hub.services import Hub
from hub.state_errors import ReplicaEndedError
from models.ops.logs import LogOutput, configure_logs

_logger = structlog.get_logger("hub.serving")


def configure_logging(output: LogOutput | None = None) -> None:
    """Send structlog's and the libraries' records to standard error; as JSON where nothing else is said."""
    configure_logs(output or LogOutput())


def serve(hub: Hub) -> None:
    """Serve until SIGINT or SIGTERM; from the main thread. SIGHUP takes certificate and key from their files again.

    Raises:
        ReplicaEndedError: another replica ended this one, which stopped.
    """
    listen = hub.config.listen

    def started() -> None:
        if hub.replica_set is not None:
            hub.replica_set.on_end = lambda: os.kill(os.getpid(), signal.SIGTERM)
        _logger.info("hub-serves", at=listen.host, port=listen.port)

    serve_app(
        create_app(hub),
        listen,
        hub.config.tls,
        started=started,
        ws="websockets-sansio",
        ws_max_size=WS_MAX_BYTES,
    )
    _logger.info("hub-stopped")
    if hub.replica_set is not None and hub.replica_set.ended:
        raise ReplicaEndedError()
