"""A federation whose schema leaves some bins to private quantiles, and what exact counts of its rows give."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hub.campaign_plan import ReleasedTable
from hub.server_app import CampaignResult
from models.codes import ABSENT
from models.quantile_bins import settled_codes, tree_counts
from models.schema import Schema
from models.tables import feature_bins, from_codes
from tests.federation import World, make_world


def open_schema() -> Schema:
    title = {"zh": "特征", "en": "feature"}
    amount = {"title": title, "class": "C2", "quantiles": {"count": 5, "range": [1, 1_000_000], "scale": "log"}}
    times = {"title": title, "class": "C2", "quantiles": {"count": 4, "range": [0, 20]}, "whole": True}
    given = {"title": title, "class": "C2", "bins": [0, 1]}
    return Schema.model_validate(
        {
            "name": "open",
            "id": {"column": "id", "type": "opaque"},
            "as_of": date(2026, 1, 1),
            "label": {
                "column": "bad",
                "kind": "bank",
                "performance_months": 12,
                "title": {"zh": "违约", "en": "default"},
            },
            "kinds": {
                "bank": {"features": {"b1": given, "b2": {**times, "special_from": 90}}},
                "tax": {"features": {"t1": amount, "t2": given}},
                "utility": {"features": {"u1": {"title": title, "class": "C2", "categories": ["a", "b"]}}},
            },
        }
    )


def open_world(path: Path, **options: Any) -> World:
    return make_world(path, schema=open_schema(), **options)


def joined(world: World, cohort: Any) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """Codes of a cohort's merchants under the grids, absent where it has no node, and outcomes."""
    place = {row.tobytes(): index for index, row in enumerate(world.pseudonyms)}
    order = np.array([place[row.tobytes()] for row in cohort.pseudonyms], dtype=np.intp)
    return {
        kind: np.where(cohort.holders[kind][:, None] >= 0, world.codes[kind][order], np.uint8(ABSENT))
        for kind in cohort.kinds
    }, world.outcome[order]


def exact_counts(world: World, cohort: Any) -> NDArray[np.int64]:
    codes, _ = joined(world, cohort)
    return np.sum([tree_counts(world.federation.schema, kind, each) for kind, each in codes.items()], axis=0)


def exact_table(world: World, schema: Schema, cohort: Any) -> NDArray[np.int64]:
    codes, outcome = joined(world, cohort)
    coarse = {}
    for kind, each in codes.items():
        there = each[:, :1] != ABSENT
        coarse[kind] = np.where(there, settled_codes(schema, kind, each), np.uint8(ABSENT))
    return from_codes(feature_bins(schema), coarse, outcome).to_vector()


def bins_of(result: CampaignResult) -> ReleasedTable:
    assert result.bins is not None
    return result.bins
