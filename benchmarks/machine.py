"""The machine that a report was measured on, without its name or place."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = (
    "digua",
    "numpy",
    "scipy",
    "torch",
    "opacus",
    "scikit-learn",
    "lightgbm",
    "interpret-core",
    "flwr",
    "cryptography",
)


def described() -> dict[str, Any]:
    """Processor, cores, memory, system and versions."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name)) is not None},
    }


def processor() -> str:
    """The processor's model, as the system calls it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
