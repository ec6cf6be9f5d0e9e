"""A campaign whose schema derives features, multiplies two and binds one; and what each node keeps of it for itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from crypto.manifest import holdout_mask
from hub.grids.local import LocalGrid
from models.artefact import ModelArtefact
from models.schema import Schema
from models.scorecard import check_monotone
from nodes.frozen_counts import FrozenCounts
from tests.federation import SALT, make_world, run_scorecard
from tests.integration.test_simulate import run

TITLE = {"zh": "特征", "en": "feature"}


def schema() -> Schema:
    ordinal = {"title": TITLE, "class": "C2"}
    bank = {
        "late30": {**ordinal, "bins": [0, 1, 95], "special_from": 95},
        "late60": {**ordinal, "bins": [0, 1, 95], "special_from": 95},
        "worst": {**ordinal, "derived": {"max": ["late30", "late60"]}, "bins": [0, 1], "monotone": "increasing"},
        "growth": {**ordinal, "derived": {"difference": ["now", "before"]}, "bins": [-1, 0, 1]},
        "trade": {"title": TITLE, "class": "C1", "categories": ["shop", "inn"]},
        "cells": {**ordinal, "product": ["worst", "trade"]},
    }
    return Schema.model_validate(
        {
            "name": "derived",
            "id": {"column": "id", "type": "opaque"},
            "as_of": "2026-01-01",
            "label": {"column": "bad", "kind": "bank", "performance_months": 12, "title": TITLE},
            "kinds": {
                "bank": {"columns": ["now", "before"], "features": bank},
                "tax": {"features": {"income": {**ordinal, "bins": [0, 1]}}},
            },
        }
    )


def test_a_campaign_counts_derived_features_and_keeps_the_declared_direction(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = 1_500
    bad = rng.random(rows) < 0.25
    late = rng.choice([0, 1, 2, 98], rows, p=[0.6, 0.2, 0.15, 0.05])
    pl.DataFrame(
        {
            "late30": np.where(bad & (late < 90), np.minimum(late + 1, 2), late),
            "late60": rng.choice(np.array([0.0, 1.0, np.nan]), rows),
            "now": rng.normal(0, 2, rows),
            "before": rng.normal(0, 2, rows),
            "trade": rng.choice(["shop", "inn", "mill"], rows),
            "income": np.where(bad, 0, 2) + rng.normal(0, 1, rows),
            "bad": bad.astype(int),
        }
    ).fill_nan(None).write_csv(tmp_path / "joined.csv")
    path = tmp_path / "schema.yaml"
    path.write_text(json.dumps(schema().model_dump(mode="json", exclude_none=True), ensure_ascii=False))
    out = tmp_path / "out"
    report = run(
        "--schema", path, "--table", tmp_path / "joined.csv", "--epsilon", 1, "--noise", "off",
        "--nodes", "bank=2,tax=1", "--absent", "tax=0.2", "--out", out, "--json",
    )  # fmt: skip
    assert report["table_equals_joined"] is True
    artefact = ModelArtefact.from_bytes(next(out.rglob("model*.json")).read_bytes())
    card = artefact.card()
    check_monotone(card)
    assert [entry.feature.width for entry in card.features] == [5, 5, 4, 5, 4, 16, 4]
    worst = card.features[2]
    assert worst.feature.monotone == "increasing"
    assert worst.points[0] > worst.points[2]
    assert artefact.schema_of().hash() == schema().hash()


def test_every_node_keeps_rows_per_bin_of_what_it_froze(tmp_path: Path) -> None:
    world = make_world(tmp_path, seed=4)
    federation = world.federation
    federation.grid.close()
    for party, context in federation.contexts.items():
        federation.contexts[party] = replace(context, counts=FrozenCounts(federation.stores[party]))
    federation.grid = LocalGrid(federation.apps())
    run_scorecard(world)
    name = federation.schema.hash()
    for context in federation.contexts.values():
        assert context.counts is not None
        kept = context.counts.last(name)
        assert kept is not None
        assert kept.campaign_id == "c1"
        data = context.dataset(name)
        assert data is not None
        mine = data.codes[~holdout_mask(data.pseudonyms, SALT, 0.2)]
        widths = federation.schema.widths(context.kind)
        assert kept.counts == tuple(
            tuple(np.bincount(mine[:, at], minlength=width).tolist()) for at, width in enumerate(widths)
        )
