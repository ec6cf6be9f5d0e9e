"""The demo's merchant at its sources' counters: the commands are those of the nodes, the printout holds every word."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from hub.demo.explanations import explain_one
from hub.demo.federation import Federation
from hub.demo.queries import Queries
from hub.demo.report import Report, print_summary
from tests.node_commands import RelayServer, call, done
from tests.scoring_answers import write_config
from tests.scoring_world import SOURCES, ScoringWorld


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoringWorld]:
    world = ScoringWorld(tmp_path_factory.mktemp("demo"))
    world.release()
    server = RelayServer(world)
    for name in world.nodes:
        write_config(world, name, server.url)
    yield world
    server.close()
    world.close()


def test_each_source_tells_its_part_and_only_the_bank_knows_a_score(world: ScoringWorld) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def node_command(party: str, *arguments: str) -> Any:
        asked.append((party, arguments))
        return done(call(world, party, *arguments, "--json"))

    def answer(asker: str, merchant: str, band: str, score: int) -> Any:
        signed = SimpleNamespace(merchant=SimpleNamespace(merchant_id=merchant, sources=SOURCES))
        return asker, signed, {"model_id": world.artefact().model_id, "band": band, "score": score}

    queries = Queries(
        answers=[
            answer("platform", "M001", "C", 500),
            answer("bank-01", "M001", "A", 700),
            answer("bank-01", "M003", "C", 560),
        ]
    )
    federation = cast("Federation", SimpleNamespace(node_command=node_command))
    told = explain_one(federation, queries)
    assert set(told) == set(SOURCES.values())
    assert {arguments[3] for _, arguments in asked} == {"M003"}
    assert [party for party, arguments in asked if "--score" in arguments] == ["bank-01"]
    assert any("560" in line for line in told["bank-01"]["en"])
    assert not any("560" in line for party in ("tax-01", "utility-01") for line in told[party]["en"])

    stream = io.StringIO()
    print_summary(Console(file=stream, width=200), Report(merchants=3, explained=told), None)
    shown = stream.getvalue()
    for party, texts in told.items():
        assert f"explained by {party}" in shown
        for line in (line for lines in texts.values() for line in lines):
            assert line in shown
    assert explain_one(federation, Queries()) == {}
