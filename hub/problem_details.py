"""Errors as RFC 9457 problem details: one catalogue from an error's code to its status and title.

The detail is the error's own sentence; titles are in the reader's language. `hub.problems` answers requests with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel

from crypto.errors import CryptoError
from crypto.wire.link import ProblemBody
from hub.errors import HubError, PeerRefused
from models.errors import ModelsError
from models.i18n import catalogue, title_of

TYPE_PREFIX = "urn:digua:problem:"


@dataclass(frozen=True)
class Kind:
    """What is the same for all errors of one code."""

    status: int
    title: str


BELOW: dict[str, Kind] = {
    "crypto-error": Kind(400, "A cryptographic check failed"),
    "signature-invalid": Kind(401, "The signature is not valid"),
    "key-unreadable": Kind(422, "The key cannot be read"),
    "sealed-box-unreadable": Kind(422, "The sealed box cannot be opened"),
    "canonical-form": Kind(422, "The value has no canonical form"),
    "identifier-invalid": Kind(422, "The identifier is not valid"),
    "pseudonym-unverified": Kind(422, "The blinded batch is refused"),
    "range-exceeded": Kind(422, "A value leaves the exact range"),
    "row-not-one-hot": Kind(422, "A row is not one-hot"),
    "manifest-invalid": Kind(422, "The manifest is not valid"),
    "exchange-invalid": Kind(422, "The exchange is not what the slice implies"),
    "attempt-state": Kind(409, "The attempt is in another state"),
    "noise-parameters": Kind(422, "The noise parameters are out of range"),
    "succession-refused": Kind(409, "The succession of keys is refused"),
    "proof-invalid": Kind(422, "The proof does not verify"),
    "frame-invalid": Kind(400, "The frame is not valid"),
    "models-error": Kind(400, "A model check failed"),
    "schema-invalid": Kind(422, "The schema or file is not valid"),
    "data-invalid": Kind(422, "The data do not fit the schema"),
    "budget-exceeded": Kind(409, "The privacy budget does not allow this"),
    "tracing-unavailable": Kind(500, "The libraries for traces are not installed"),
    "device-unavailable": Kind(422, "The computing device asked for is not available"),
    "fit-impossible": Kind(422, "The model cannot be fitted"),
    "artefact-invalid": Kind(422, "The model artefact is not valid"),
    "page-refused": Kind(400, "The page refuses this"),
    "sign-in-needed": Kind(401, "Please sign in"),
    "sign-in-refused": Kind(401, "Sign-in refused"),
    "right-missing": Kind(403, "Your role does not allow this"),
    "form-foreign": Kind(403, "The form is not from this session"),
    "attempts-too-many": Kind(429, "Too many attempts"),
    "link-spent": Kind(410, "The link is no longer valid"),
    "form-invalid": Kind(422, "A field of the form is not right"),
    "form-too-large": Kind(413, "The form is too large"),
    "host-unknown": Kind(421, "Not served under this name"),
    "person-unknown": Kind(404, "There is no such person"),
    "person-known": Kind(409, "The person has an account already"),
    "access-state": Kind(500, "The accounts' key file cannot be used"),
}
"""Kinds of the layers below, which know nothing of HTTP; the hub's own errors carry theirs."""


class Problem(BaseModel):
    """The body of every refusal; `code` is stable, `remedy` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    remedy: str | None = None
    party: str | None = None
    cause: ProblemBody | None = None
    """Where another party refused: its own words."""


def kind_of(error: HubError | CryptoError | ModelsError) -> Kind:
    """Return status and English title of an error."""
    if isinstance(error, HubError):
        return Kind(error.status, error.title)
    return BELOW.get(error.code) or BELOW["crypto-error" if isinstance(error, CryptoError) else "models-error"]


def title_in(code: str, english: str, language: str) -> str:
    """Return the title of a code in the caller's language."""
    if language != "zh":
        return english
    return title_of(code, language, catalogue("hub")) or english


def describe(error: HubError | CryptoError | ModelsError, language: str = "en") -> Problem:
    """Return an error's problem details."""
    kind = kind_of(error)
    return Problem(
        type=TYPE_PREFIX + error.code,
        title=title_in(error.code, kind.title, language),
        status=kind.status,
        detail=error.message,
        code=error.code,
        field=error.field,
        remedy=error.remedy,
        party=error.party if isinstance(error, HubError) else None,
        cause=error.problem if isinstance(error, PeerRefused) else None,
    )


def language_of_request(accept_language: str | None) -> str:
    """Return `zh` or `en`, whichever the header ranks higher (RFC 9110, 12.5.4); English where it says nothing."""
    best, language = 0.0, "en"
    for part in (accept_language or "").split(","):
        tag, _, parameters = part.strip().partition(";")
        name = tag.strip().lower().partition("-")[0]
        if name not in ("zh", "en"):
            continue
        quality = 1.0
        if parameters.strip().startswith("q="):
            try:
                quality = float(parameters.strip()[2:])
            except ValueError:
                quality = 0.0
        if quality > best:
            best, language = quality, name
    return language
