"""The fault matrix: what is spoiled, during which operation, and what must follow; docs/faults.md shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.faults.relay import Order, Spoil

Follows = Literal["same", "again", "anew", "refused", "without", "waits", "soon"]
SAID: dict[Follows, str] = {
    "same": "goes through",
    "again": "the caller's next try, under the same key, is answered",
    "anew": "waits for a node that the quorum needs and makes the attempt anew; goes on without another; charges once",
    "refused": "refused, with party and remedy; answered once the cause is gone",
    "without": "goes on without the nodes, which take their charges back",
    "waits": "waits until the cause is gone, then goes through",
    "soon": "answered if the node is back in time; else refused, with party and remedy, and answered when asked again",
}
OPERATIONS: dict[str, str] = {
    "consent": "consent",
    "revocation": "revocation",
    "query": "single query",
    "batch": "batch",
    "release": "release",
    "export": "audit export",
    "table": "campaign table",
    "evaluation": "evaluation",
}
FAULTS: dict[str, str] = {
    "caller-cut-request": "caller–hub: cut, the request is lost",
    "caller-cut-answer": "caller–hub: cut, the answer is lost",
    "caller-truncate-request": "caller–hub: the request is truncated",
    "caller-truncate-answer": "caller–hub: the answer is truncated",
    "caller-delay-answer": "caller–hub: the answer is late",
    "caller-double": "caller–hub: the request comes twice",
    "link-cut-request": "hub–node: cut, the request is lost",
    "link-cut-answer": "hub–node: cut, the answer is lost",
    "link-truncate-request": "hub–node: the request is truncated",
    "link-truncate-answer": "hub–node: the answer is truncated",
    "link-delay-answer": "hub–node: the answer is late",
    "link-double": "hub–node: the request comes twice",
    "disk-hub": "disk full at the hub",
    "disk-requester": "disk full at the requester",
    "disk-source": "disk full at a source",
    "disk-witness": "disk full at the witness",
    "clock-hub-ahead": "clock of the hub an hour ahead",
    "clock-hub-behind": "clock of the hub an hour behind",
    "clock-requester-ahead": "clock of the requester an hour ahead",
    "clock-requester-behind": "clock of the requester an hour behind",
    "clock-source-ahead": "clock of a source an hour ahead",
    "clock-source-behind": "clock of a source an hour behind",
    "clock-witness-ahead": "clock of the witness an hour ahead",
    "clock-witness-behind": "clock of the witness an hour behind",
    "postgresql": "PostgreSQL is away",
    "postgresql-midst": "PostgreSQL restarts while a campaign runs",
    "gone": "two of five nodes gone",
}
HOUR = 3600


@dataclass(frozen=True)
class Rough:
    """One cell.

    Attributes:
        fault: of `FAULTS`.
        operation: of `OPERATIONS`.
        follows: of `SAID`.
    """

    fault: str
    operation: str
    follows: Follows

    def __str__(self) -> str:
        return f"{self.fault}:{self.operation}"

    def order(self, request: bytes) -> Order:
        """What a relay is told, for faults of the network."""
        where, spoil, of = self.fault.split("-")
        spoils: dict[str, Spoil] = {"cut": "cut", "truncate": "truncate", "delay": "delay"}
        return Order(
            spoils[spoil],
            request,
            direction="up" if where == "caller" else "down",
            of="answer" if of == "answer" else "request",
        )


def _row(fault: str, **cells: Follows) -> list[Rough]:
    return [Rough(fault, operation, follows) for operation, follows in cells.items()]


def _all(fault: str, most: Follows, **others: Follows) -> list[Rough]:
    """A row in which every call is tried; `others` are those that end otherwise than most."""
    calls = ("consent", "revocation", "query", "batch", "release", "export", "table")
    return [Rough(fault, operation, others.get(operation, most)) for operation in calls]


CALLS = ("cut-request", "cut-answer", "truncate-request", "truncate-answer")
CELLS: tuple[Rough, ...] = (
    *(cell for each in CALLS for cell in _all(f"caller-{each}", "again", query="same", batch="same")),
    *_all("caller-delay-answer", "same"),
    *_row("caller-double", consent="same", revocation="same", query="same", batch="same", release="same", table="same"),
    *(
        cell
        for each in CALLS
        for cell in _row(
            f"link-{each}", consent="waits", revocation="waits", query="soon", batch="soon", release="refused"
        )
    ),
    *_row("link-delay-answer", consent="waits", revocation="waits", query="same", batch="same", release="same"),
    *_row("link-double", consent="same", revocation="same", query="same", batch="same", release="same"),
    *_all("disk-hub", "refused", batch="waits", export="same"),
    *_all("disk-requester", "same", query="refused", batch="refused", table="without"),
    *_all("disk-source", "same", consent="waits", revocation="waits", query="refused", batch="soon", table="without"),
    *_all("disk-witness", "same", query="refused", batch="waits", release="refused", table="refused"),
    *_all("clock-hub-ahead", "same", query="refused", batch="soon"),
    *_all("clock-hub-behind", "refused", batch="soon", release="same", export="same"),
    *_all("clock-requester-ahead", "same", query="refused", batch="soon", table="without"),
    *_all("clock-requester-behind", "same", query="refused", batch="soon", table="without"),
    *_all("clock-source-ahead", "same", query="refused", batch="soon", table="without"),
    *_all("clock-source-behind", "same", query="refused", batch="soon", table="without"),
    *_all("clock-witness-ahead", "same", table="refused"),
    *_all("clock-witness-behind", "same"),
)
CAMPAIGNS: tuple[Rough, ...] = (
    *(cell for each in CALLS for cell in _row(f"link-{each}", table="anew", evaluation="anew")),
    *_row("link-delay-answer", table="same", evaluation="same"),
    *_row("link-double", table="same", evaluation="same"),
)
ELSEWHERE: tuple[Rough, ...] = (
    *_all("postgresql", "refused", batch="waits"),
    *_row("postgresql-midst", table="anew"),
    *_row("gone", table="without", evaluation="without"),
)
"""In a federation whose hub keeps its state in PostgreSQL."""


def table() -> list[str]:
    """The matrix as the documentation shows it; a dash is a fault that the operation does not meet."""
    follows = {(each.fault, each.operation): each.follows for each in (*CELLS, *CAMPAIGNS, *ELSEWHERE)}
    lines = [f"| fault | {' | '.join(OPERATIONS.values())} |", f"| --- |{' --- |' * len(OPERATIONS)}"]
    for fault, said in FAULTS.items():
        cells = (follows.get((fault, operation), "–") for operation in OPERATIONS)
        lines.append(f"| {said} | {' | '.join(cells)} |")
    return lines


def legend() -> list[str]:
    """What the words of the table mean."""
    return [f"- **{word}**: {meaning}." for word, meaning in SAID.items()]
