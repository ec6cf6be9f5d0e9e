"""Errors of the hub: one tree, each with a stable code, its HTTP status, the field at fault and the remedy.

`hub.problems` turns them, and those of `crypto` and `models`, into RFC 9457 problem details.
"""

from __future__ import annotations

from typing import ClassVar

from crypto.wire.link import ProblemBody


class HubError(Exception):
    """Base of everything the hub refuses.

    Attributes:
        code: stable, machine-readable, e.g. ``"party-unknown"``.
        status: the HTTP status that goes with it.
        title: what kind of problem it is, in English; catalogues translate it by `code`.
        field: the input at fault, or ``None``.
        remedy: what the caller can do about it, or ``None``.
        party: the party at fault where it is another than the caller, or ``None``.
        retry_after_s: after so many seconds the same request may succeed unchanged; ``None`` where nothing says so.
    """

    code: ClassVar[str] = "hub-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The hub cannot do this"
    retry_after_s: ClassVar[int | None] = None

    def __init__(
        self, message: str, *, field: str | None = None, remedy: str | None = None, party: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy
        self.party = party


class HubConfigError(HubError):
    """The hub's configuration file is absent, malformed or unsafe."""

    code = "hub-config-invalid"
    title = "The hub's configuration cannot be used"


class StateError(HubError):
    """Keys, configuration and database do not belong together; the hub does not start."""

    code = "hub-state-mismatch"
    title = "Keys, configuration and database do not belong together"


class LogError(HubError):
    """The audit log in the database contradicts itself or the witness."""

    code = "log-inconsistent"
    title = "The audit log is inconsistent"


class NotFoundError(HubError):
    """There is no such thing, or none that the caller may see."""

    code = "not-found"
    status = 404
    title = "Not found"


class MethodNotAllowedError(HubError):
    """The path exists, but not with this method."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"


class RequestError(HubError):
    """The request's body, query or headers are malformed."""

    code = "request-invalid"
    status = 422
    title = "The request is malformed"


class RequestSizeError(HubError):
    """The request's body is larger than the hub accepts."""

    code = "request-too-large"
    status = 413
    title = "The request is too large"


class UnauthorisedError(HubError):
    """The request carries no valid authorisation."""

    code = "unauthorised"
    status = 401
    title = "Authorisation is missing or invalid"


class ForbiddenError(HubError):
    """The caller is known, but may not do this."""

    code = "forbidden"
    status = 403
    title = "Not allowed for this party"


class ReplayError(HubError):
    """A signed request came a second time."""

    code = "request-replayed"
    status = 409
    title = "This signed request was already used"


class IdempotencyKeyMissingError(HubError):
    """A POST came without its Idempotency-Key header."""

    code = "idempotency-key-missing"
    status = 400
    title = "The Idempotency-Key header is missing"


class IdempotencyKeyReusedError(HubError):
    """An idempotency key came again with another body."""

    code = "idempotency-key-reused"
    status = 422
    title = "This idempotency key was used for another request"


class IdempotencyInProgressError(HubError):
    """The first request under this idempotency key has not ended yet."""

    code = "idempotency-in-progress"
    status = 409
    title = "The first request under this idempotency key is still running"
    retry_after_s = 1


class EnrolmentError(HubError):
    """An enrolment or key rotation is refused."""

    code = "enrolment-refused"
    status = 403
    title = "The enrolment is refused"


class PartyExistsError(HubError):
    """A party of this id, or an active witness, is already enrolled."""

    code = "party-exists"
    status = 409
    title = "This party is already enrolled"


class PartyUnknownError(HubError):
    """No such party is enrolled, or the cosigned roster does not hold it yet."""

    code = "party-unknown"
    status = 403
    title = "The party is not on the cosigned roster"


class TooManyRequestsError(HubError):
    """One address asks faster than the hub lets it."""

    code = "too-many-requests"
    status = 429
    title = "Too many requests"


class CheckpointNotCosignedError(HubError):
    """The witness has not cosigned a checkpoint over this entry in time."""

    code = "checkpoint-not-cosigned"
    status = 503
    title = "The witness has not cosigned the log yet"
    retry_after_s = 5


class AuditFileError(HubError):
    """An export of a log cannot be read as one."""

    code = "audit-file-unreadable"
    status = 422
    title = "The audit file cannot be read"


class PeerError(HubError):
    """A request to another party over its link failed; `party` says which."""

    code = "peer-failed"
    status = 502
    title = "Another party did not answer as expected"


class PeerUnreachable(PeerError):  # noqa: N818  (a state of the peer, named as its users read it)
    """The party has no open link to the hub."""

    code = "peer-unreachable"
    status = 503
    title = "Another party is not connected"
    retry_after_s = 5

    def __init__(self, party: str) -> None:
        super().__init__(
            f"{party} is not connected to the hub.",
            party=party,
            remedy="Start the party's agent or check its network, then try again.",
        )


class PeerTimeout(PeerError):  # noqa: N818
    """The party did not answer in time."""

    code = "peer-timeout"
    status = 504
    title = "Another party did not answer in time"

    def __init__(self, party: str) -> None:
        super().__init__(
            f"{party} did not answer in time.", party=party, remedy="Try again; look at the party's own log."
        )


class PeerRefused(PeerError):  # noqa: N818
    """The party answered with a typed refusal, kept in `problem`."""

    code = "peer-refused"
    status = 502
    title = "Another party refused"

    def __init__(self, party: str, problem: ProblemBody) -> None:
        super().__init__(
            f"{party} refused: {problem.detail} ({problem.code})",
            party=party,
            field=problem.field,
            remedy=problem.remedy,
        )
        self.problem = problem


class InternalError(HubError):
    """Something unforeseen; the details are in the hub's own log only."""

    code = "internal-error"
    title = "The hub failed"


class RosterError(HubError):
    """The witness returned another roster than was proposed, or cannot be asked."""

    code = "roster-refused"
    status = 502
    title = "The roster was not cosigned"


class ConsentRefusedError(HubError):
    """A consent or an event contradicts the roster, its own record, or what is stored."""

    code = "consent-refused"
    status = 422
    title = "The consent is refused"


class ConsentStateError(HubError):
    """An event does not follow from the consent's state."""

    code = "consent-state"
    status = 409
    title = "The consent's state does not allow this"


class MerchantKeyUnknownError(HubError):
    """No key of this merchant is enrolled."""

    code = "merchant-key-unknown"
    status = 422
    title = "The merchant's key is not enrolled"


class LinkRefusedError(HubError):
    """A party's greeting on its link is refused."""

    code = "link-refused"
    status = 403
    title = "The link is refused"


class VoprfQuotaError(HubError):
    """A party would have more identifiers evaluated than its quota allows."""

    code = "voprf-quota-exceeded"
    status = 429
    title = "The quota of identifiers is used up"
