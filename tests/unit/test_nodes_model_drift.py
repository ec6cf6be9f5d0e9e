"""A node compares its own rows with the public table of the model in use; another table is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import pytest

from models.drift import Reading
from models.errors import ArtefactError
from models.i18n import catalogue
from models.published_table import PublishedTable
from models.tables import OpenedTable, feature_bins, from_codes
from nodes.commands.drift import READINGS
from nodes.errors import PeerError
from nodes.model_drift import known_table, model_drift, public_table
from nodes.runtime import NodeRuntime
from nodes.sources.table import NodeTable
from tests.node_commands import RelayServer, call, done, refused
from tests.scoring_answers import write_config
from tests.scoring_world import ScoringWorld

ROWS = 6_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScoringWorld, RelayServer]]:
    world = ScoringWorld(tmp_path_factory.mktemp("world"))
    world.now = datetime.now(UTC)  # commands have the machine's clock
    world.heartbeat()
    server = RelayServer(world)
    for name in world.nodes:
        write_config(world, name, server.url)
    yield world, server
    server.close()
    world.close()


@pytest.fixture(scope="module")
def world(served: tuple[ScoringWorld, RelayServer]) -> ScoringWorld:
    return served[0]


def noisy_table(world: ScoringWorld, seed: int = 3) -> OpenedTable:
    """Merchants whose bins are equally filled."""
    features = feature_bins(world.schema)
    rng = np.random.default_rng(seed)
    codes = {
        kind: np.stack([rng.integers(0, each.width, ROWS) for each in features if each.kind == kind], axis=1).astype(
            np.uint8
        )
        for kind in ("bank", "tax", "utility")
    }
    return from_codes(features, codes, rng.integers(0, 2, ROWS)).with_gaussian_noise(rng, 6.0, 6.0)


def publish(world: ScoringWorld, model_id: str, table: OpenedTable) -> None:
    world.relay.tables[f"/v1/models/{model_id}/table"] = PublishedTable.of(table).model_dump_json().encode()


@pytest.fixture(scope="module")
def model_id(world: ScoringWorld) -> str:
    """The model in use, with its table."""
    table = noisy_table(world)
    found = world.release(world.artefact(cohort_size=ROWS, table_digest=table.digest()))
    publish(world, found, table)
    return found


def with_rows(runtime: NodeRuntime, schema_sha256: str, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than the world's files have, as the node would have loaded them."""
    own = runtime.dataset(schema_sha256)
    assert own is not None
    many = replace(own, ids=tuple(f"m{at}" for at in range(len(codes))), codes=codes)

    def dataset(_hash: str) -> NodeTable:
        return many

    monkeypatch.setattr(runtime, "dataset", dataset)


@pytest.mark.parametrize(("moved", "reading"), [(False, "stable"), (True, "moved-much")])
def test_rows_that_moved_are_told_from_those_that_did_not(
    world: ScoringWorld, model_id: str, monkeypatch: pytest.MonkeyPatch, moved: bool, reading: Reading
) -> None:
    services = world.nodes["tax-01"]
    model = services.models.get(model_id)
    assert model is not None
    width = model.schema.features("tax")[0].width
    rng = np.random.default_rng(8)
    shares = np.full(width, 1 / width)
    if moved:
        shares = np.geomspace(8, 1, width) / np.geomspace(8, 1, width).sum()
    codes = rng.choice(width, (3_000, 1), p=shares).astype(np.uint8)
    with_rows(services.runtime, model.artefact.schema_sha256, codes, monkeypatch)
    found = model_drift(services.runtime, model)
    assert found.rows == 3_000
    assert [each.reading for each in found.features] == [reading]


def test_another_table_is_refused_and_none_is_done_without(world: ScoringWorld, model_id: str) -> None:
    services = world.nodes["tax-01"]
    model = services.models.get(model_id)
    assert model is not None
    right = world.relay.tables[f"/v1/models/{model_id}/table"]
    try:
        publish(world, model_id, noisy_table(world, seed=4))
        with pytest.raises(ArtefactError, match="not the one"):
            public_table(services.runtime.hub, model)
        del world.relay.tables[f"/v1/models/{model_id}/table"]
        with pytest.raises(PeerError):
            public_table(services.runtime.hub, model)
        assert known_table(services.runtime.hub, model) is None
    finally:
        world.relay.tables[f"/v1/models/{model_id}/table"] = right


def test_the_command_says_what_a_few_rows_let_it_say(
    world: ScoringWorld, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = done(call(world, "bank-01", "drift", "--json"))
    assert found["model_id"] == model_id
    assert [each["reading"] for each in found["features"]] == ["unclear", "unclear"]  # type: ignore[attr-defined]
    shown = call(world, "bank-01", "drift", "--lang", "zh")
    assert shown.exit_code == 0, shown.output
    for word in ("稳定性指数", "尚不明确", "贷款笔数"):
        assert word in shown.stdout
    monkeypatch.setenv("DIGUA_LANG", "en")
    refused(call(world, "bank-01", "drift", "--model", "sha256:" + "0" * 64, "--json"), "model-unknown")
    refused(call(world, "lender", "drift", "--json"), "artefact-invalid")


def test_every_reading_is_said_in_chinese() -> None:
    assert set(READINGS) == set(get_args(Reading))
    assert not [text for text in READINGS.values() if not catalogue("nodes").has("zh", text)]
