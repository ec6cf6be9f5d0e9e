"""What loading a synthetic world refuses."""

from __future__ import annotations

from hub.platform.errors import PlatformError


class WorldConflictError(PlatformError):
    """The platform holds merchants or financings that are not the world's."""

    code = "world-conflict"
    status = 409
    title = "The platform holds something else than this synthetic world"
