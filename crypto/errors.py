"""Errors of the crypto layer: one tree, each with a stable code, the field at fault and the remedy.

The human sentence is English here; `models.i18n` catalogues translate it by its code.
"""

from __future__ import annotations

from typing import ClassVar


class CryptoError(Exception):
    """Base of everything the crypto layer refuses.

    Attributes:
        code: stable, machine-readable, e.g. ``"signature-invalid"``.
        field: the input at fault, or ``None``.
        remedy: what the caller can do about it, or ``None``.
    """

    code: ClassVar[str] = "crypto-error"

    def __init__(self, message: str, *, field: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy


class SignatureError(CryptoError):
    """A signature does not verify, or is of a type, algorithm or key that was not expected."""

    code = "signature-invalid"


class KeyFormatError(CryptoError):
    """A key file or key encoding cannot be read."""

    code = "key-unreadable"


class SealError(CryptoError):
    """A sealed box does not open: wrong key, altered bytes or another context."""

    code = "sealed-box-unreadable"


class IdentifierError(CryptoError):
    """An identifier is malformed or its check digit is wrong.

    Attributes:
        wrong: what is wrong, without the identifier, with ``{number}`` where one is named.
        number: that number.
    """

    code = "identifier-invalid"

    def __init__(
        self, message: str, *, field: str | None = None, remedy: str | None = None, wrong: str = "", number: int = 0
    ) -> None:
        super().__init__(message, field=field, remedy=remedy)
        self.wrong = wrong
        self.number = number


class PseudonymError(CryptoError):
    """A VOPRF evaluation cannot be verified or its batch is malformed."""

    code = "pseudonym-unverified"


class RangeError(CryptoError):
    """A value would leave the range in which modular arithmetic is exact."""

    code = "range-exceeded"


class NotOneHotError(CryptoError):
    """A row's block is neither one-hot nor absent (an overweight row could read other kinds' bins)."""

    code = "row-not-one-hot"


class ManifestError(CryptoError):
    """A manifest, slice or cosignature contradicts the terms, the roster or a consent."""

    code = "manifest-invalid"


class ExchangeError(CryptoError):
    """An exchange's inbox is not exactly what the slice implies: altered, omitted or superfluous rows."""

    code = "exchange-invalid"


class AttemptError(CryptoError):
    """A step of an attempt came out of order, twice with other content, or after its end."""

    code = "attempt-state"


class NoiseError(CryptoError):
    """Noise parameters outside the range for which the privacy argument holds."""

    code = "noise-parameters"


class SuccessionError(CryptoError):
    """Statements about which key follows another contradict each other."""

    code = "succession-refused"


class ProofError(CryptoError):
    """An inclusion or consistency proof, or a checkpoint, does not verify."""

    code = "proof-invalid"


class CanonicalFormError(CryptoError):
    """A value has no canonical JSON form (RFC 8785), so it cannot be signed or hashed."""

    code = "canonical-form"


class FrameError(CryptoError):
    """A message of the link is not one well-formed frame, or is too large."""

    code = "frame-invalid"
