"""A server's certificate is renewed while it runs: new connections get the new one, open ones go on."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

_logger = structlog.get_logger("models.web.tls")


def renew(context: ssl.SSLContext, certificate: Path, key: Path) -> bool:
    """Take certificate chain and key from their files again; whether that was done.

    They are tried in a context of their own first: a file that cannot be read, or a key of another certificate, changes
    nothing and is logged.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        _logger.warning("certificate-not-renewed", reason=str(problem), path=str(certificate))
        return False
    _logger.info("certificate-renewed", path=str(certificate))
    return True


def on_hangup(act: Callable[[], object]) -> None:
    """Have SIGHUP do something instead of ending the process; from the main thread."""

    def hung_up(_number: int, _frame: FrameType | None) -> None:
        act()

    signal.signal(signal.SIGHUP, hung_up)
