"""The hub's secret files: signing keys, VOPRF seed, administrator's token; each readable by its owner only.

`sign.pem` is the first signing key; each that follows lies in a file named after it, with the statement of its
succession beside it (`hub.signing_key`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from crypto.keys import IdentityKey, Signer, encode_pem
from crypto.pseudonym import SEED_BYTES, PseudonymKey
from hub.errors import StateError

SIGN_FILE = "sign.pem"
VOPRF_FILE = "voprf.seed"
_PRIVATE = 0o600
_SIGN_FILES = "sign*.pem"
_STATEMENTS = "sign-*.jws"


@dataclass(frozen=True)
class HubKeys:
    """What only the hub holds.

    Attributes:
        identity: what signs for it now.
        signing: all signing keys that lie in the folder.
    """

    identity: Signer
    voprf: PseudonymKey
    signing: tuple[IdentityKey, ...] = field(default=(), repr=False)


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, durably; StateError where one is there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    except FileExistsError as error:
        raise StateError(
            f"{path} is there already; it is never overwritten.",
            field=path.name,
            remedy="Choose another folder, or move the old files away if the hub that used them is given up.",
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_secret(path: Path) -> bytes:
    """Read a secret file; StateError where it is absent or others may read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        data = path.read_bytes()
    except OSError as error:
        raise StateError(
            f"{path} cannot be read ({error.strerror}).",
            field=path.name,
            remedy="Run `digua-hub init`, or restore the file from its backup.",
        ) from error
    if mode & 0o077:
        raise StateError(
            f"{path} may be read by others (mode {mode:04o}).",
            field=path.name,
            remedy=f"Run `chmod 600 {path}`; if others had access, treat the key as disclosed.",
        )
    return data


def create_keys(directory: Path) -> HubKeys:
    """Make the hub's keys from the system's randomness and write them; StateError where there are some."""
    identity = IdentityKey.generate()
    seed = secrets.token_bytes(SEED_BYTES)
    write_secret(directory / SIGN_FILE, encode_pem(identity))
    write_secret(directory / VOPRF_FILE, seed)
    return HubKeys(identity, PseudonymKey.from_seed(seed), (identity,))


def load_keys(directory: Path, *, signing_key_lost: bool = False) -> HubKeys:
    """Read the hub's keys; which of several signing keys holds, the database says (`hub.signing_key`).

    Args:
        directory: where they lie.
        signing_key_lost: make a signing key where there is none any more, so that it can be announced.

    Raises:
        StateError: a file is absent or readable by others.
        KeyFormatError, PseudonymError: a file does not hold what it should.
    """
    if signing_key_lost and not any(directory.glob(_SIGN_FILES)):
        new_signing_key(directory)
    signing = load_signing_keys(directory)
    return HubKeys(signing[0], PseudonymKey.from_seed(read_secret(directory / VOPRF_FILE)), signing)


def load_signing_keys(directory: Path) -> tuple[IdentityKey, ...]:
    """Read all signing keys of a folder; raises as `load_keys`, also where there is none."""
    files = sorted(directory.glob(_SIGN_FILES)) or [directory / SIGN_FILE]
    return tuple(IdentityKey.from_pem(read_secret(path)) for path in files)


def new_signing_key(directory: Path) -> IdentityKey:
    """Make a further signing key from the system's randomness and write it; StateError where that cannot be."""
    key = IdentityKey.generate()
    write_secret(directory / f"{_stem(key.public)}.pem", encode_pem(key))
    return key


def keep_statement(directory: Path, public: bytes, token: str) -> None:
    """Write the statement that a key follows another beside the key, unless it lies there."""
    path = directory / f"{_stem(public)}.jws"
    if not path.exists():
        write_secret(path, token.encode())


def kept_statements(directory: Path) -> tuple[str, ...]:
    """Read the statements that lie beside the keys."""
    return tuple(read_secret(path).decode("ascii", "replace").strip() for path in sorted(directory.glob(_STATEMENTS)))


def _stem(public: bytes) -> str:
    return f"sign-{hashlib.sha256(public).hexdigest()[:16]}"
