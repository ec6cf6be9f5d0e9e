"""The demo's files: real borrowers' records, cut into one file per node and campaign.

Give Me Some Credit has one row a borrower with all columns. The demo gives each row an opaque random id and hands
its columns to the nodes that would hold them. The driver keeps the joined rows, because it made them: the AUC
that it prints is computed here and labelled so. No running party has them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from models.datasets import give_me_some_credit
from models.schema import Schema

CONSORTIUM_SHARE = 0.15
"""The bank consortium's customers, beside the cross-source merchants, as a part of these."""


@dataclass(frozen=True)
class Node:
    """A data node of the demo."""

    party_id: str
    kind: str
    region: str
    title: str


NODES = (
    Node("bank-shanghai", "bank", "上海", "Bank in Shanghai"),
    Node("bank-guangzhou", "bank", "广东", "Bank in Guangzhou"),
    Node("bank-chengdu", "bank", "四川", "Bank in Chengdu"),
    Node("tax-east", "tax", "上海", "Tax bureau, east"),
    Node("tax-southwest", "tax", "四川", "Tax bureau, southwest"),
    Node("utility-power", "utility", "广东", "Power company"),
    Node("utility-water", "utility", "四川", "Water company"),
)
_WEIGHTS = {"bank": (0.5, 0.3, 0.2), "tax": (0.6, 0.4), "utility": (0.55, 0.45)}
_ABSENT = {"tax": 0.04, "utility": 0.06}
"""Some merchants are not registered with a tax bureau or have no meter of their own."""


@dataclass(frozen=True)
class Population:
    """One campaign's merchants: joined rows (with an `id` column) and the node of each at every kind ("" = none)."""

    schema: Schema
    frame: pl.DataFrame
    at: dict[str, list[str]]

    @property
    def ids(self) -> list[str]:
        """The merchants' opaque ids, in order of rows."""
        return self.frame["id"].to_list()

    def sources(self, row: int) -> dict[str, str]:
        """Kind → party of one merchant."""
        return {kind: parties[row] for kind, parties in self.at.items() if parties[row]}


def nodes_of(kind: str) -> list[str]:
    """Ids of the demo's nodes of a kind."""
    return [node.party_id for node in NODES if node.kind == kind]


def populations(
    cross: Schema, consortium: Schema, merchants: int, cache: Path, seed: int
) -> tuple[Population, Population]:
    """Draw the cross-source merchants and, from other rows, the consortium's customers.

    Raises:
        DataError: the data set cannot be had.
    """
    rows = give_me_some_credit(cache)
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows.height)
    others = int(merchants * CONSORTIUM_SHARE)
    first = rows[order[:merchants]]
    second = rows[order[merchants : merchants + others]]
    return (_place(cross, first, rng), _place(consortium, second, rng))


def _place(schema: Schema, frame: pl.DataFrame, rng: np.random.Generator) -> Population:
    ids = [f"M{secrets.token_hex(10).upper()}" for _ in range(frame.height)]
    at: dict[str, list[str]] = {}
    for kind in schema.kinds_in_order():
        names = nodes_of(kind)
        chosen = [names[i] for i in rng.choice(len(names), frame.height, p=_WEIGHTS[kind])]
        if kind != schema.label.kind:
            absent = rng.random(frame.height) < _ABSENT[kind]
            chosen = ["" if gone else name for name, gone in zip(chosen, absent, strict=True)]
        at[kind] = chosen
    if "id" in frame.columns:
        frame = frame.drop("id")
    return Population(schema, frame.with_columns(pl.Series("id", ids)), at)


def write_node_file(population: Population, node: Node, path: Path) -> int:
    """Write one node's own rows and columns; returns the number of rows."""
    schema = population.schema
    columns = [schema.id.column, *schema.columns(node.kind)]
    if node.kind == schema.label.kind:
        columns.append(schema.label.column)
    mine = np.array(population.at[node.kind]) == node.party_id
    part = population.frame.filter(pl.Series(mine)).rename({"id": schema.id.column} if schema.id.column != "id" else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    part.select(columns).write_csv(path)
    return part.height
