"""What the statistics stage releases (docs/programme-statistics.md): chosen cells of the table, no others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crypto.wire.base import WireModel

FeatureNumber = Annotated[int, Field(ge=0)]
"""Of all features, kinds and then features in the order of the schema."""


class StatisticsTerms(WireModel):
    """Which cells are counted. A merchant stands in one cell of each block, so `len(classes) + len(pairs)` of them."""

    year: Annotated[int, Field(ge=2000, le=2200)]
    """The reporting year; a fact of the report, not of the mechanism."""
    classes: tuple[FeatureNumber, ...]
    """Features whose bins are counted by the label's classes, ascending."""
    pairs: tuple[tuple[FeatureNumber, FeatureNumber], ...]
    """Pairs of features, earlier first, ascending."""
