"""A node put together: it starts only when keys, store, roster and configuration belong together."""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from models.errors import DataError
from models.schema_file import load_schema
from nodes.config import HubAddress
from nodes.dataset_config import DatasetConfig
from nodes.errors import ConfigError, PolicyRefusal, SourceError
from nodes.hub_client import HubClient
from nodes.keys import create_keys
from nodes.runtime import NodeRuntime
from tests.node_world import SignerWorld
from tests.unit.test_nodes_hub_client import KeyHolders

SCHEMA = Path(__file__).parents[2] / "configs" / "give-me-some-credit.yaml"


@pytest.fixture
def world(tmp_path: Path) -> SignerWorld:
    return SignerWorld(tmp_path)


def write_table(path: Path, rows: int) -> None:
    schema = load_schema(SCHEMA)
    names = [schema.id.column, *(feature.name for feature in schema.features("bank")), schema.label.column]
    lines = [",".join(names)]
    lines += [",".join([f"id-{row}", *("1" for _ in schema.features("bank")), str(row % 2)]) for row in range(rows)]
    path.write_text("\n".join(lines) + "\n")


def test_a_node_opens_with_everything_in_place(world: SignerWorld) -> None:
    runtime = NodeRuntime.open(world.config(), clock=world.clock)
    assert runtime.identity.public == world.keys.identity.public
    assert runtime.check_own_entry() is None
    runtime.roster.update(world.roster(1))
    assert runtime.check_own_entry() == world.bank()
    context = runtime.training_context()
    assert (context.party_id, context.min_t_collude, context.insecure_noise_off) == ("bank-01", 1, False)
    assert context.dataset("00" * 32) is None
    with pytest.raises(PolicyRefusal) as caught:
        context.consents.sources(np.zeros((1, 32), dtype=np.uint8), load_schema(SCHEMA))
    assert caught.value.reason == "consent-unknown"


def test_an_unenrolled_node_does_not_open(world: SignerWorld) -> None:
    with pytest.raises(ConfigError, match="not enrolled"):
        NodeRuntime.open(world.config(trust=None))
    assert not (world.base / "data").exists()


def test_another_partys_ledger_is_refused(world: SignerWorld) -> None:
    NodeRuntime.open(world.config()).close()
    with pytest.raises(ConfigError, match="ledger of bank-01"):
        NodeRuntime.open(world.config(party_id="bank-02"))


def test_keys_other_than_the_rosters_stop_the_start(world: SignerWorld) -> None:
    runtime = NodeRuntime.open(world.config())
    runtime.roster.update(world.roster(1))
    runtime.close()
    create_keys(world.base / "new-keys", kind="bank")
    with pytest.raises(ConfigError, match="other keys"):
        NodeRuntime.open(world.config(keys_dir=world.base / "new-keys"))


def test_a_witness_with_lost_keys_does_not_start(world: SignerWorld) -> None:
    create_keys(world.base / "witness-keys", kind="witness")
    config = world.config(party_id="witness", kind="witness", keys_dir=world.base / "witness-keys")
    with pytest.raises(ConfigError, match="signing key that holds"):
        NodeRuntime.open(config)


def test_a_node_runs_once(world: SignerWorld) -> None:
    first, second = NodeRuntime.open(world.config()), NodeRuntime.open(world.config())
    with first.exclusive(), pytest.raises(ConfigError, match="running already"), second.exclusive():
        pass
    with second.exclusive():
        pass


def test_re_enrolment_keeps_the_ledger(world: SignerWorld) -> None:
    runtime = NodeRuntime.open(world.config())
    runtime.ledger.record_send(campaign_id="c", attempt="c/scorecard/1", h=bytes(32), payload=b"x", mechanisms=())
    runtime.close()
    create_keys(world.base / "new-keys", kind="bank")
    renewed = SignerWorld(world.base / "new-hub").trust
    again = NodeRuntime.open(world.config(trust=renewed, keys_dir=world.base / "new-keys"))
    assert again.ledger.spent().campaigns == ("c",)


def test_tables_become_training_data_under_pseudonyms(world: SignerWorld) -> None:
    csv = world.base / "bank.csv"
    write_table(csv, 5)
    client = HubClient(
        HubAddress(url="http://127.0.0.1:1"),
        party_id="bank-01",
        identity=world.keys.identity,
        transport=httpx.MockTransport(KeyHolders(world)),
    )
    dataset = DatasetConfig.model_validate({"schema": SCHEMA, "csv": csv})
    runtime = NodeRuntime.open(world.config(datasets=(dataset,)), clock=world.clock, hub=client)
    runtime.roster.update(world.roster(1))
    name = load_schema(SCHEMA).hash()
    assert [schema.hash() for schema in runtime.datasets.schemas()] == [name]
    with pytest.raises(SourceError, match="no pseudonym"):
        runtime.training_data(name)
    assert runtime.datasets.pseudonymise() == 5
    data = runtime.training_data(name)
    assert data is not None
    assert data.pseudonyms.shape == (5, 32)
    assert data.outcome is not None
    assert runtime.training_data(name) is data

    write_table(csv, 6)
    os.utime(csv, ns=(1, 1))
    table = runtime.dataset(name)
    assert table is not None
    assert len(table.ids) == 6
    assert runtime.datasets.pseudonymise() == 1
    grown = runtime.training_data(name)
    assert grown is not None
    assert np.array_equal(grown.pseudonyms[:5], data.pseudonyms)

    csv.write_text("wrong\n1\n")
    with pytest.raises((SourceError, DataError)):
        runtime.dataset(name)


def test_two_tables_of_one_schema_are_refused(world: SignerWorld) -> None:
    dataset = DatasetConfig.model_validate({"schema": SCHEMA, "csv": world.base / "x.csv"})
    with pytest.raises(ConfigError, match="two datasets"):
        NodeRuntime.open(world.config(datasets=(dataset, dataset)))


def test_a_query_is_run_again_when_its_rows_are_old(world: SignerWorld) -> None:
    database, csv = world.base / "rows.db", world.base / "rows.csv"

    def fill(rows: int) -> None:
        write_table(csv, rows)
        table = pl.read_csv(csv)
        with sqlite3.connect(database) as connection:
            connection.execute("DROP TABLE IF EXISTS rows")
            connection.execute(f"CREATE TABLE rows ({', '.join(map(json.dumps, table.columns))})")
            connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * table.width)})", table.rows())
        connection.close()

    fill(4)
    sql = {"url": f"sqlite:///{database}", "query": "SELECT * FROM rows", "refresh_minutes": 30}
    dataset = DatasetConfig.model_validate({"schema": SCHEMA, "sql": sql})
    runtime = NodeRuntime.open(world.config(datasets=(dataset,)), clock=world.clock)
    (schema,) = runtime.datasets.schemas()

    def rows() -> int:
        table = runtime.dataset(schema.hash())
        assert table is not None
        return len(table.ids)

    assert rows() == 4
    fill(6)
    world.now += timedelta(minutes=29)
    assert rows() == 4
    world.now += timedelta(minutes=1)
    assert rows() == 6
    database.unlink()
    assert rows() == 6
    world.now += timedelta(minutes=30)
    with pytest.raises(SourceError, match="no such database file"):
        rows()
    runtime.close()
