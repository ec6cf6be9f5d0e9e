"""The node's table under a schema whose bins came from quantiles: the configured one follows it as it was before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from models.quantile_bins import open_form, settled_codes
from models.schema import Schema
from nodes.sources.table import NodeTable
from nodes.training_context import TrainingData

T = TypeVar("T", TrainingData, NodeTable)


class SettledTables(Generic[T]):
    """Tables by schema, made once from those under the grids and kept as long as these stay the same.

    Args:
        dataset: schema hash (hex) → the node's table, or None.
        kind: the node's.
    """

    def __init__(self, dataset: Callable[[str], T | None], kind: str) -> None:
        self._dataset: Callable[[str], T | None] = dataset
        self._kind = kind
        self._before: dict[str, str] = {}
        self._made: dict[str, tuple[T, T]] = {}

    def under(self, schema_sha256: str, schema: Callable[[], Schema]) -> T | None:
        """The table under a schema, or None where the node has none.

        Args:
            schema_sha256: its hash (hex).
            schema: gives it, where the table must be made.
        """
        data = self._dataset(schema_sha256)
        if data is not None:
            return data
        if schema_sha256 not in self._before:
            self._before[schema_sha256] = open_form(schema()).hash()
        before = self._before[schema_sha256]
        fine = self._dataset(before) if before != schema_sha256 else None
        if fine is None:
            return None
        known = self._made.get(schema_sha256)
        if known is None or known[0] is not fine:
            known = (fine, replace(fine, codes=settled_codes(schema(), self._kind, fine.codes)))
            self._made[schema_sha256] = known
        return known[1]
