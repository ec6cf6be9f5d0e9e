"""`python -m hub.migrations NUMBER MESSAGE`: write the next version from the declared tables (for developers)."""

from __future__ import annotations

import sys

from hub.migrations.runner import write_version


def main() -> None:
    """Write a version and print its file."""
    number, message = sys.argv[1], " ".join(sys.argv[2:])
    print(write_version(message, revision=number))


if __name__ == "__main__":
    main()
