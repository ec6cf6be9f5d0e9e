"""What `make test-deployment` needs of the machine; run as a program it refuses, and says what to install."""

from __future__ import annotations

import os
import shutil
import sys

PACKAGES = {
    "ip": "iproute2",
    "bwrap": "bubblewrap",
    "setpriv": "util-linux",
    "nginx": "nginx-light",
    "systemd-analyze": "systemd",
}
"""Program → Debian's package."""


def complaint() -> str | None:
    """Say what is missing; None where all is there."""
    absent = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if absent:
        return (
            "the services of docker-compose.yml cannot be run as processes without these packages; install them with\n"
            f"    apt-get install --no-install-recommends {' '.join(absent)}"
        )
    if os.geteuid() != 0:
        return "the services of docker-compose.yml get networks and users of their own: run this as root"
    return None


if __name__ == "__main__":
    sys.exit(complaint())
