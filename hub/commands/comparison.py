"""Two models beside each other, as `digua-hub model compare` prints them."""

from __future__ import annotations

from collections.abc import Sequence
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

READINGS = {"stable": "stable", "unclear": "unclear", "moved": "moved", "moved-much": "moved much"}
"""What may be said of a stability index (`models.drift.Reading`), as a text of the catalogue."""

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
            "Stability index of the scores: {index} ({low} – {high}), {reading}.",
            index=f"{stability['value']:.3f}",
            low=f"{stability['low']:.3f}",
            high=f"{stability['high']:.3f}",
            reading=console.text(READINGS[stability["reading"]]),
        )
    _show_drift(found["drift"])
    _show_migration(found["migration"])
    if (correlation := found["points_correlation"]) is not None:
        console.say("Rank correlation of points over common bins: {value}.", value=f"{correlation:.3f}")
    console.say("Both have the same schema." if found["same_schema"] else "Their schemas differ.")
    changed = sorted(found["features"], key=lambda each: -greatest_change(each))
    lines = [line for feature in changed for line in _lines(feature)]
    if lines:
        console.show_table("Features that differ", ("Source", "Feature", "Change", "Bin", "Before", "After"), lines)
    console.say("{count} features have the same bins and points in both.", count=found["same_points"])
    for text in found["unknown"]:
        console.echo(text)
    console.say("Advice: {text}", text=found["advice"]["text"])
    for reason in found["advice"]["reasons"]:
        console.echo(f"  · {reason}")


def greatest_change(feature: dict[str, Any]) -> int:
    """Points of the bin that changed most; features that only one has, or has in other bins, come first."""
    if feature["change"] != "points":
        return 1000
    return max(abs(int(each["after"]) - int(each["before"])) for each in feature["bins"])


def _show_drift(drift: Sequence[dict[str, Any]]) -> None:
    if not drift:
        return
    rows = [
        (
            each["kind"],
            each["name"],
            "–" if each["index"] is None else f"{each['index']['value']:.3f}",
            "–" if each["index"] is None else f"{each['index']['low']:.3f} – {each['index']['high']:.3f}",
            console.text(READINGS[each["reading"]]),
        )
        for each in drift
    ]
    titles = ("Kind", "Feature", "Stability index", "95 % interval", "Reading")
    console.show_table("Drift between the private tables", titles, rows)


def _show_migration(migration: dict[str, Any] | None) -> None:
    if migration is None:
        return
    bands = migration["bands"]
    rows = [(band, *(f"{share:.1%}" for share in row)) for band, row in zip(bands, migration["shares"], strict=True)]
    console.show_table("Estimated moves between bands (before, after)", ("Band", *bands), rows)
    console.say(
        "{same} stay in their band, {safer} get a safer one, {riskier} a riskier one; rank correlation of scores "
        "{value}.",
        same=f"{migration['same']:.1%}",
        safer=f"{migration['safer']:.1%}",
        riskier=f"{migration['riskier']:.1%}",
        value=f"{migration['correlation']:.3f}",
    )


def show_stability(found: dict[str, Any]) -> None:
    """Print what GET /v1/models/{model_id}/stability answers."""
    console.say(
        "Rank correlation of scores over {count} refits with other noise: {mean} on average, {least} at least.",
        count=found["refits"],
        mean=f"{found['correlation']:.3f}",
        least=f"{found['least']:.3f}",
    )
    console.say(
        "{share} of merchants keep their band; one merchant's score has a standard deviation of {points} points.",
        share=f"{found['same_band']:.0%}",
        points=f"{found['score_spread']:.1f}",
    )
    if found["failed"]:
        console.say("{count} refits gave no model: the noise hid every association.", count=found["failed"])
    features = sorted(found["features"], key=lambda each: min(each["points"]) - max(each["points"]))
    rows = [
        (
            each["kind"],
            each["name"],
            max(each["points"]) - min(each["points"]),
            f"{sum(each['spread']) / len(each['spread']):.1f}",
            f"{max(each['spread']):.1f}",
        )
        for each in features
    ]
    titles = ("Kind", "Feature", "Span of points", "Mean deviation of a bin", "Greatest deviation of a bin")
    console.show_table("Points that come from noise", titles, rows)


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
