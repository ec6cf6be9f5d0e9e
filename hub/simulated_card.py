"""A simulation's model cards, with what only a simulation can know: exact figures on joined held-out rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.card import FORMATS, render_card
from models.card_content import CardFacts, ExactFigures
from models.card_curves import exact_roc
from models.codes import DEFAULTED, PERFORMING
from models.evaluation import calibration_table, histogram_metrics, score_histogram
from models.i18n import LANGUAGES
from models.tables import FloatArray

_CUTS = 400


def exact_figures(
    scores: FloatArray,
    pd: FloatArray,
    outcomes: NDArray[np.integer],
    *,
    others: Mapping[str, float],
    scorecard: bool,
) -> ExactFigures:
    """Figures of held-out merchants.

    Args:
        scores: (n,), higher is safer.
        pd: (n,) predicted probabilities of default.
        outcomes: (n,) codes of `models.bins`.
        others: name → AUC of other models on the same rows.
        scorecard: whether scores are points, which have public bins.

    Raises:
        DataError: one class has no merchants.
    """
    # Every score its own bin (an encoder's finely cut): nothing is lost, and the bootstrap gives the interval.
    cuts = np.unique(scores) if scorecard else np.unique(np.quantile(scores, np.linspace(0, 1, _CUTS)))
    place = np.searchsorted(cuts, scores)
    counts = [np.bincount(place[outcomes == each], minlength=len(cuts) + 1) for each in (DEFAULTED, PERFORMING)]
    fine = histogram_metrics(np.stack(counts, axis=1), 0.0)
    return ExactFigures(
        auc=fine.auc,
        ks=fine.ks,
        held_out=int(sum(count.sum() for count in counts)),
        roc=exact_roc(scores, outcomes),
        calibration=tuple(calibration_table(pd, outcomes)),
        histogram=score_histogram(scores.astype(np.int64), outcomes).astype(np.float64) if scorecard else None,
        others=dict(others),
    )


def write_cards(folder: Path, facts: CardFacts) -> None:
    """Writes `model_card.md` and `.html`, and in Chinese `model_card.zh.md` and `.html`."""
    for lang in LANGUAGES:
        name = "model_card.zh" if lang == "zh" else "model_card"
        for form in FORMATS:
            (folder / f"{name}.{form}").write_text(render_card(facts, lang, form), encoding="utf-8")
