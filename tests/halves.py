"""What stands in a database or a folder, searched: every value of every table, and every byte of every file."""

from __future__ import annotations

import base64
import itertools
import json
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import MetaData, select

from hub.db import Database

_WORD = re.compile(rb"[A-Za-z0-9_+/=-]{22,}")
"""Long enough for an identifier of 128 bits, in hex or base64."""


def cells(db: Database, tables: MetaData) -> dict[str, list[bytes]]:
    """Every value of every column, as bytes."""
    found: dict[str, list[bytes]] = {}
    with db.reading() as session:
        for table in tables.sorted_tables:
            held = found[table.name] = []
            for row in session.execute(select(table)):
                held += [bytes(each) if isinstance(each, bytes | memoryview) else str(each).encode() for each in row]
    return found


def places(held: dict[str, list[bytes]], *wanted: bytes) -> set[str]:
    """Tables that hold one of these anywhere in a value."""
    return {name for name, values in held.items() if _any(b"\0".join(values), wanted)}


def files_with(folder: Path, *wanted: bytes) -> set[str]:
    """Files below a folder that hold one of these; write-ahead logs and keys are files like others."""
    found = [each for each in folder.rglob("*") if each.is_file()]
    assert found, folder
    return {str(each.relative_to(folder)) for each in found if _any(each.read_bytes(), wanted)}


def spellings(secret: bytes) -> tuple[bytes, ...]:
    """Raw, hex and base64 of bytes."""
    plain, url = base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")
    return secret, secret.hex().encode(), secret.hex().upper().encode(), plain, url


def texts(*words: str) -> tuple[bytes, ...]:
    """Words in UTF-8 and as JSON escapes them."""
    return tuple({form.encode() for each in words for form in (each, json.dumps(each)[1:-1])})


def numbers(*values: str) -> tuple[bytes, ...]:
    """Numbers as they are typed, and as processors hold them."""
    found: list[bytes] = []
    for each in values:
        found += [each.encode(), struct.pack("<d", float(each)), struct.pack(">d", float(each))]
    return tuple(found)


def words(held: dict[str, list[bytes]], *, without: bytes = b"") -> set[bytes]:
    """All long words of all values, those within JSON and tokens too, and what they are in hex or base64.

    Args:
        without: what is taken out of values first.
    """
    found: set[bytes] = set()
    for value in itertools.chain.from_iterable(held.values()):
        rest = value.replace(without, b" ") if without else value
        for word in _WORD.findall(rest):
            found |= {word, *_decoded(word)}
        if len(rest) >= 16:
            found.add(rest)
    return found


def _decoded(word: bytes) -> Iterator[bytes]:
    with suppress(ValueError):
        yield bytes.fromhex(word.decode())
    with suppress(ValueError):
        yield base64.b64decode(word.rstrip(b"=") + b"=" * (-len(word.rstrip(b"=")) % 4), altchars=b"-_", validate=True)


def _any(data: bytes, wanted: Iterable[bytes]) -> bool:
    return any(each in data for each in wanted)
