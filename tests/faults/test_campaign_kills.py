"""A campaign goes on, or ends with party and remedy named, whichever process is killed at whichever step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import cells
from tests.faults.campaigns import check_all, run_campaign
from tests.faults.cells import Cell
from tests.faults.world import FaultWorld

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
CHAINS: dict[str, tuple[Cell, ...]] = {
    "worker": cells.WORKER,
    "supervisor": cells.SUPERVISOR,
    "witness": cells.WITNESSES,
    "voids": cells.VOIDS,
    "hub": cells.HUB,
    "nodes-T1": cells.NODES_T1,
    "nodes-T2": cells.NODES_T2,
    "nodes-T3": cells.NODES_T3,
    "nodes-T4": cells.NODES_T4,
    "hub-later": cells.HUB_LATER,
}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_campaign_outlives_kills(world: FaultWorld, chain: str, tmp_path: Path) -> None:
    done = run_campaign(world, CHAINS[chain], release=chain in ("witness", "hub-later"))
    check_all(world, done, CHAINS[chain], tmp_path)


def test_a_campaign_that_cannot_go_on_names_the_party_and_what_to_do(world: FaultWorld, tmp_path: Path) -> None:
    done = run_campaign(world, cells.ONLY_ONE)
    assert done.missed == []
    assert done.state["status"] == "failed"
    assert "utility-1" in done.state["failure"]["detail"]
    assert done.state["failure"]["remedy"]
