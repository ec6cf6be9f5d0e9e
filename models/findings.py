"""What checks of an installation and of stored state find: one form for hub, nodes and witness.

A check that cannot be made says so (`skipped`, with the reason); silence never means that all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.said import Said, said

State = Literal["ok", "warning", "fault", "skipped"]
STATES: tuple[State, ...] = ("ok", "warning", "fault", "skipped")
"""Each is a message of both catalogues."""
Announce: TypeAlias = Callable[[Said], None]
"""Told what is looked at, and how far it is."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: which check it was, stable, e.g. ``"clock"``; a message of both catalogues.
        state: a ``fault`` must be mended, a ``warning`` looked at; ``skipped`` was not looked at.
        party: whose matter it is: who mends it, or was at fault.
        what: what was found.
        remedy: what to do; None where nothing is to be done.
    """

    check: str
    state: State
    party: str
    what: Said
    remedy: Said | None = None


@dataclass(frozen=True)
class Findings:
    """The findings of one check or party, made with less to write."""

    check: str
    party: str

    def ok(self, what: Said) -> Finding:
        """All is as it should be."""
        return Finding(self.check, "ok", self.party, what)

    def warning(self, what: Said, remedy: Said, *, party: str | None = None) -> Finding:
        """Something to look at."""
        return Finding(self.check, "warning", party or self.party, what, remedy)

    def fault(self, what: Said, remedy: Said, *, party: str | None = None) -> Finding:
        """Something to mend."""
        return Finding(self.check, "fault", party or self.party, what, remedy)

    def skipped(self, what: Said, remedy: Said | None = None) -> Finding:
        """Something that was not looked at, and why."""
        return Finding(self.check, "skipped", self.party, what, remedy)


def of_error(error: Exception) -> tuple[Said, Said]:
    """What happened and the remedy, of an error of our trees; both are message ids where there is a text for them."""
    what = getattr(error, "message", None) or str(error)
    remedy = getattr(error, "remedy", None)
    return Said(what), Said(remedy) if remedy else said("read the log of the process, and run the check again")


def sound(findings: Iterable[Finding]) -> bool:
    """Whether nothing must be mended."""
    return all(each.state != "fault" for each in findings)


def wrong(findings: Iterable[Finding]) -> Sequence[Finding]:
    """What must be mended or looked at."""
    return [each for each in findings if each.state in ("fault", "warning")]
