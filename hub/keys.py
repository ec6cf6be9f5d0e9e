"""The hub's secret files: signing key, VOPRF seed, administrator's token; each readable by its owner only."""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from crypto.keys import IdentityKey, encode_pem
from crypto.pseudonym import SEED_BYTES, PseudonymKey
from hub.errors import StateError

SIGN_FILE = "sign.pem"
VOPRF_FILE = "voprf.seed"
_PRIVATE = 0o600


@dataclass(frozen=True)
class HubKeys:
    """What only the hub holds."""

    identity: IdentityKey
    voprf: PseudonymKey


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
    return HubKeys(identity, PseudonymKey.from_seed(seed))


def load_keys(directory: Path) -> HubKeys:
    """Read the hub's keys.

    Raises:
        StateError: a file is absent or readable by others.
        KeyFormatError, PseudonymError: a file does not hold what it should.
    """
    identity = IdentityKey.from_pem(read_secret(directory / SIGN_FILE))
    return HubKeys(identity, PseudonymKey.from_seed(read_secret(directory / VOPRF_FILE)))
