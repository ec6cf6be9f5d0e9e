"""A virtual environment per rival, below out/: their libraries never meet ours."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

OUT = Path(__file__).parent.parent.parent / "out" / "bench"
_INSTALL_SECONDS = 1200


class NotInstalledError(Exception):
    """pip could not install a rival; the text is pip's last line."""


def python_with(name: str, requirements: Sequence[str]) -> Path:
    """The Python of the environment `name`, made where it is not there yet or has other requirements.

    Raises:
        NotInstalledError: a requirement cannot be had.
    """
    folder = OUT / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(folder, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)  # noqa: S603
    if done.returncode:
        raise NotInstalledError((done.stderr.strip().splitlines() or ["pip gave no reason"])[-1])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def one_thread() -> dict[str, str]:
    """The environment of a process that leaves the other cores alone."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def our_program(name: str) -> str:
    """Path of one of our own commands."""
    return str(Path(sys.executable).with_name(name))
