"""Champion and challenger: which of two models to use, and why, in words.

A challenger takes over only where it is better by more than chance and noise: a change costs a release, new cut-offs
and explanations to customers. A person decides; this is what the figures say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.card_voice import Voice
from models.drift import FeatureDrift
from models.figure_change import FigureChange

Verdict: TypeAlias = Literal["evaluate", "promote", "keep", "recalibrate"]
VERDICTS: dict[Verdict, str] = {
    "evaluate": "Evaluate both before choosing.",
    "promote": "Use the newer model.",
    "keep": "Keep the older model.",
    "recalibrate": "Do not use the newer model yet: its probabilities are off.",
}
"""Verdict → message id."""


@dataclass(frozen=True)
class Advice:
    """What the figures say, in the reader's language.

    Attributes:
        verdict: stable, machine-readable.
        text: it in words.
        reasons: why, and what to beware of.
    """

    verdict: Verdict
    text: str
    reasons: tuple[str, ...]


def advice_of(
    say: Voice, figures: Sequence[FigureChange], drift: Sequence[FeatureDrift], *, same_evaluation: bool
) -> Advice:
    """Weigh the figures of an older model, the champion, and a newer one, the challenger."""
    known = {each.name: each for each in figures}
    auc, calibration = known.get("AUC"), known.get("calibration")
    reasons: list[str] = []
    verdict: Verdict
    if auc is None:
        verdict = "evaluate"
        reasons.append(say("One of them has no private evaluation, so nothing shows which ranks better."))
    elif auc.high < 0:
        verdict = "keep"
        reasons.append(say("The newer model ranks worse: AUC {change}, more than noise.", change=_change(auc)))
    elif calibration is not None and not calibration.after.low <= 1 <= calibration.after.high:
        verdict = "recalibrate"
        reasons.append(
            say(
                "For each default that the newer model predicts, {ratio} were observed ({low} – {high}).",
                ratio=f"{calibration.after.value:.2f}",
                low=f"{calibration.after.low:.2f}",
                high=f"{calibration.after.high:.2f}",
            )
        )
    elif auc.low > 0:
        verdict = "promote"
        reasons.append(say("The newer model ranks better: AUC {change}, more than noise.", change=_change(auc)))
    else:
        verdict = "keep"
        reasons.append(say("Their AUC differs by {change}: within noise, so no gain is shown.", change=_change(auc)))
        reasons.append(
            say(
                "A gain of less than about {least} could not be told from noise in evaluations of this size.",
                least=f"{(auc.high - auc.low) / 2:.3f}",
            )
        )
    if auc is not None and not same_evaluation:
        reasons.append(
            say("They were evaluated on other merchants at other times: what changed in the population is in it too.")
        )
    moved = sum(each.reading in ("moved", "moved-much") for each in drift)
    if moved:
        reasons.append(
            say(
                "The population has moved in {count} features since the older model was trained: evaluate the older "
                "model again before keeping it.",
                count=moved,
            )
        )
    return Advice(verdict, say(VERDICTS[verdict]), tuple(reasons))


def _change(figure: FigureChange) -> str:
    return f"{figure.difference:+.3f} ({figure.low:+.3f} – {figure.high:+.3f})".replace("-", "−")
