"""What doctor looks at on the machine itself, at the hub and at the platform: rights of secret files, and room."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from hub.config import SQLITE_PREFIX
from models.findings import Finding, Findings
from models.said import said

FAULT_GIB, WARNING_GIB = 1, 5
_GIB = 1 << 30


def examine_rights(party: str, secrets: Iterable[Path], database: str) -> Iterator[Finding]:
    """Look whether others may read secret files, or a database that is a file.

    Args:
        party: whose they are.
        secrets: files and folders; those that are absent are passed over.
        database: its address.
    """
    found = Findings("permissions", party)
    wrong = False
    for path in secrets:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        if mode & 0o077:
            wrong = True
            yield found.fault(
                said("{path} may be read by others (mode {mode})", path=str(path), mode=f"{mode:04o}"),
                said(
                    "run chmod {wanted} {path}; if someone else had access, see Keys and their change (operations.md)",
                    wanted="700" if path.is_dir() else "600",
                    path=str(path),
                ),
            )
    if not wrong:
        yield found.ok(said("only their owner can read the secret files"))
    file = Path(database.removeprefix(SQLITE_PREFIX))
    if database.startswith(SQLITE_PREFIX) and file.exists():
        modes = [stat.S_IMODE(each.stat().st_mode) & 0o077 for each in (file, file.parent)]
        if all(modes):
            yield found.warning(
                said("{path} may be read by others: it says of merchants what they did", path=str(file)),
                said("run chmod 700 {folder}", folder=str(file.parent)),
            )


def examine_room(party: str, place: Path) -> Iterator[Finding]:
    """Look how much room is left where a party keeps its state."""
    found = Findings("disk", party)
    free = shutil.disk_usage(place).free
    what = said("{gib} GiB are free at {place}", gib=f"{free / _GIB:.1f}", place=str(place))
    remedy = said("make room: what cannot be written is not acknowledged")
    if free < FAULT_GIB * _GIB:
        yield found.fault(what, remedy)
    elif free < WARNING_GIB * _GIB:
        yield found.warning(what, remedy)
    else:
        yield found.ok(what)
