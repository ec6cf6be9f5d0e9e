"""Stages of a campaign by name, and how its messages travel: what orders, plans and configurations are written in."""

from __future__ import annotations

from typing import Literal, TypeAlias

Stage: TypeAlias = Literal["bins", "encoder", "scorecard", "evaluation", "statistics"]
EngineName: TypeAlias = Literal["agent", "superlink"]
"""How messages reach the nodes: their agents' links, or Flower's SuperLink."""

BINS_SHARE = 0.05
"""Part of μ² that private quantiles get: edges bear far more noise than the counts that the model is fitted on."""
