"""A served hub on a SuperLink of its own, whose nodes hold synthetic merchants' tables in one form or another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hub.synthetic_files import SQL_QUERY, Format
from models.schema import Schema
from models.schema_file import load_schema
from nodes.dataset_config import DatasetConfig
from tests.deployment.superlink_world import SuperLinkWorld
from tests.served_world import Agent

SCHEMA_FILE = Path(__file__).parents[2] / "configs" / "lishui-merchants.yaml"


class LishuiWorld(SuperLinkWorld):
    """`SuperLinkWorld` whose nodes' tables were written by `digua-hub synthesize`.

    Args:
        base: a new folder.
        tables: form → folder with one table for each node, the same rows in all forms.
    """

    def __init__(self, base: Path, tables: Mapping[Format, Path]) -> None:
        self._tables = tables
        self._form: Format = "csv"
        parties = [path.stem for path in tables["csv"].glob("*.csv")]
        kinds = [party.partition("-")[0] for party in parties]
        super().__init__(
            base,
            nodes={kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
            budgets=dict.fromkeys(["witness", *parties], 95.0),
        )

    def read_from(self, form: Format) -> None:
        """Close every node that holds data and open it again, on the same rows in another form."""
        self._form = form
        for party in [name for name in self.agents if name != "witness"]:
            old = self.agents[party]
            self.supernodes.pop(party).stop()
            old.close()
            dataset = DatasetConfig.model_validate(
                {"schema": self.schema_file, **self._place(party, party.partition("-")[0])}
            )
            self.agents[party] = Agent.open(old.config.model_copy(update={"datasets": (dataset,)}))
            self.agents[party].connect()
            self.join(party)
        self.wait_connected()
        self.wait_joined()

    def _make_schema(self) -> Schema:
        return load_schema(SCHEMA_FILE)

    def _place(self, party: str, kind: str) -> dict[str, Any]:
        path = self._tables[self._form] / f"{party}.{self._form}"
        if self._form == "sqlite":
            return {"sql": {"url": f"sqlite:///{path}", "query": SQL_QUERY}}
        return {self._form: path}

    def _draw(self, rng: np.random.Generator, merchants: int, nodes: Mapping[str, int]) -> None:
        """Who is where, from the tables themselves."""
        column = self.schema.id.column
        held = {
            path.stem: pl.read_csv(path, columns=[column], infer_schema=False)[column].to_list()
            for path in sorted(self._tables["csv"].glob("*.csv"))
        }
        self.ids = [each for party, ids in held.items() if party.startswith("bank") for each in ids]
        row = {each: number for number, each in enumerate(self.ids)}
        self.sources = {kind: [None] * len(self.ids) for kind in nodes}
        for party, ids in held.items():
            for each in ids:
                self.sources[party.partition("-")[0]][row[each]] = party
