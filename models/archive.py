"""Files inside a backup's archive, as its manifest names them; hub and nodes write archives of their own."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from typing import IO, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

_CHUNK = 1 << 20


class Measured(NamedTuple):
    """What a file is: its bytes, their SHA-256 (hex), and how many lines it has."""

    bytes: int
    sha256: str
    lines: int


class Member(BaseModel):
    """A file of the archive, without compression."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def fits(self, found: Measured) -> bool:
        """Whether a file is the one that was written."""
        return (self.bytes, self.sha256) == (found.bytes, found.sha256)


def measure(file: IO[bytes]) -> Measured:
    """Read a file to its end."""
    digest, size, lines = hashlib.sha256(), 0, 0
    while part := file.read(_CHUNK):
        digest.update(part)
        size += len(part)
        lines += part.count(b"\n")
    return Measured(size, digest.hexdigest(), lines)


def first_difference(archive: zipfile.ZipFile, members: Mapping[str, Member], *, manifest: str) -> str | None:
    """What is wrong with an archive's files, read whole, or None.

    Args:
        archive: that was opened.
        members: as its manifest names them.
        manifest: its own name in the archive.
    """
    names = [each.filename for each in archive.infolist() if each.filename != manifest]
    if sorted(names) != sorted(members):
        return "its files are not those that its manifest names"
    for name, member in members.items():
        try:
            with archive.open(name) as file:
                found = measure(file)
        except (zipfile.BadZipFile, OSError, EOFError):
            return f"{name} cannot be read"
        if not member.fits(found):
            return f"{name} is not what was written"
    return None
