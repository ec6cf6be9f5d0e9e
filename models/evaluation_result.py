"""What an evaluation stage found (docs/protocol.md, 6): counts of held-out merchants with noise, and what they tell.

Everything here is published: the counts carry their noise, and the rest is computed from them and from public terms
alone, so that anyone can compute it again.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
ModelId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Closed):
    """A figure from 0 to 1 and its 95 % interval, which allows for the sample and for the noise."""

    value: Share
    low: Share
    high: Share

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is greater than high")
        return self


class ScoreBand(_Closed):
    """Held-out merchants whose scores lie from `score_low` to `score_high`, both included.

    Attributes:
        count_good, count_bad: who performed and who defaulted, with noise; they may be negative.
        predicted_pd: the model's probability of default over this band.
        observed: share that defaulted; None where the noise leaves nothing to be said.
    """

    score_low: int
    score_high: int
    count_good: float
    count_bad: float
    predicted_pd: Share
    observed: Estimate | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.score_low > self.score_high:
            raise ValueError("score_low is greater than score_high")
        return self


class GroupResult(_Closed):
    """One group of merchants, e.g. a kind of business: are they ranked and judged alike?

    Attributes:
        count_good, count_bad: as in a band.
        default_rate, mean_pd, approved, auc: None where the noise leaves nothing to be said; `mean_pd` is the mean
            predicted probability of default.
        approved: share with a predicted PD below the result's `approval_pd`.
    """

    group: Annotated[str, Field(min_length=1, max_length=80)]
    count_good: float
    count_bad: float
    mean_pd: Estimate | None = None
    default_rate: Estimate | None = None
    approved: Estimate | None = None
    auc: Estimate | None = None


class EvaluationResult(_Closed):
    """An evaluation stage's result for one model.

    Attributes:
        model_id: the model whose scores were counted.
        campaign: of the evaluation, whose terms and log entries show how it was done.
        attempt: whose opened sum this is.
        noise: ``off`` only for synthetic data.
        sigma: standard deviation of the noise on each count; 0 without noise.
        epsilon, delta: of this stage alone, replaced-by-empty; None without noise.
        bands: from the lowest score to the highest.
        groups: one list for each grouping, by its name.
        approval_pd: predicted PD below which a group's member counts as approved.
        nodes: parties that counted.
    """

    model_id: ModelId
    campaign: Annotated[str, Field(min_length=1, max_length=128)]
    attempt: Annotated[str, Field(min_length=1, max_length=128)]
    noise: Literal["on", "off"]
    sigma: Annotated[float, Field(ge=0)]
    epsilon: Annotated[float, Field(gt=0)] | None = None
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    auc: Estimate
    ks: Estimate
    bands: Annotated[tuple[ScoreBand, ...], Field(min_length=2)]
    groups: dict[str, tuple[GroupResult, ...]] = {}
    approval_pd: Share = 0.10
    nodes: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.noise == "on") != (self.sigma > 0 and self.epsilon is not None and self.delta is not None):
            raise ValueError("sigma, epsilon and delta are stated exactly when noise is on")
        edges = [edge for band in self.bands for edge in (band.score_low, band.score_high)]
        if edges != sorted(edges):
            raise ValueError("bands are not in order of their scores")
        return self
