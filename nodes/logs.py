"""Logs of a running node: to standard error, one line an event, never payloads or anybody's data."""

from __future__ import annotations

from models.ops import logs
from models.ops.logs import LogOutput


def configure_logs(output: LogOutput | None = None, *, as_json: bool = False) -> None:
    """Send all logs of this process to standard error.

    Args:
        output: as the configuration says; for persons where it does not.
        as_json: JSON whatever it says.
    """
    chosen = output or LogOutput(format="console")
    logs.configure_logs(chosen.model_copy(update={"format": "json"}) if as_json else chosen)
