"""What can go wrong in the demo itself."""

from __future__ import annotations

from hub.errors import HubError


class DemoError(HubError):
    """A step of the demo failed; the message says which party and how its log ends."""

    code = "demo-failed"
    title = "The demo could not go on"


class DemoUsageError(DemoError):
    """An option was named that the demo asked for has no use for."""

    code = "demo-usage"
    status = 422
    title = "The option does not belong to this demo"
