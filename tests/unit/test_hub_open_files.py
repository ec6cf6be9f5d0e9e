"""The limit of open files follows the number of simulated parties."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from hub.campaign_errors import SimulationError
from hub.open_files import allow_stores
soft, hard, stores = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    allow_stores(stores)
except SimulationError as refused:
    print("refused", refused.field, refused.remedy)
else:
    print("allowed", *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "stores", "said"),
    [
        (1024, 1024, 25, "allowed 1024 1024"),
        (300, 1024, 25, "allowed 456 1024"),
        (300, 400, 25, "refused nodes use fewer nodes, or raise the limit first: ulimit -Hn 456"),
    ],
)
def test_the_soft_limit_rises_as_far_as_the_hard_one(soft: int, hard: int, stores: int, said: str) -> None:
    """In processes of their own: a hard limit cannot be raised again."""
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(stores)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == said
