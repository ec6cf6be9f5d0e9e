"""What the commands may not load: torch belongs to processes that train encoders."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["hub.cli", "nodes.cli", "hub.services", "nodes.services"])
def test_neither_torch_nor_flower_is_loaded_before_training(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'torch', 'opacus', 'flwr'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
