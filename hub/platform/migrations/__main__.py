"""Writes a new version: ``python -m hub.platform.migrations 0002 "What it adds"``."""

from __future__ import annotations

import sys

from hub.platform.migrations.runner import VERSIONS

if __name__ == "__main__":
    revision, message = sys.argv[1:]
    sys.stdout.write(f"{VERSIONS.write_version(message, revision=revision)}\n")
