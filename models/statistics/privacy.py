"""What a report of programme statistics cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportPrivacy:
    """What the report cost: ε of each merchant, None without noise; δ; colluding nodes withstood."""

    epsilon: float | None
    delta: float
    t_collude: int
