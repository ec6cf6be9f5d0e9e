"""What the book of insurance policies refuses."""

from __future__ import annotations

from hub.platform.errors import PlatformError


class PolicyUnknownError(PlatformError):
    """There is no such policy."""

    code = "policy-unknown"
    status = 404
    title = "There is no such policy"


class PolicyKnownError(PlatformError):
    """The insurer reported a policy of this number before, with other terms."""

    code = "policy-known"
    status = 409
    title = "A policy of this number was reported with other terms"


class PolicyStateError(PlatformError):
    """The policy cannot end so."""

    code = "policy-state"
    status = 409
    title = "The policy cannot be ended so"
