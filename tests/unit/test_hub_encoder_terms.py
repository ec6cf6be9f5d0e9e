"""What the stages of one campaign state of its privacy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crypto.table_grid import table_delta
from hub import encoder_terms
from hub.manifests import table_terms
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.encoder_spec import spec_for
from tests.federation import make_world

OF_ROUNDS = 1e-9


def test_both_stages_noise_shares_are_set_aside_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rounds it is below 1e-300 at grids that nodes accept; were it more, a trained merchant would meet both."""
    world = make_world(tmp_path)
    plan = world.noisy_plan(stages=("encoder", "scorecard"))
    spec = spec_for(plan.schema, "bank", rounds=3)
    plain = encoder_terms.encoder_budget(plan, spec)
    monkeypatch.setattr(encoder_terms, "_rounds_delta", lambda *_: OF_ROUNDS)
    both = encoder_terms.encoder_budget(plan, spec)
    assert both.privacy.delta_sum == pytest.approx(plain.privacy.delta_sum + OF_ROUNDS, rel=1e-12)
    assert both.sigma_grid > plain.sigma_grid

    fewer = plan.cohort.training(plan.holdout_salt, plan.holdout_fraction).without({"tax-2"})
    terms = table_terms(
        replace(plan, cohort=fewer),
        fewer,
        "c1/scorecard/1",
        encoder_widths={"bank": ENCODER_FEATURE_WIDTH},
        promised=both.privacy,
    )
    assert terms.tables is not None
    assert terms.privacy.delta_sum >= OF_ROUNDS + table_delta(len(terms.roster), 1)
    world.federation.close()
