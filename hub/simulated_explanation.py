"""One merchant's explanation in a simulation: what every source would tell that merchant, here put together.

Nobody but a merchant ever holds all its sources' parts; a simulation does, as it made them from one joined table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.codes import ABSENT
from models.counterfactual import Encoder
from models.explanation import Explanation, explain, lines_of
from models.i18n import LANGUAGES
from models.schema import Schema
from models.scorecard import BANDS, Scorecard, band_of

_LOOKED_AT = 20


def example_of(
    schema: Schema,
    card: Scorecard,
    codes: Mapping[str, NDArray[np.uint8]],
    scores: NDArray[np.float64],
    encoders: Mapping[str, Encoder],
) -> Explanation | None:
    """The explanation of a merchant in the middle of those with a record everywhere and a band to rise to.

    Args:
        schema, card: the model's.
        codes: kind → (n, F_kind) bins of the schema's own features.
        scores: (n,).
        encoders: of the kinds whose encoder's output is a feature of the card.

    Returns:
        Of some merchants around the middle the first whom changes would have lifted, or else the middle one; None where
        there is no such merchant.
    """
    below = band_of(card.pd_of(scores.astype(np.int64))) != BANDS[0]
    everywhere = np.logical_and.reduce([codes[kind][:, 0] != ABSENT for kind in card.kinds])
    fit = np.flatnonzero(below & everywhere)
    if not fit.size:
        return None
    order = fit[np.argsort(np.abs(scores[fit] - np.median(scores[fit])), kind="stable")][:_LOOKED_AT]
    found = [explain(schema, card, {kind: codes[kind][row] for kind in card.kinds}, encoders=encoders) for row in order]
    return next((each for each in found if each.goal is not None and each.goal.changes), found[0])


def write_example(folder: Path, example: Explanation) -> None:
    """Writes `explanation.md`, and in Chinese `explanation.zh.md`: lines of one merchant, without its identifier."""
    for lang in LANGUAGES:
        name = "explanation.zh.md" if lang == "zh" else "explanation.md"
        (folder / name).write_text("\n\n".join(lines_of(example, lang)) + "\n", encoding="utf-8")
