"""Long lists cut into the pieces that one statement takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

AT_ONCE = 400
"""Of identifiers in one query; SQLite takes no more than some thousands of parameters."""
T = TypeVar("T")


def batches(values: Iterable[T], most: int = AT_ONCE) -> Iterator[list[T]]:
    """Cut values, in their order, into lists of at most so many; no list where there is none."""
    whole = list(values)
    for start in range(0, len(whole), most):
        yield whole[start : start + most]
