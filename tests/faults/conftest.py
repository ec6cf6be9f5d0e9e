"""One federation of processes for all tests of a file; bringing it up is what costs.

Files do not share one: a merchant may be asked about under three models, and each file releases or evaluates its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.world import FaultWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    made = FaultWorld(tmp_path_factory.mktemp("faults"))
    try:
        yield made
    finally:
        made.close()
