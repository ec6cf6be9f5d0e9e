"""Would the same merchants under other noise have given the same scorecard? Refits of the table with noise drawn anew.

The noise that is in the table cannot be taken out, so it is drawn once more on top of it (parametric bootstrap): how
far refits are from the model tells, to first order, how far the model is from one without noise. Scores are compared
over merchants drawn from the table itself (`models.reference`): their pairs of features are the table's, and nobody's
rows are touched. All of it is post-processing of what is published, and draws start from the table's digest, so that
whoever has the table gets the same figures.

Not in it: that other merchants would have been sampled. Intervals of WoE and IV allow for that, these figures do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import FitError
from models.fit_options import FitOptions
from models.scorecard import Scorecard, band_of
from models.tables import FloatArray, OpenedTable

_REFITS = 20
_ROWS = 20_000
_LEAST = 5


@dataclass(frozen=True)
class FeatureStability:
    """How much a feature's points vary from refit to refit.

    Attributes:
        points: of the model, one a bin.
        spread: standard deviation of each bin's points over the refits, about the model's.
    """

    kind: str
    name: str
    points: tuple[int, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True)
class NoiseStability:
    """A model and its refits.

    Attributes:
        refits: that gave a model.
        failed: that gave none, for the noise hid every association.
        correlation: rank correlation (Spearman) of the scores with the model's, mean over the refits.
        least: the same of the refit that is farthest from the model.
        same_band: mean share of merchants whose band is the model's.
        score_spread: standard deviation of one merchant's score over the refits, root mean square over merchants.
        features: in the order of the model.
    """

    refits: int
    failed: int
    correlation: float
    least: float
    same_band: float
    score_spread: float
    features: tuple[FeatureStability, ...]


def stability_of(
    table: OpenedTable, card: Scorecard, options: FitOptions | None = None, *, refits: int = _REFITS, rows: int = _ROWS
) -> NoiseStability | None:
    """Refit a table with noise drawn anew.

    Args:
        table: that the scorecard was fitted on.
        card: the scorecard.
        options: it was fitted with.
        refits, rows: how many refits, and merchants to compare scores of.

    Returns:
        None where the table has no noise, or fewer than five refits gave a model.

    Raises:
        FitError: the table itself cannot be fitted.
    """
    from models.reference import PublishedPopulation, by_kind  # noqa: PLC0415  (who shows models need not fit them)
    from models.scorecard_fit import train  # noqa: PLC0415

    if table.sigma_class <= 0 or table.sigma_pair <= 0:
        return None
    rng = np.random.default_rng(int(table.digest()[:16], 16))
    codes = by_kind(table.features, PublishedPopulation(table).draw(rows, rng).codes)
    scores = card.score(codes)
    bands = band_of(card.pd_of(scores))
    found, failed = [], 0
    for _ in range(refits):
        try:
            found.append(train(table.with_gaussian_noise(rng, table.sigma_class, table.sigma_pair), options))
        except FitError:
            failed += 1
    if len(found) < _LEAST:
        return None
    others = np.stack([each.score(codes) for each in found])
    correlations = [rank_correlation(scores, each) for each in others]
    same = [float((band_of(one.pd_of(each)) == bands).mean()) for one, each in zip(found, others, strict=True)]
    features = tuple(
        FeatureStability(
            kind=entry.feature.kind,
            name=entry.feature.name,
            points=entry.points,
            spread=_spread(entry.points, [each.features[at].points for each in found]),
        )
        for at, entry in enumerate(card.features)
    )
    return NoiseStability(
        refits=len(found),
        failed=failed,
        correlation=float(np.mean(correlations)),
        least=float(np.min(correlations)),
        same_band=float(np.mean(same)),
        score_spread=float(np.sqrt(((others - scores) ** 2).mean())),
        features=features,
    )


def rank_correlation(one: NDArray[np.integer] | FloatArray, two: NDArray[np.integer] | FloatArray) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary."""
    from scipy.stats import spearmanr  # noqa: PLC0415  (agents that hold models need not load it)

    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(spearmanr(one, two).statistic)


def _spread(points: tuple[int, ...], refits: list[tuple[int, ...]]) -> tuple[float, ...]:
    apart = np.array(refits, dtype=np.float64) - np.array(points, dtype=np.float64)
    return tuple(float(each) for each in np.sqrt((apart**2).mean(axis=0)))
