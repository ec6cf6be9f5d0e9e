"""The one secret of the pages: a file of 32 bytes, from which the keys that seal, sign and blur are derived (HKDF).

Who has the database alone can read no TOTP secret, forge no form, and recognise no merchant in the access record.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.web.errors import AccessStateError

KEY_BYTES = 32
_NONCE_BYTES = 12


class Vault:
    """Seals, signs and blurs under keys of its own for each use.

    Args:
        secret: 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._sealing = AESGCM(_derive(secret, b"seal"))
        self._signing = _derive(secret, b"sign")
        self._blurring = _derive(secret, b"blur")
        self.count_key = _derive(secret, b"count")
        """For counts of attempts that several processes share."""

    def seal(self, plain: bytes, owner: str) -> bytes:
        """Encrypt for storage (AES-256-GCM); it opens for the same owner only."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._sealing.encrypt(nonce, plain, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Decrypt; AccessStateError where it was sealed for another owner or under another file."""
        try:
            return self._sealing.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        except (InvalidTag, ValueError) as error:
            raise AccessStateError(
                "A stored secret does not open under the key file of the pages.",
                field="pages.key_file",
                remedy="Restore the key file from its backup; where it is lost, reset each person with a new link.",
            ) from error

    def sign(self, use: str, value: str) -> str:
        """HMAC-SHA256 of a value for one use, hex."""
        return hmac.digest(self._signing, f"{use}\x00{value}".encode(), "sha256").hex()

    def signed(self, use: str, value: str, given: str) -> bool:
        """Whether `given` is that signature; in constant time."""
        return hmac.compare_digest(self.sign(use, value).encode(), given.encode())

    def blur(self, value: bytes) -> bytes:
        """32 bytes that stand for personal data in records: equal for equal values, meaningless without the file."""
        return hmac.digest(self._blurring, value, "sha256")


def open_vault(path: Path) -> Vault:
    """Read the key file, or make one (mode 0600) where there is none.

    Raises:
        AccessStateError: it cannot be read or written, others may read it, or it does not hold 32 bytes.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            _write_new(path)
        mode, secret = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise AccessStateError(
            f"{path} cannot be used: {error.strerror}.", field="pages.key_file", remedy="Check the path and its rights."
        ) from error
    if mode & 0o077:
        raise AccessStateError(
            f"{path} may be read by others (mode {mode:04o}).",
            field="pages.key_file",
            remedy=f"Run chmod 600 {path}; if others had access, reset each person.",
        )
    if len(secret) != KEY_BYTES:
        raise AccessStateError(
            f"{path} does not hold {KEY_BYTES} bytes.",
            field="pages.key_file",
            remedy="Restore it from its backup; where it is lost, delete it and reset each person with a new link.",
        )
    return Vault(secret)


def _write_new(path: Path) -> None:
    """Whole or not at all: another process that starts at the same time must not read half a key."""
    prepared = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(prepared, path)
    finally:
        prepared.unlink()


def _derive(secret: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"digua/pages/" + use).derive(secret)
