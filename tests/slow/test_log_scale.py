"""The audit log at 200,000 entries, on SQLite: search, proofs, offline verification, durable appends.

`make bench ARGS="--only log"` asks the same of a million; search and proofs hardly depend on the size.

The log is built once, through the hub's own path (`benchmarks.log_speed`), and kept for all tests of the module.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.log_speed import appends_per_s, build, export_s, proof_ms, search_ms
from tests import rfc_verifier as rfc
from tests.hub_world import HubWorld

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(3600)]

ENTRIES = 200_000
WRITERS, EACH = 200, 100


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWorld]:
    world = build(tmp_path_factory.mktemp("log"), ENTRIES)
    yield world
    world.hub.close()


def test_every_kind_of_search_takes_less_than_200_ms(world: HubWorld) -> None:
    figures = search_ms(world)
    print(f"\nsearch, ms: {figures}")
    assert world.hub.log.reader.size() >= ENTRIES
    assert max(figures.values()) < 200


def test_a_proof_takes_less_than_20_ms(world: HubWorld) -> None:
    figures = proof_ms(world)
    print(f"\nproofs, ms: {figures}")
    assert max(figures.values()) < 20


def test_an_export_is_verified_in_less_than_a_minute_and_by_the_independent_verifier_too(world: HubWorld) -> None:
    figures = export_s(world)
    print(f"\nexport, s: {figures}")
    assert figures["verify"] < 60
    log, witness = world.verifiers().items()
    with (world.base / "benchmark.ndjson").open("rb") as lines:
        size = rfc.verify_export(lines, rfc.Verifier(*log, kind=0x01), rfc.Verifier(*witness, kind=0x04))
    assert size == world.hub.log.reader.size()


def test_appends_that_come_together_share_their_commits(world: HubWorld) -> None:
    figures = appends_per_s(world, WRITERS, EACH)
    print(f"\nappends a second: {figures}")
    assert figures["ratio"] > 3  # a second's number says as much of the machine; the benchmark has it
