"""The hub's signing key as all its processes use it: whichever holds at the moment (docs/protocol.md, 0, S1).

H1  Which key follows which, and from when, stands in the database; a copy lies beside each key, so that a database that
    was set back does not bring a former key back.
H2  Every process looks again after `LOOK_S` at the latest. A succession is announced `rotation_times.MIN_LEAD` before
    it holds, so all know it by then: servers, workers, each campaign's own process.
H3  Each signs by its own clock with the key that holds then, and takes what any key of the line signed.
H4  A process that lacks the key that holds signs nothing: StateError, and its health check says so.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from crypto.errors import CryptoError
from crypto.key_line import KeyLine
from crypto.keys import IdentityKey
from crypto.succession import line_of
from hub.clock import Clock
from hub.db import Database
from hub.errors import StateError
from hub.keys import keep_statement, kept_statements, load_signing_keys
from hub.tables.parties import HubIdentityRow, KeySuccessionRow

LOOK_S = 1.0
_logger = structlog.get_logger("hub.signing_key")


class SigningKey:
    """A `crypto.keys.Signer` that follows the successions.

    Args:
        db, clock: the hub's.
        hub_id: whose keys they are.
        directory: where the key files lie.

    Raises:
        StateError: the key that holds is not in the folder, or the successions contradict each other.
    """

    def __init__(self, db: Database, directory: Path, *, hub_id: str, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._hub_id = hub_id
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = {key.public: key for key in load_signing_keys(directory)}
        self._statements: tuple[str, ...] = ()
        self._of: tuple[bytes, tuple[str, ...]] | None = None
        self._line = KeyLine.of(b"")
        self._looked = 0.0
        self._complaint: bytes | None = None
        self.look()

    @property
    def line(self) -> KeyLine:
        """All keys, from the hub's first to the last that is announced."""
        self._look_in_time()
        return self._line

    @property
    def public(self) -> bytes:
        """The key that holds now, 32 bytes."""
        return self.line.at(self._clock())

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The secret half of the key that holds now; StateError where its file is missing."""
        return self._now().private_key

    def sign(self, message: bytes) -> bytes:
        """Sign with the key that holds now; StateError where its file is missing."""
        return self._now().sign(message)

    @property
    def statements(self) -> tuple[str, ...]:
        """All successions of the hub's keys and the witness's, oldest first, as nodes get them."""
        self._look_in_time()
        return self._statements

    def former(self) -> tuple[bytes, ...]:
        """The keys before the one that holds now, newest first."""
        publics, now = self.line.publics, self.public
        return publics[publics.index(now) + 1 :]

    def held(self) -> frozenset[bytes]:
        """The public halves of the key files."""
        return frozenset(self._keys)

    def complete(self) -> bool:
        """Whether the folder has the key that holds now, and the one that is announced."""
        line = self.line
        return {line.at(self._clock()), line.newest} <= {key.public for key in load_signing_keys(self._directory)}

    def keep_statements(self) -> None:
        """H1: write copies of the successions beside the keys that they bring."""
        with self._db.reading() as session:
            rows = session.scalars(select(KeySuccessionRow).where(KeySuccessionRow.party_id == self._hub_id)).all()
        for row in rows:
            keep_statement(self._directory, row.new_key, row.token)

    def look(self) -> None:
        """Read what the database says now.

        Raises:
            StateError: it contradicts itself or the copies beside the keys.
        """
        with self._lock:
            with self._db.reading() as session:
                identity = session.get(HubIdentityRow, 1)
                rows = session.scalars(select(KeySuccessionRow).order_by(KeySuccessionRow.holds_from)).all()
            if identity is None:
                raise StateError(
                    "The database belongs to no hub yet.", field="database", remedy="Run `digua-hub init`."
                )
            stored = [row.token for row in rows]
            beside = [token for token in kept_statements(self._directory) if token not in stored]
            self._take(identity.sign_key, (*stored, *beside))
            self._looked = time.monotonic()

    def _take(self, newest: bytes, statements: tuple[str, ...]) -> None:
        if self._of == (newest, statements):
            return
        try:
            self._line = line_of(newest, statements, self._hub_id)
        except CryptoError as error:
            raise StateError(
                f"The successions of the hub's keys do not fit together: {error.message}",
                field="keys_dir",
                remedy="Restore database and keys_dir of the same hub; keep what lies there now as evidence.",
            ) from error
        self._statements, self._of = statements, (newest, statements)
        self._keys = {key.public: key for key in load_signing_keys(self._directory)}

    def _look_in_time(self) -> None:
        if time.monotonic() - self._looked > LOOK_S:
            self.look()

    def _now(self) -> IdentityKey:
        public = self.public
        key = self._keys.get(public)
        if key is None:
            self._keys = {each.public: each for each in load_signing_keys(self._directory)}
            key = self._keys.get(public)
        if key is None:
            if self._complaint != public:
                self._complaint = public
                _logger.error("signing-key-missing")
            raise StateError(
                "The signing key that holds now is not in keys_dir.",
                field="keys_dir",
                remedy="Copy the file from the machine on which `digua-hub rotate-key` was run (mode 0600).",
            )
        return key
