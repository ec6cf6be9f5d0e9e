"""What the platform refuses about published statistics."""

from __future__ import annotations

from hub.platform.errors import PlatformError


class StatisticsUnknownError(PlatformError):
    """The platform has no such published report."""

    code = "statistics-unknown"
    status = 404
    title = "There is no such published report"
