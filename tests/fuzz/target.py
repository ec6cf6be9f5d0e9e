"""What is fuzzed: a parser, what it may raise, and inputs to start from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crypto.errors import CryptoError
from hub.errors import HubError
from models.errors import ModelsError
from nodes.errors import NodeError

TYPED: tuple[type[Exception], ...] = (CryptoError, ModelsError, NodeError, HubError)
"""All that a parser of foreign bytes may raise."""


@dataclass(frozen=True)
class Target:
    """One parser, or several that are fed from the same bytes.

    Attributes:
        parse: takes bytes; whatever it raises beyond `TYPED` is a finding.
        seeds: inputs to start from.
        max_len: bytes of the longest input.
        refused: seeds of which only the refusal is interesting; of the others at least one must be accepted.
    """

    parse: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    max_len: int = 4096

    def accepts(self, data: bytes) -> bool:
        """Whether the parser takes these bytes; what it must not raise goes through."""
        try:
            self.parse(data)
        except TYPED as refused:
            check_error(refused)
            return False
        return True


def check_error(error: Exception) -> None:
    """A refusal says something, in text that can be stored and sent."""
    for text in (str(error), str(getattr(error, "field", "") or ""), str(getattr(error, "remedy", "") or "")):
        text.encode()
    if not str(error):
        raise AssertionError(f"{type(error).__name__} says nothing")


def split(data: bytes, parts: int) -> list[bytes]:
    """Cut bytes in parts at the lengths that stand in front of them, two bytes each; what is left is the last."""
    found: list[bytes] = []
    while len(found) < parts - 1:
        length = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return [*found, data]


def join(*parts: bytes) -> bytes:
    """The bytes of `split`."""
    return b"".join(len(each).to_bytes(2, "big") + each for each in parts[:-1]) + parts[-1]


@contextmanager
def file_of(data: bytes, suffix: str = "") -> Iterator[Path]:
    """The bytes as a file, in memory where the system lets us."""
    shared = Path("/dev/shm")
    handle, name = tempfile.mkstemp(suffix=suffix, dir=shared if os.access(shared, os.W_OK) else None)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield path
    finally:
        path.unlink()
