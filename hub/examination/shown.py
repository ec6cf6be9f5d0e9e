"""Findings of many rows: the first are shown, and the number of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.findings import Finding, Findings
from models.said import Said, said

SHOWN = 20


def first_of(found: Findings, wrong: Sequence[Said], remedy: Said) -> Iterator[Finding]:
    """A fault each for the first, and how many there are where there are more."""
    yield from (found.fault(each, remedy) for each in wrong[:SHOWN])
    if len(wrong) > SHOWN:
        yield found.fault(said("{number} faults in all; the first are shown", number=len(wrong)), remedy)
