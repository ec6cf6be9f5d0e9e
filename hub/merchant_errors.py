"""Refusals of what merchants are asked, told and answered; part of the one tree of `hub.errors`."""

from __future__ import annotations

from hub.errors import HubError


class MerchantKeysError(HubError):
    """A batch of merchants' keys contradicts its signatures, its root or its countersigner."""

    code = "merchant-keys-invalid"
    status = 422
    title = "The merchants' keys are refused"


class InvitationError(HubError):
    """An invitation of a merchant, or the key that it brought, is refused."""

    code = "invitation-refused"
    status = 422
    title = "The invitation is refused"


class InvitationInvalidError(HubError):
    """No open invitation has this token: unknown, used and expired ones are answered alike."""

    code = "invitation-invalid"
    status = 404
    title = "The invitation is not valid"


class ConsentRequestError(HubError):
    """A request for a consent is refused."""

    code = "consent-request-refused"
    status = 422
    title = "The consent request is refused"


class ConsentRequestStateError(HubError):
    """A request for a consent is in another state."""

    code = "consent-request-state"
    status = 409
    title = "The consent request's state does not allow this"


class TicketError(HubError):
    """A ticket or its answer is refused."""

    code = "ticket-refused"
    status = 422
    title = "The ticket is refused"


class TicketStateError(HubError):
    """A ticket is in another state."""

    code = "ticket-state"
    status = 409
    title = "The ticket's state does not allow this"


class DeletionRefusedError(HubError):
    """A statement of deletion contradicts the consent that it is about, or an earlier one."""

    code = "deletion-refused"
    status = 422
    title = "The statement of deletion is refused"


class NoticeError(HubError):
    """A privacy notice contradicts what is registered."""

    code = "notice-refused"
    status = 422
    title = "The notice is refused"
