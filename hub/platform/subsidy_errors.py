"""What subsidies and insurance refuse."""

from __future__ import annotations

from hub.platform.errors import PlatformError


class ProgrammeError(PlatformError):
    """A programme's file or rule cannot be used."""

    code = "programme-invalid"
    status = 422
    title = "The programme's rule cannot be published"


class ProgrammeUnknownError(PlatformError):
    """There is no such programme."""

    code = "programme-unknown"
    status = 404
    title = "There is no such programme"


class GrantUnknownError(PlatformError):
    """There is no such grant."""

    code = "grant-unknown"
    status = 404
    title = "There is no such grant"


class GrantRefusedError(PlatformError):
    """There is no subsidy for it; every unmet condition is named."""

    code = "grant-refused"
    status = 422
    title = "The conditions of the subsidy are not met"


class GrantKindError(PlatformError):
    """The programme subsidises another kind of thing."""

    code = "grant-kind"
    status = 422
    title = "The programme subsidises something else"


class GrantStateError(PlatformError):
    """The grant was taken back already."""

    code = "grant-state"
    status = 409
    title = "The grant was taken back already"


class AccrualDayError(PlatformError):
    """Accruals cannot be made up to this day."""

    code = "accrual-day"
    status = 422
    title = "Accruals cannot be made up to this day"
