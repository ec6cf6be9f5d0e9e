"""What products, financings, offers and webhooks refuse."""

from __future__ import annotations

from hub.platform.errors import PlatformError


class FinancingStateError(PlatformError):
    """The step is not open from the financing's present state."""

    code = "financing-state"
    status = 409
    title = "The financing is in another state"


class FinancingVersionError(PlatformError):
    """Somebody changed the financing since the caller read it."""

    code = "financing-changed"
    status = 409
    title = "The financing was changed meanwhile"


class ReferenceTakenError(PlatformError):
    """The bank used this reference for another application."""

    code = "reference-taken"
    status = 409
    title = "The reference is taken"


class FinancingUnknownError(PlatformError):
    """There is no such financing, or it is not the caller's."""

    code = "financing-unknown"
    status = 404
    title = "There is no such financing"


class FinancingTermsError(PlatformError):
    """Amount, rate, term, plan or dates do not hold together."""

    code = "financing-terms"
    status = 422
    title = "The financing's terms do not hold together"


class RepaymentError(PlatformError):
    """A repayment cannot be booked."""

    code = "repayment-refused"
    status = 422
    title = "The repayment cannot be booked"


class ProductError(PlatformError):
    """A product's file or terms cannot be used."""

    code = "product-invalid"
    status = 422
    title = "The product cannot be published"


class ProductUnknownError(PlatformError):
    """There is no such product or version."""

    code = "product-unknown"
    status = 404
    title = "There is no such product"


class NotEligibleError(PlatformError):
    """A merchant or an application does not meet the product's conditions."""

    code = "not-eligible"
    status = 422
    title = "The product's conditions are not met"


class ReachUnknownError(PlatformError):
    """No table of counts was published to the platform."""

    code = "reach-unknown"
    status = 404
    title = "No published table tells the reach"


class OfferUnknownError(PlatformError):
    """There is no such offer for this merchant."""

    code = "offer-unknown"
    status = 404
    title = "There is no such offer"


class OfferStateError(PlatformError):
    """The offer was answered, stopped or has ended."""

    code = "offer-state"
    status = 409
    title = "The offer was answered already"


class ConsentMissingError(PlatformError):
    """The merchant has not allowed this, or no longer does."""

    code = "consent-missing"
    status = 403
    title = "The merchant has not consented to this"


class WebhookError(PlatformError):
    """A webhook's address or order cannot be used."""

    code = "webhook-invalid"
    status = 422
    title = "The webhook cannot be used"


class WebhookUnknownError(PlatformError):
    """There is no such delivery."""

    code = "webhook-unknown"
    status = 404
    title = "There is no such delivery"


class GatewayError(PlatformError):
    """The platform's own gateway refused, or is out of reach."""

    code = "platform-gateway"
    status = 502
    title = "The platform's gateway did not do it"


class GatewayAwayError(GatewayError):
    """The platform's gateway is out of reach: nothing was asked of it."""

    code = "platform-gateway-away"
    title = "The platform's gateway is out of reach"
