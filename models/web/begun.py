"""Answers that are streamed begin only once there is something to give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

Part = TypeVar("Part", str, bytes)


def begun(parts: Iterable[Part]) -> Iterator[Part]:
    """The same parts, the first of which is made now: where that fails, the request is refused by name.

    After an answer's first byte there is no other way to say that it cannot be completed than to break it off.
    """
    rest = iter(parts)
    return chain(list(islice(rest, 1)), rest)
