"""What the pages refuse; each error has a stable code, its HTTP status, the field at fault and the remedy."""

from __future__ import annotations

from typing import ClassVar

from models.errors import ModelsError


class WebError(ModelsError):
    """Base of everything that pages and their access layer refuse.

    Attributes:
        status: the HTTP status that goes with it.
    """

    code = "page-refused"
    status: ClassVar[int] = 400


class SignInNeeded(WebError):  # noqa: N818
    """Nobody is signed in, or not lately enough for what is asked.

    Attributes:
        again: somebody is signed in, but has to show again who they are.
    """

    code = "sign-in-needed"
    status = 401

    def __init__(self, message: str, *, again: bool = False, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.again = again


class SignInRefused(WebError):  # noqa: N818
    """Name, password, code or passkey are not right; it never says which."""

    code = "sign-in-refused"
    status = 401


class RightMissing(WebError):  # noqa: N818
    """The person is known, but their roles do not allow this."""

    code = "right-missing"
    status = 403


class ForgedForm(WebError):  # noqa: N818
    """A form did not come from a page of ours in this browser's session."""

    code = "form-foreign"
    status = 403


class TooManyAttempts(WebError):  # noqa: N818
    """Too many attempts in too short a time.

    Attributes:
        retry_after: seconds to wait.
    """

    code = "attempts-too-many"
    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "There were too many attempts in a short time.",
            remedy="Wait a while, then try again. A browser that you signed in from before is not held up by others.",
        )
        self.retry_after = retry_after


class LinkSpent(WebError):  # noqa: N818
    """A sign-up link was used, has expired, or never was one; it never says which."""

    code = "link-spent"
    status = 410


class FormInvalid(WebError):  # noqa: N818
    """A field of a form cannot be used."""

    code = "form-invalid"
    status = 422


class FormTooLarge(WebError):  # noqa: N818
    """A request's body is larger than the page takes."""

    code = "form-too-large"
    status = 413


class HostUnknown(WebError):  # noqa: N818
    """The request is for another host than the pages are served at."""

    code = "host-unknown"
    status = 421


class PersonUnknown(WebError):  # noqa: N818
    """There is no such person."""

    code = "person-unknown"
    status = 404


class PersonKnown(WebError):  # noqa: N818
    """A person of this name is there already."""

    code = "person-known"
    status = 409


class AccessStateError(WebError):
    """The key file of the pages is absent, unsafe, or not the one that the stored secrets were sealed under."""

    code = "access-state"
    status = 500
