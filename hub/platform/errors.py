"""Errors of the platform: part of the hub's tree, so that they go out as the same problem details."""

from __future__ import annotations

from hub.errors import HubError


class PlatformError(HubError):
    """Base of everything the platform refuses."""

    code = "platform-error"
    title = "The platform cannot do this"


class AuditBrokenError(PlatformError):
    """The audit record does not hold together."""

    code = "platform-audit-broken"
    title = "The platform's audit record does not hold together"


class EntryUnknownError(PlatformError):
    """The audit record has no such entry."""

    code = "audit-entry-unknown"
    status = 404
    title = "The record has no such entry"


class KeyUnknownError(PlatformError):
    """There is no such key of the API."""

    code = "api-key-unknown"
    status = 404
    title = "There is no such key"


class PlatformConfigError(PlatformError):
    """The platform's configuration file is absent, malformed or unsafe."""

    code = "platform-config-invalid"
    title = "The platform's configuration cannot be used"


class PlatformStateError(PlatformError):
    """The platform's files are there already, or one that it needs is absent."""

    code = "platform-state"
    title = "The platform's files do not belong together"


class MembershipError(PlatformError):
    """Nobody can act for such a party, or it is not known whom a person acts for."""

    code = "platform-membership"
    status = 422
    title = "It is not clear whom this person acts for"
