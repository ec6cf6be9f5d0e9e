"""Refusals of scoring queries; part of the one tree of `hub.errors`."""

from __future__ import annotations

from hub.errors import HubError


class QueryRefusedError(HubError):
    """A scoring request is refused by the hub before any source sees it."""

    code = "query-refused"
    status = 422
    title = "The scoring request is refused"


class RequestExpiredError(QueryRefusedError):
    """A request is past its expiry, not yet issued, or lives too long."""

    code = "request-expired"
    title = "The scoring request is out of time"


class AnswerExpiredError(QueryRefusedError):
    """A request that was answered came again after its expiry."""

    code = "answer-expired"
    status = 410
    title = "The answer is no longer kept"


class NonceReusedError(QueryRefusedError):
    """A nonce came again under another request."""

    code = "nonce-reused"
    status = 409
    title = "The nonce was used before"


class TooFewSourcesError(QueryRefusedError):
    """An item names fewer than two sources besides the requester: one source's points would show."""

    code = "too-few-sources"
    title = "Too few sources for a score"


class MixedSourcesError(QueryRefusedError):
    """Items of one request name different sources: some would learn of merchants in whom they have no part."""

    code = "mixed-sources"
    title = "The request's merchants have different sources"


class ConsentUnknownError(QueryRefusedError):
    """An item's consent is not stored, or is another merchant's."""

    code = "consent-unknown"
    status = 403
    title = "There is no such consent of this merchant"


class RecipientNotConsentedError(QueryRefusedError):
    """An item's consent does not name the requester."""

    code = "recipient-not-consented"
    status = 403
    title = "The consent does not name this recipient"


class SourceNotConsentedError(QueryRefusedError):
    """An item names a source that its consent does not, or that is no such source."""

    code = "source-not-consented"
    status = 403
    title = "The consent does not name this source"
