"""What the register of merchants refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hub.platform.errors import PlatformError

if TYPE_CHECKING:
    from hub.platform.merchant_import import RowFault


class MerchantFactsError(PlatformError):
    """A merchant's facts do not hold: kind, industry, origin, place, name or identifier."""

    code = "merchant-facts"
    status = 422
    title = "The merchant's details are not right"


class MerchantKnownError(PlatformError):
    """The identifier has an account already."""

    code = "merchant-known"
    status = 409
    title = "The merchant has an account already"


class MerchantUnknownError(PlatformError):
    """There is no such account."""

    code = "merchant-unknown"
    status = 404
    title = "There is no such merchant"


class MerchantStateError(PlatformError):
    """The account is closed, or another was put in its place."""

    code = "merchant-state"
    status = 409
    title = "The merchant's account is not active"


class MerchantChangedError(PlatformError):
    """Somebody changed the account since the caller read it."""

    code = "merchant-changed"
    status = 409
    title = "The merchant's account was changed meanwhile"


class MerchantFileError(PlatformError):
    """A file of merchants was not imported; nothing of it was written.

    Attributes:
        faults: every fault of every row; none where the file cannot be read as a table at all.
    """

    code = "merchant-file"
    status = 422
    title = "The file of merchants was not imported"

    def __init__(
        self, message: str, *, field: str | None = None, remedy: str | None = None, faults: Sequence[RowFault] = ()
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.faults = tuple(faults)


class RegistrationUnknownError(PlatformError):
    """No application of this number waits."""

    code = "registration-unknown"
    status = 404
    title = "There is no such application"


class RegistrationFullError(PlatformError):
    """Too many applications wait already."""

    code = "registration-full"
    status = 503
    title = "No applications are taken now"
