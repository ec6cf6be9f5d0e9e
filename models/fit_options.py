"""The knobs of the scorecard's fit (`models.fit`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitOptions:
    """Knobs; the defaults were chosen on other splits than those reported.

    Attributes:
        ridge_noise: weight of s·√D in the prior's precision.
        common_outcome: variance r(1 − r) of the outcome, r its rate, above which c₀ and `woe_share` fall in proportion.
        ridge_count: c₀, weight of a bin's count in it where class counts are exact and the outcome is rare.
        ridge_doubles: ν₀, the noise of a class count by the mean defaulters of a bin at which c₀ is doubled.
        ridge_feature: φ, weight of a feature's own noise by its signal.
        smoothness: share of a bin's prior variance common with its neighbours.
        reach: distance in bins over which that share falls by e.
        woe_share: standard deviations of the weight-of-evidence score in the blend, per one of the ridge's, where the
            outcome is rare.
        woe_prior: pseudo-merchants that pull a bin's rate to the mean.
        woe_sharpness: neighbours enter a bin's rate with this power of their likeness in F4.
        woe_ridge: ridge of the F×F combination, as a share of each score's variance.
        log_odds_share: how far weights are bent from rates to log-odds where class counts are exact: 0 not at all, 1
            wholly.
        log_odds_halves: ν at which that is halved: the bend widens the noise of rates that are low.
        tree_share: standard deviations of the logistic score in the sum of both.
        tree_smoothness: share of a bin's prior variance in it that is one for a whole piece of its line of bins.
        tree_pieces: pieces that a line is cut into, on average.
        grid: weights are multiples of this.
    """

    ridge_noise: float = 1.0
    ridge_count: float = 0.25
    common_outcome: float = 0.0625
    ridge_doubles: float = 0.08
    ridge_feature: float = 0.5
    smoothness: float = 0.7
    reach: float = 3.0
    woe_share: float = 0.6
    woe_prior: float = 200.0
    woe_sharpness: float = 4.0
    woe_ridge: float = 0.05
    log_odds_share: float = 0.5
    log_odds_halves: float = 0.1
    tree_share: float = 0.35
    tree_smoothness: float = 0.95
    tree_pieces: float = 4.0
    grid: float = 1e-6
