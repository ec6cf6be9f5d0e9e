"""The node's secret keys: files of mode 0600 in `keys_dir`, made once and never overwritten.

During a rotation (`nodes.rotation`) new keys lie beside them as `*.new`, afterwards the former ones as `*.old`.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from crypto.keys import BoxKey, IdentityKey, encode_pem
from crypto.pseudonym import SEED_BYTES
from crypto.training_key import TrainingKey
from nodes.errors import ConfigError

IDENTITY_FILE = "sign.pem"
SIGN_FILES = "sign-*.pem"
BOX_FILE = "box.pem"
TRAINING_FILE = "training.key"
VOPRF_FILE = "voprf.seed"
NEW, OLD = ".new", ".old"


@dataclass(frozen=True)
class NodeKeys:
    """Ed25519 identity, X25519 box key, key for Flower's SuperLink; at the witness, the seed of its VOPRF key.

    At a witness `identity` is one of its signing keys; which one holds, `nodes.witness_key` says.
    """

    identity: IdentityKey = field(repr=False)
    box: BoxKey = field(repr=False)
    voprf_seed: bytes | None = field(default=None, repr=False)
    training: TrainingKey | None = field(default=None, repr=False)


def create_keys(directory: Path, *, kind: str) -> NodeKeys:
    """Make a node's keys from the operating system's randomness and write them.

    Raises:
        ConfigError: a key file is there already, or the folder cannot be written.
    """
    seed = secrets.token_bytes(SEED_BYTES) if kind == "witness" else None
    training = None if kind == "client" else TrainingKey.generate()
    keys = NodeKeys(IdentityKey.generate(), BoxKey.generate(), seed, training)
    files = {IDENTITY_FILE: encode_pem(keys.identity), BOX_FILE: encode_pem(keys.box)}
    if seed is not None:
        files[VOPRF_FILE] = seed.hex().encode() + b"\n"
    if training is not None:
        files[TRAINING_FILE] = training.encode_openssh()
    for name in files:
        if (directory / name).exists():
            raise ConfigError(
                f"{directory / name} exists already; keys are never overwritten",
                field="keys_dir",
                remedy="use another folder, or keep these keys",
            )
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise _unwritable(directory, problem) from problem
    for name, content in files.items():
        write_secret(directory / name, content)
    return keys


def load_keys(directory: Path, *, kind: str, swapping: bool = False) -> NodeKeys:
    """Read a node's keys.

    Args:
        directory: where they lie.
        kind: the node's; the witness has a VOPRF seed as well.
        swapping: read them even where a rotation was interrupted between its two files, in order to finish it.

    Raises:
        ConfigError: a file is absent, others than its owner may read it, or a rotation was interrupted between files.
        KeyFormatError: a file is no key of its sort.
    """
    if half_swapped(directory) and not swapping:
        raise ConfigError(
            "a rotation of the keys was interrupted: one file is new, one is old",
            field="keys_dir",
            remedy="run digua-node rotate again, which finishes it",
        )
    identity = load_signing_keys(directory)[0]
    box = BoxKey.from_pem(read_secret(directory / BOX_FILE))
    seed: bytes | None = None
    if kind == "witness":
        try:
            seed = bytes.fromhex(read_secret(directory / VOPRF_FILE).decode().strip())
        except ValueError:
            seed = b""
        if len(seed) != SEED_BYTES:
            raise ConfigError(
                f"{directory / VOPRF_FILE} is not a seed of {SEED_BYTES} bytes in hex",
                field="keys_dir",
                remedy="restore it from its backup; another seed would change every pseudonym",
            )
    training = directory / TRAINING_FILE
    return NodeKeys(identity, box, seed, TrainingKey.from_openssh(read_secret(training)) if training.exists() else None)


def load_signing_keys(directory: Path) -> tuple[IdentityKey, ...]:
    """Every signing key of a folder: one, but at a witness whose key was followed by another (`nodes.witness_key`).

    Raises:
        ConfigError, KeyFormatError: as `load_keys`.
    """
    first, later = directory / IDENTITY_FILE, sorted(directory.glob(SIGN_FILES))
    files = [first, *later] if first.exists() or not later else later
    return tuple(IdentityKey.from_pem(read_secret(path)) for path in files)


def half_swapped(directory: Path) -> bool:
    """Whether a rotation's new identity key is in place and its new box key is not: the former is always swapped
    first, and written first."""
    return (directory / (BOX_FILE + NEW)).exists() and not (directory / (IDENTITY_FILE + NEW)).exists()


def former_boxes(directory: Path) -> list[BoxKey]:
    """The box key from before the last rotation, which opens what was sealed to it; none where there was no rotation.

    Raises:
        ConfigError: others than its owner may read the file.
        KeyFormatError: it holds no such key.
    """
    path = directory / (BOX_FILE + OLD)
    return [BoxKey.from_pem(read_secret(path))] if path.exists() else []


def former_public_keys(directory: Path) -> tuple[bytes, bytes] | None:
    """Public identity and box key from before the last rotation; None where there was none.

    Raises:
        ConfigError, KeyFormatError: as `load_keys`.
    """
    if not all((directory / (name + OLD)).exists() for name in (IDENTITY_FILE, BOX_FILE)):
        return None
    identity = IdentityKey.from_pem(read_secret(directory / (IDENTITY_FILE + OLD)))
    return identity.public, BoxKey.from_pem(read_secret(directory / (BOX_FILE + OLD))).public


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner may read.

    Raises:
        ConfigError: it exists already or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise _unwritable(path, problem) from problem


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        ConfigError: it is absent, or its mode lets others read it.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as problem:
        raise ConfigError(
            f"{path} cannot be read: {problem.strerror}",
            field="keys_dir",
            remedy="run digua-node init, or restore the file from its backup",
        ) from problem
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"{path} may be read by others (mode {stat.S_IMODE(mode):04o})",
            field="keys_dir",
            remedy=f"run chmod 600 {path}, and make new keys if someone else had access",
        )
    return content


def _unwritable(path: Path, problem: OSError) -> ConfigError:
    return ConfigError(
        f"{path} cannot be written: {problem.strerror}",
        field="keys_dir",
        remedy="give a folder that does not hold these files yet and that you may write to",
    )
