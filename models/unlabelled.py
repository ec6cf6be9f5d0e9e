"""Merchants without an outcome: how many there are, and what their defaults could be (reject inference).

The opened table counts them as not defaulted, and their number is not opened. Where an evaluation stage counted
held-out merchants with an outcome only, the two rates tell it: of N merchants P defaulted, so P/N = λ·r with λ the
share that has an outcome, and r the rate among these, which the evaluation shows. That takes merchants held out, with
consent to scores, as like the cohort. Nothing is added to the training: no outcome is made up for anyone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import FitError
from models.evaluation import Interval
from models.evaluation_result import Estimate, EvaluationResult
from models.evidence import rate_of
from models.margins import consistent_margins
from models.parity import ratio
from models.tables import OpenedTable

_Z = 1.959964


@dataclass(frozen=True)
class Unlabelled:
    """What both rates tell.

    Attributes:
        cohort: merchants trained on.
        stated: share that defaulted with everyone counted, those without an outcome as not defaulted.
        labelled_rate: share that defaulted of held-out merchants with an outcome.
        share: of the cohort that has no outcome, 0 to 1.
    """

    cohort: int
    stated: Interval
    labelled_rate: Interval
    share: Interval

    def rate_if(self, times: float) -> float:
        """Default rate of the whole cohort if merchants without an outcome default so many times as often as others."""
        return self.stated.value + self.share.value * min(times * self.labelled_rate.value, 1.0)

    @property
    def worst(self) -> float:
        """The same if all of them default."""
        return min(self.stated.value + self.share.value, 1.0)


def unlabelled_of(table: OpenedTable, evaluation: EvaluationResult) -> Unlabelled | None:
    """Estimate the share without an outcome; None where noise leaves nothing to be said of one of the rates."""
    try:
        margins = consistent_margins(table)
    except FitError:
        return None
    defaults = margins.defaults / margins.label_scale
    # P is pooled over the features of kinds that hold the whole cohort; a sum over q bins has q times the noise.
    whole = [each for each in table.features if table.kind_totals[each.kind] == table.cohort_size] or table.features
    noise = table.sigma_class / math.sqrt(sum(1 / each.width for each in whole))
    stated = defaults / table.cohort_size
    spread = _Z * math.sqrt(defaults * (1 - stated) + noise**2) / table.cohort_size
    bad, good = (sum(getattr(band, name) for band in evaluation.bands) for name in ("count_bad", "count_good"))
    rate = rate_of(bad, good, evaluation.sigma * math.sqrt(len(evaluation.bands)))
    if rate is None or rate.low <= 0 or stated - spread <= 0:
        return None
    known = Interval(stated, stated - spread, min(stated + spread, 1.0))
    labelled = ratio(_estimate(known), _estimate(rate))
    if labelled is None:
        return None
    missing = [min(max(1 - each, 0.0), 1.0) for each in (labelled.value, labelled.high, labelled.low)]
    return Unlabelled(table.cohort_size, known, rate, Interval(*missing))


def _estimate(of: Interval) -> Estimate:
    return Estimate(value=of.value, low=of.low, high=of.high)
