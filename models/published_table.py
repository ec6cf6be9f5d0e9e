"""The noisy table of a model as it is published: anyone can compute from it what a card states, and check it.

It is output of the campaign's mechanisms, so that reading it costs no privacy. Its digest, which is over whole counts,
is in the model, which the witness signed after fitting it again: a hub cannot give out a table that differs by more
than half a count in any cell.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.artefact import ModelArtefact
from models.errors import ArtefactError
from models.tables import FloatArray, OpenedTable, from_vector

Count = Annotated[int, Field(ge=0, strict=True)]
_MOST = 1 << 24


class KindTotal(BaseModel):
    """Merchants of the cohort at one kind of source."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: str
    members: Count


class PairTotal(BaseModel):
    """Merchants of the cohort at both of two kinds of source."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: str
    second: str
    members: Count


class PublishedTable(BaseModel):
    """What GET /v1/models/{model_id}/table gives.

    Attributes:
        cohort_size, kinds, pairs, labelled: public membership numbers, without noise.
        sigma_class, sigma_pair: standard deviation of the noise on each count; 0 where the campaign had none.
        cells: noisy counts in released order (`models.tables`); small noise lies on a finer grid than whole counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    cohort_size: Count
    kinds: tuple[KindTotal, ...]
    pairs: tuple[PairTotal, ...]
    sigma_class: Annotated[float, Field(ge=0)]
    sigma_pair: Annotated[float, Field(ge=0)]
    labelled: Count | None = None
    cells: Annotated[tuple[float, ...], Field(max_length=_MOST)]

    @classmethod
    def of(cls, table: OpenedTable) -> Self:
        """An opened table's form."""
        return cls(
            cohort_size=table.cohort_size,
            kinds=tuple(KindTotal(kind=kind, members=total) for kind, total in table.kind_totals.items()),
            pairs=tuple(
                PairTotal(first=first, second=second, members=total)
                for (first, second), total in table.pair_totals.items()
            ),
            sigma_class=table.sigma_class,
            sigma_pair=table.sigma_pair,
            labelled=table.labelled,
            cells=tuple(_cells(table).tolist()),
        )

    def opened(self, artefact: ModelArtefact) -> OpenedTable:
        """The table that a model was fitted on.

        Raises:
            ArtefactError: the model is no scorecard, or this is not its table.
            DataError: the cells are not those of the model's features.
        """
        table = from_vector(
            np.array(self.cells, dtype=np.float64),
            [entry.feature for entry in artefact.card().features],
            cohort_size=self.cohort_size,
            kind_totals={each.kind: each.members for each in self.kinds},
            pair_totals={(each.first, each.second): each.members for each in self.pairs},
            sigma_class=self.sigma_class,
            sigma_pair=self.sigma_pair,
            labelled=self.labelled,
        )
        if table.digest() != artefact.table_digest:
            raise ArtefactError(
                "the table is not the one that the model was fitted on",
                field="table",
                remedy="do not use it; tell the hub's operator",
            )
        return table


def _cells(table: OpenedTable) -> FloatArray:
    """All cells in released order, as they are."""
    pairs = [table.pairs[pair].ravel() for pair in combinations(range(len(table.features)), 2)]
    return np.concatenate([*(counts.ravel() for counts in table.classes), *pairs])
