"""Passwords (argon2id), one-time codes (TOTP, RFC 6238; each step once) and recovery codes."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from models.web.errors import FormInvalid

MIN_PASSWORD = 12
MAX_PASSWORD = 256
RECOVERY_CODES = 10
STEP_S = 30
_DRIFT = 1
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
"""OWASP's parameters for argon2id: 19 MiB, two passes; about 30 ms."""
_NOBODY = _HASHER.hash(secrets.token_urlsafe())
"""What an unknown person's password is compared with, so that a refusal takes as long as for a known one."""


def hash_password(password: str, *, name: str) -> str:
    """Hash a new password; FormInvalid where it is too short, too long, or the person's name."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise FormInvalid(
            "A password has 12 to 256 characters.",
            field="password",
            remedy="Choose a longer one: several words are easy to keep in mind.",
        )
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise FormInvalid(
            "The password is too easy to guess.",
            field="password",
            remedy="Leave your own name out of it, and use more different characters.",
        )
    return _HASHER.hash(password)


def password_fits(stored: str | None, password: str) -> bool:
    """Whether it is the password; takes as long where there is none."""
    try:
        fits = _HASHER.verify(stored or _NOBODY, password[: MAX_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False
    return fits and stored is not None


def new_totp_secret() -> str:
    """A fresh TOTP secret, 160 bits in base32."""
    return pyotp.random_base32()


def totp_uri(secret: str, *, name: str, issuer: str) -> str:
    """What an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=issuer)


def totp_step(secret: str, code: str, *, now: datetime, after: int | None) -> int | None:
    """The time step that a code is for, one to either side of now at most; None where it is wrong.

    Args:
        secret: base32.
        code: six digits, spaces allowed.
        now: the time.
        after: the last step that was used: neither it nor an older one counts again.
    """
    digits = code.replace(" ", "")
    totp = pyotp.TOTP(secret)
    current = int(now.timestamp()) // STEP_S
    found: int | None = None
    for step in range(current - _DRIFT, current + _DRIFT + 1):
        if pyotp.utils.strings_equal(totp.generate_otp(step), digits) and (after is None or step > after):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes that each stand in for one TOTP code once; 80 bits each."""
    codes = [secrets.token_hex(10) for _ in range(RECOVERY_CODES)]
    return ["-".join(code[at : at + 5] for at in range(0, 20, 5)) for code in codes]


def recovery_sha256(person_id: str, code: str) -> bytes:
    """What is stored of a recovery code."""
    plain = "".join(char for char in code.lower() if char.isalnum())
    return hashlib.sha256(f"{person_id}\x00{plain}".encode()).digest()
