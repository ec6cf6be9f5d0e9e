"""How many files a process may hold open: hundreds of simulated nodes need more than a shell's usual 1,024."""

from __future__ import annotations

import resource
from contextlib import suppress

from hub.campaign_errors import SimulationError

_PER_STORE = 8  # SQLite: file, log and index of a writing and a reading connection
_OTHERS = 256


def allow_stores(stores: int) -> None:
    """Raises this process's soft limit of open files to what so many open stores need; never lowers it.

    Raises:
        SimulationError: the hard limit is below that.
    """
    needed = stores * _PER_STORE + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard == resource.RLIM_INFINITY or hard >= needed:
        with suppress(OSError, ValueError):  # some systems have a lower limit of their own
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            return
    raise SimulationError(
        f"{stores} parties need {needed} open files, and this process may have {hard}",
        field="nodes",
        remedy=f"use fewer nodes, or raise the limit first: ulimit -Hn {needed}",
    )
