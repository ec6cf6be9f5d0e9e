"""A party's signing keys, one after the other in time, and what was signed with which (docs/protocol.md, 0, S3).

A signature counts by the key that held when its artefact is dated. The clocks of parties may be `TOLERANCE` apart, so
for that long on either side of a change both keys are taken. How a line comes about: `crypto.succession`; verifying
under one: `crypto.dated`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class HeldKey:
    """A public key (32 bytes) and from when until when it holds; None where there is no such end."""

    public: bytes
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        """Whether it may have signed what is dated so, as far as clocks agree."""
        begun = self.since is None or moment >= self.since - TOLERANCE
        return begun and (self.until is None or moment <= self.until + TOLERANCE)


@dataclass(frozen=True)
class KeyLine:
    """The keys of one party, oldest first; at least one."""

    keys: tuple[HeldKey, ...]

    @classmethod
    def of(cls, public: bytes) -> KeyLine:
        """The line of a party that never changed its key."""
        return cls((HeldKey(public),))

    @property
    def publics(self) -> tuple[bytes, ...]:
        """All keys, newest first."""
        return tuple(key.public for key in reversed(self.keys))

    @property
    def newest(self) -> bytes:
        """The last key, whether it holds already or not."""
        return self.keys[-1].public

    def at(self, moment: datetime) -> bytes:
        """The key to sign with at a moment: exactly one, by the signer's own clock."""
        for key in reversed(self.keys):
            if key.since is None or key.since <= moment:
                return key.public
        return self.keys[0].public

    def holds(self, public: bytes, moment: datetime) -> bool:
        """Whether a key is of this line and may have signed what is dated so."""
        return any(key.public == public and key.holds(moment) for key in self.keys)
