"""Privacy notices that the hub logged and withheld from a node, or told a node and not the public (docs/consent.md, 1).

Silence is what a lying hub could gain from: a node that never hears of a newer notice goes on answering under the old
one. The log is public, and a node's journal names every statement that its feed brought, so the two are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hub.audit import read_entries
from hub.reconciliation import ON_ITS_WAY, journal_lines

NOTICE = "notice"
TAKEN = "notice-taken"


@dataclass(frozen=True)
class WithheldNotice:
    """A statement that one side lacks; `missing_in` says which."""

    sha256: str
    serial: int
    missing_in: Literal["hub", "node"]
    time: str


def reconcile_notices(hub_export: Path, node_export: Path) -> list[WithheldNotice]:
    """Compare the notices of the hub's log with those of one node's journal.

    A statement younger than the end of the other export, or still on its way to the node, accuses nobody.

    Raises:
        AuditFileError: a file is no export.
    """
    logged = {}
    log_end = None
    for entry in read_entries(hub_export):
        log_end = entry.time
        if entry.type == NOTICE:
            logged[str(entry.facts.get("sha256"))] = entry
    taken = {}
    node_end = None
    for line in journal_lines(node_export):
        node_end = line.time
        if line.type == TAKEN:
            taken[str(line.facts.get("sha256"))] = line
    found = [
        WithheldNotice(sha256, int(entry.facts.get("serial") or 0), "node", entry.time.isoformat())
        for sha256, entry in logged.items()
        if sha256 not in taken and node_end is not None and entry.time + ON_ITS_WAY < node_end
    ]
    found += [
        WithheldNotice(sha256, int(line.facts.get("serial") or 0), "hub", line.time.isoformat())
        for sha256, line in taken.items()
        if sha256 not in logged and log_end is not None and line.time < log_end
    ]
    return sorted(found, key=lambda each: (each.time, each.sha256))
