"""One federation of processes for all fault tests; bringing it up is what costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.world import FaultWorld


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultWorld]:
    made = FaultWorld(tmp_path_factory.mktemp("faults"))
    try:
        yield made
    finally:
        made.close()
