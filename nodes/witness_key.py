"""The witness's signing key as its process uses it: whichever holds at the moment (docs/protocol.md, 0).

W0  `prepare` writes a new key beside the one that holds; it signs nothing yet.
W1  `sign_next` signs the succession by both and keeps it, `*.jws.signed`, before it leaves. Sent again it is the same,
    as a key has one successor.
W2  Once the hub has taken it, it is kept as `*.jws`: also where the store was set back, no former key comes back.
W3  The running witness looks into the folder once a second, and takes what the hub's feed brings likewise. It signs by
    its own clock with the key that holds then; where that key's file is missing it signs nothing.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.keys import IdentityKey, encode_pem
from crypto.succession import read_succession, sign_succession
from nodes.clock import Clock
from nodes.errors import ConfigError
from nodes.keys import load_signing_keys, read_secret, write_secret
from nodes.roster import RosterBook

LOOK_S = 1.0
_STATEMENTS = "sign-*.jws"
_UNSENT = ".signed"
_LOG = structlog.get_logger("nodes.witness_key")


class WitnessKey:
    """A `crypto.keys.Signer` that follows the witness's own successions.

    Args:
        directory: where the key files lie.
        roster: of the witness's own store, with the line of its keys.
        clock: its time.

    Raises:
        ConfigError: the key that holds is not in the folder, or the statements beside the keys do not lead from the
            pinned key to it.
        KeyFormatError: a key file holds no such key.
    """

    def __init__(self, directory: Path, roster: RosterBook, *, clock: Clock) -> None:
        self._directory = directory
        self._roster = roster
        self._clock = clock
        self._lock = threading.Lock()
        self._looked = 0.0
        self._keys = {key.public: key for key in load_signing_keys(directory)}
        try:
            self._look()
        except CryptoError as refused:
            raise ConfigError(
                f"the statements beside the witness's keys do not fit: {refused.message}",
                field="keys_dir",
                remedy="restore keys_dir and data_dir of the same witness; keep what lies there now as evidence",
            ) from refused
        if self._present() is None:
            raise ConfigError(
                "the signing key that holds now is not in keys_dir, or trust.witness_sign_key does not lead to it",
                field="trust.witness_sign_key",
                remedy="restore keys_dir from its newest backup, or enrol again",
            )

    @property
    def line(self) -> KeyLine:
        """All its keys, from the first to the last that is announced."""
        self._look_in_time()
        return self._roster.witness_keys

    @property
    def public(self) -> bytes:
        """The key that holds now, 32 bytes."""
        return self.line.at(self._clock())

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The secret half of the key that holds now; ConfigError where its file is missing."""
        return self._now().private_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the key that holds now; ConfigError where its file is missing."""
        return self._now().sign(message)

    def complete(self) -> bool:
        """Whether the folder has the key that holds now, and the one that is announced."""
        held = {key.public for key in load_signing_keys(self._directory)}
        return {self.public, self.line.newest} <= held

    def _now(self) -> IdentityKey:
        key = self._present()
        if key is None:
            raise ConfigError(
                "the signing key that holds now is not in keys_dir",
                field="keys_dir",
                remedy="restore the file that digua-node witness rotate-key wrote (mode 0600)",
            )
        return key

    def _present(self) -> IdentityKey | None:
        public = self.public
        if public not in self._keys:
            self._keys = {key.public: key for key in load_signing_keys(self._directory)}
        return self._keys.get(public)

    def _look_in_time(self) -> None:
        if time.monotonic() - self._looked > LOOK_S:
            try:
                self._look()
            except CryptoError as refused:  # the line stays as it is; `doctor` shows the statement
                _LOG.error("key-succession-refused", party=self._roster.witness_id, code=refused.code)

    def _look(self) -> None:
        with self._lock:
            self._looked = time.monotonic()
            self._roster.successions.learn(kept_statements(self._directory))
            keep_statements(self._directory, self._roster)


def prepare(directory: Path, line: KeyLine) -> IdentityKey:
    """W0: the key that lies ready and was never announced, a new one where there is none.

    Raises:
        ConfigError: several lie there, or the folder cannot be written.
    """
    ready = [key for key in load_signing_keys(directory) if key.public not in line.publics]
    if len(ready) > 1:
        raise ConfigError(
            "several keys that were never announced lie in keys_dir",
            field="keys_dir",
            remedy="leave the one whose fingerprint was noted; move the others away",
        )
    if ready:
        return ready[0]
    key = IdentityKey.generate()
    write_secret(directory / f"{_stem(key.public)}.pem", encode_pem(key))
    return key


def sign_next(
    directory: Path, witness_id: str, line: KeyLine, new: IdentityKey, *, holds_from: datetime, now: datetime
) -> str:
    """W1: the statement that a key follows the newest one: the one that was signed already, if it was.

    Args:
        directory: where the key files lie.
        witness_id, line: whose keys they are, and those so far.
        new: from `prepare`.
        holds_from: from when it holds, where nothing was signed yet.
        now: the time.

    Raises:
        ConfigError: the newest key's file is not there.
        SuccessionError: it would hold before now.
    """
    unsent = directory / f"{_stem(new.public)}.jws{_UNSENT}"
    if unsent.exists():
        return read_secret(unsent).decode("ascii", "replace").strip()
    old = next((key for key in load_signing_keys(directory) if key.public == line.newest), None)
    if old is None:
        raise ConfigError(
            "the newest signing key is not in keys_dir",
            field="keys_dir",
            remedy="restore keys_dir from its newest backup; a lost key cannot name its successor",
        )
    token = sign_succession(witness_id, old, new, holds_from=holds_from, issued_at=now)
    write_secret(unsent, token.encode())
    return token


def kept_statements(directory: Path) -> tuple[str, ...]:
    """W2: the statements that lie beside the keys, the one that holds first first."""
    tokens = (read_secret(path).decode("ascii", "replace").strip() for path in directory.glob(_STATEMENTS))
    return tuple(sorted(tokens, key=lambda token: read_succession(token).said.holds_from))


def keep_statements(directory: Path, roster: RosterBook) -> None:
    """W2: keep what is followed of this witness beside the keys that it brings."""
    for token in roster.successions.tokens:
        said = read_succession(token).said
        if said.party_id == roster.witness_id and said.new_key in roster.witness_keys.publics:
            keep(directory, said.new_key, token)


def keep(directory: Path, public: bytes, token: str) -> None:
    """Keep one statement beside its key, for good."""
    path = directory / f"{_stem(public)}.jws"
    unsent = path.with_name(path.name + _UNSENT)
    if unsent.exists():
        os.replace(unsent, path)
    elif not path.exists():
        write_secret(path, token.encode())


def _stem(public: bytes) -> str:
    return f"sign-{hashlib.sha256(public).hexdigest()[:16]}"
