"""Two models beside each other, as `digua-hub model compare` prints them."""

from __future__ import annotations

from typing import Any

from hub import console
from models.card_voice import signed

CHANGES = {
    "added": "added",
    "removed": "removed",
    "bins": "other bins",
    "points": "other points",
}
"""What differs in a feature (`models.comparison.Change`), as a text of the catalogue."""

FIGURES = {"AUC": "AUC", "KS": "KS", "calibration": "Defaults observed for each one predicted"}
"""Figures of a comparison, as texts of the catalogue."""


def show_comparison(found: dict[str, Any]) -> None:
    """Print what GET /v1/models/{model_id}/comparison answers."""
    rows = [
        (console.text("Epsilon"), *(_number(each) for each in found["epsilon"]), ""),
        (console.text("Delta"), *(_number(each) for each in found["delta"]), ""),
        (console.text("Epsilon of the evaluation"), *(_number(each) for each in found["evaluation_epsilon"]), ""),
        (console.text("Training merchants"), *found["cohort"], ""),
    ]
    for figure in found["figures"]:
        verdict = "more than noise" if figure["beyond_noise"] else "within noise"
        change = f"{figure['difference']:+.4f} ({figure['low']:+.3f} – {figure['high']:+.3f})"
        sides = (_interval(figure[side]) for side in ("before", "after"))
        rows.append((console.text(FIGURES[figure["name"]]), *sides, f"{change}, {console.text(verdict)}"))
    console.show_table("Comparison", ("Figure", "Before", "After", "Difference"), rows)
    if not found["figures"]:
        console.say("AUC, KS and calibration can be compared once both models were evaluated.")
    if (stability := found["stability"]) is not None:
        console.say(
            "Stability index of the scores: {index}; without any move, noise alone stays below {noise} nineteen times"
            " in twenty.",
            index=f"{stability['index']:.3f}",
            noise=f"{stability['noise']:.3f}",
        )
    console.say("Both have the same schema." if found["same_schema"] else "Their schemas differ.")
    lines = [line for feature in found["features"] for line in _lines(feature)]
    if lines:
        console.show_table("Features that differ", ("Source", "Feature", "Change", "Bin", "Before", "After"), lines)
    console.say("{count} features have the same bins and points in both.", count=found["same_points"])


def _lines(feature: dict[str, Any]) -> list[tuple[object, ...]]:
    head = (feature["source"], feature["title"], console.text(CHANGES[feature["change"]]))
    if not feature["bins"]:
        return [(*head, "–", "–", "–")]
    rows = [(each["label"], signed(each["before"]), signed(each["after"])) for each in feature["bins"]]
    return [(*head, *rows[0]), *(("", "", "", *row) for row in rows[1:])]


def _interval(of: dict[str, float]) -> str:
    return f"{of['value']:.4f} ({of['low']:.3f} – {of['high']:.3f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
