"""The same campaign is the same model wherever it runs: three grids, two databases, three sources, at zero noise.

One reference, by `digua-hub simulate` on LocalGrid over CSV files; all others give its table, cell by cell, and its
artefact, byte by byte, but for the campaign's id and the moment of its making.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub.campaign_record import CampaignRecord
from hub.opened_tables import opened_table
from hub.simulation_run import SimulationOptions, simulate
from hub.synthesis import SynthesisOptions, synthesise
from hub.synthetic_files import SUFFIXES, Format
from models.artefact import ModelArtefact
from tests.databases import on_postgresql
from tests.deployment.lishui_world import SCHEMA_FILE, LishuiWorld

pytestmark = [pytest.mark.deployment, pytest.mark.timeout(600)]

MERCHANTS = 600
NODES = {"bank": 2, "tax": 1, "utility": 1}
SEED = 12
"""With this one every merchant has a record besides the bank's, as consents for tables across sources need."""
EPSILON = 3.0
SOURCES: tuple[Format, ...] = ("csv", "parquet", "sqlite")
SUPERLINK_SOURCE: Mapping[str, Format] = {"sqlite": "parquet", "postgresql": "sqlite"}
"""Database → source of the campaign on a SuperLink, whose trips take seconds."""


@dataclass(frozen=True)
class Result:
    """What a campaign gave: its table's digest, over the layout and every cell, and its model."""

    table: str
    artefact: ModelArtefact


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[Format, Path]:
    """Form → folder of the nodes' tables: the same merchants in each."""
    base = tmp_path_factory.mktemp("tables")
    for form in SOURCES:
        synthesise(SynthesisOptions(MERCHANTS, SEED, base / form, form, NODES), lambda *_: None)
    return {form: base / form for form in SOURCES}


def simulated(folder: Path) -> Result:
    options = SimulationOptions(SCHEMA_FILE, folder, EPSILON, holdout=0.0, noise_on=False, baselines=False)
    found = simulate(options, lambda _: None)
    assert found.report["table_equals_joined"] is True
    assert found.report["merchants"] == MERCHANTS
    return Result(found.report["table_digest"], found.artefact)


@pytest.fixture(scope="module")
def reference(tables: dict[Format, Path]) -> Result:
    return simulated(tables["csv"])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def hub_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The hub's database, for the worlds that are made while it is chosen."""
    chosen: str = request.param
    with on_postgresql(request.getfixturevalue("postgresql")) if chosen == "postgresql" else nullcontext():
        yield chosen


@pytest.fixture(scope="module")
def world(
    hub_database: str, tables: dict[Format, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LishuiWorld]:
    made = LishuiWorld(tmp_path_factory.mktemp("world"), tables)
    assert made.hub.db.engine.dialect.name == hub_database
    try:
        yield made
    finally:
        made.close()


def served(world: LishuiWorld, source: Format, engine: str) -> Result:
    """The campaign by real nodes at the serving hub."""
    world.read_from(source)
    campaign_id = world.start(engine=engine, noise="off", epsilon=EPSILON, holdout=0.0)
    state = world.ended(campaign_id, seconds=240)
    assert state["status"] == "succeeded", state["failure"]
    assert state["engine"] == engine
    book, key = world.hub.campaigns.book, world.hub.keys.identity
    released = CampaignRecord(book, campaign_id, hub_key=key).released()
    assert released is not None
    content = world.hub.models.artefact(state["model_id"], unreleased=True)
    return Result(opened_table(released).digest(), ModelArtefact.from_bytes(content))


def assert_same(found: Result, reference: Result) -> None:
    assert found.table == reference.table == found.artefact.table_digest
    assert found.artefact.content_id == reference.artefact.content_id
    stamped = {"campaign": reference.artefact.campaign, "created": reference.artefact.created}
    assert found.artefact.model_copy(update=stamped).to_bytes() == reference.artefact.to_bytes()


@pytest.mark.parametrize("source", SOURCES)
def test_local_grid(source: Format, tables: dict[Format, Path], reference: Result) -> None:
    files = list(tables[source].glob(f"*{SUFFIXES[source]}"))
    assert len(files) == sum(NODES.values())
    assert_same(simulated(tables[source]), reference)


@pytest.mark.parametrize("source", SOURCES)
def test_agents_links(source: Format, world: LishuiWorld, reference: Result) -> None:
    assert_same(served(world, source, "agent"), reference)


def test_superlink(world: LishuiWorld, hub_database: str, reference: Result) -> None:
    assert_same(served(world, SUPERLINK_SOURCE[hub_database], "superlink"), reference)


def test_another_outcome_is_another_table_and_model(
    tables: dict[Format, Path], reference: Result, tmp_path: Path
) -> None:
    """That the comparison can fail: one merchant's outcome is turned."""
    for path in tables["csv"].glob("*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.stem == "bank-01":
            header = lines[0].split(",")
            place = header.index("default_24m")
            row = next(number for number, line in enumerate(lines) if line.split(",")[place] == "0")
            cells = lines[row].split(",")
            cells[place] = "1"
            lines[row] = ",".join(cells)
        (tmp_path / path.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = simulated(tmp_path)
    assert found.table != reference.table
    assert found.artefact.content_id != reference.artefact.content_id
