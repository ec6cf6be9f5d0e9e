"""What an order's result would be worth, and what it would cost over a year, before anybody is asked.

All of it comes from the order, its schema, numbers of merchants and nodes, and tables that were published before: no
row is touched, and nothing is charged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crypto.wire.campaign import PrivacyTerms, Stage, TablesMechanism
from hub import plan_warnings
from hub.campaign_errors import CampaignOrderError
from hub.evaluation_terms import campaign_mechanisms
from hub.expected_counts import Cells, ExpectedCounts, Noise, assumed_cells, published_cells
from hub.plan_warnings import PlanWarning
from hub.published_tables import PublishedTable
from hub.yearly_cost import Composition, composed
from models.accounting import gdp_epsilon, gdp_mu, usable_delta
from models.campaign_file import CampaignFile, EvaluationOptions
from models.encoder_scores import ENCODER_FEATURE_WIDTH
from models.errors import BudgetError, FitError
from models.expected_loss import LossModel, best_share
from models.reference import AssumedPopulation, Assumptions, Population, PublishedPopulation
from models.schema import Schema
from models.tables import FeatureBins, feature_bins

YEARLY = (1, 2, 4, 12)
MOST_CAMPAIGNS = 366
SHARES = (0.3, 0.4, 0.5)
"""Of pair_share: what is best on real tables lies here, where losses are flat (docs/privacy.md)."""
_DEFAULT_BANDS = EvaluationOptions().bands


@dataclass(frozen=True)
class Wishes:
    """What a planner asks for beside the order.

    Attributes:
        campaigns: a year.
        default_rate: expected; of the newest table, or 5 %, where None.
        limit: ε that the owners of the nodes have set, where it is known.
        target: loss of AUC that would be acceptable.
    """

    campaigns: int = 4
    default_rate: float | None = None
    limit: float | None = None
    target: float = 0.005

    def __post_init__(self) -> None:
        """CampaignOrderError where a figure is out of range."""
        wrong = (
            ("campaigns", not 1 <= self.campaigns <= MOST_CAMPAIGNS, f"from 1 to {MOST_CAMPAIGNS}"),
            (
                "default_rate",
                self.default_rate is not None and not 0 < self.default_rate <= 0.5,
                "above 0, at most 0.5",
            ),
            ("limit", self.limit is not None and not 0 < self.limit <= 100, "above 0, at most 100"),
            ("target", not 0 < self.target < 0.5, "above 0, below 0.5"),
        )
        for field, out, words in wrong:
            if out:
                raise CampaignOrderError(
                    f"{field} {getattr(self, field)} is out of range.", field=field, remedy=f"Use a number {words}."
                )


@dataclass(frozen=True)
class Audience:
    """Who would take part.

    Attributes:
        trained, held_out: merchants.
        present: kind → share of the merchants with a record there.
        nodes: kind → number of nodes.
    """

    trained: int
    held_out: int
    present: Mapping[str, float]
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class Rounds:
    """Noise of an encoder's rounds, in units of the largest contribution of one merchant."""

    rounds: int
    noise: Noise


@dataclass(frozen=True)
class ExpectedLoss:
    """What the tables' noise is expected to cost.

    Attributes:
        auc: lost.
        error: its standard error over the populations tried; how far such figures are off is in docs/privacy.md.
        target: the loss that is wanted.
        epsilon_needed, merchants_needed: what reaches it, each with the other as it is; None where nothing does that is
            within an eighth of the noise or eight times the merchants, or ε is more than δ and nodes allow.
        pair_share: that loses least.
        by_pair_share: pair_share → loss.
        encoder_price: the part of it that comes of what an encoder before the tables takes of the budget; None without.
    """

    auc: float
    error: float
    target: float
    epsilon_needed: float | None
    merchants_needed: int | None
    pair_share: float
    by_pair_share: Mapping[float, float]
    encoder_price: float | None


@dataclass(frozen=True)
class Forecast:
    """All that is foretold of an order.

    Attributes:
        basis: where the population comes from.
        from_campaign: whose table it was.
        default_rate: that was taken.
        counts: of the scorecard stage and, last, of an evaluation.
        loss: None where no table would be opened, or no model can come of it.
        yearly: compositions in order of their number.
    """

    basis: Literal["assumed", "published"]
    from_campaign: str | None
    default_rate: float
    counts: tuple[ExpectedCounts, ...]
    rounds: Rounds | None
    loss: ExpectedLoss | None
    yearly: tuple[Composition, ...]
    warnings: tuple[PlanWarning, ...]


def forecast(
    order: CampaignFile,
    schema: Schema,
    privacy: PrivacyTerms,
    audience: Audience,
    *,
    wishes: Wishes,
    published: PublishedTable | None = None,
) -> Forecast:
    """Foretell an order's result.

    Args:
        order, schema: what is ordered.
        privacy: that its terms would state.
        audience: who would take part.
        wishes: further figures.
        published: the newest table of the same schema, if any.
    """
    ground = _Ground.of(order, schema, audience, wishes, published)
    counts, loss = _scorecard(order, privacy, audience, wishes, ground)
    counts += _evaluation(order, privacy, audience, ground)
    defaults = ground.default_rate * audience.trained
    warnings: list[PlanWarning] = []
    if privacy.noise == "off":
        warnings.append(plan_warnings.noise_off())
    if defaults < plan_warnings.LEAST_DEFAULTS:
        warnings.append(plan_warnings.defaults_few(defaults))
    if loss is not None:
        warnings += _of_loss(order, loss)
    warnings += _of_counts(counts)
    return Forecast(
        basis=ground.basis,
        from_campaign=ground.from_campaign,
        default_rate=ground.default_rate,
        counts=counts,
        rounds=_rounds(privacy, audience, schema),
        loss=loss,
        yearly=yearly(privacy, wishes.campaigns),
        warnings=tuple(warnings),
    )


def yearly(privacy: PrivacyTerms, campaigns: int) -> tuple[Composition, ...]:
    """What 1, 2, 4, 12 and so many such campaigns cost together; nothing where noise is off."""
    if privacy.noise == "off":
        return ()
    mechanisms = campaign_mechanisms(privacy.mechanisms)
    return tuple(
        Composition(
            times,
            composed(mechanisms, times, delta=privacy.delta, delta_sum=privacy.delta_sum),
            times * privacy.epsilon,
        )
        for times in sorted({*YEARLY, campaigns})
    )


@dataclass(frozen=True)
class _Ground:
    """What the forecast stands on."""

    basis: Literal["assumed", "published"]
    from_campaign: str | None
    default_rate: float
    population: Population
    cells: Cells

    @classmethod
    def of(
        cls,
        order: CampaignFile,
        schema: Schema,
        audience: Audience,
        wishes: Wishes,
        published: PublishedTable | None,
    ) -> _Ground:
        if published is not None:
            try:
                like = PublishedPopulation(published.table)
                cells = published_cells(published.table, audience.trained)
            except FitError:
                pass  # a table of which no model came tells too little of its merchants
            else:
                return cls("published", published.campaign_id, like.default_rate, like, cells)
        rate = wishes.default_rate or Assumptions().default_rate
        features = _features(order, schema)
        present = {kind: audience.present.get(kind, 1.0) for kind in schema.kinds_in_order()}
        assumed = AssumedPopulation(features, Assumptions(default_rate=rate), present)
        return cls("assumed", None, rate, assumed, assumed_cells(features, audience.trained, present, rate))


def _features(order: CampaignFile, schema: Schema) -> tuple[FeatureBins, ...]:
    encoder = {schema.label.kind: ENCODER_FEATURE_WIDTH} if {"encoder", "scorecard"} <= set(order.stages) else None
    return feature_bins(schema, encoder)


def _scorecard(
    order: CampaignFile, privacy: PrivacyTerms, audience: Audience, wishes: Wishes, ground: _Ground
) -> tuple[tuple[ExpectedCounts, ...], ExpectedLoss | None]:
    """Counts of the tables and the loss; neither where there is no scorecard stage."""
    if "scorecard" not in order.stages:
        return (), None
    sigmas = _sigmas(privacy, "scorecard")
    nodes = sum(audience.nodes.values())
    classes, pairs = (Noise.of(sigma, nodes, privacy.t_collude) for sigma in (sigmas[0], sigmas[-1]))
    counts = ground.cells.counts(classes, pairs)
    if privacy.noise == "off":
        return counts, None
    try:
        model = LossModel(ground.population, audience.trained)
    except FitError:
        return counts, None  # too few defaults, which is a warning of its own
    return counts, _loss(order, privacy, audience, wishes, model, classes.opened, pairs.opened)


def _loss(
    order: CampaignFile,
    privacy: PrivacyTerms,
    audience: Audience,
    wishes: Wishes,
    model: LossModel,
    sigma_class: float,
    sigma_pair: float,
) -> ExpectedLoss:
    here = model.at(sigma_class, sigma_pair)
    multiple = model.curve(sigma_class, sigma_pair).multiple_for(wishes.target)
    shares = sorted({*SHARES, order.pair_share})
    now = order.pair_share
    sigmas = [
        (sigma_class * math.sqrt((1 - now) / (1 - share)), sigma_pair * math.sqrt(now / share)) for share in shares
    ]
    best, losses = best_share(model, sigmas)
    alone = math.sqrt(1 - order.encoder_share) if "encoder" in order.stages else 1.0
    return ExpectedLoss(
        auc=here.mean,
        error=here.error,
        target=wishes.target,
        epsilon_needed=None if multiple is None else _epsilon_at(privacy, multiple),
        merchants_needed=None if multiple is None else round(_rounded_up(_all(audience) / multiple)),
        pair_share=shares[best],
        by_pair_share={share: loss.mean for share, loss in zip(shares, losses, strict=True)},
        encoder_price=here.mean - model.at(alone * sigma_class, alone * sigma_pair).mean if alone < 1 else None,
    )


def _epsilon_at(privacy: PrivacyTerms, multiple: float) -> float | None:
    """ε of the campaign with so many times the noise, rounded up to two digits; None where it could not be ordered."""
    try:
        epsilon = gdp_epsilon(gdp_mu(campaign_mechanisms(privacy.mechanisms)) / multiple, privacy.delta)
        rounded = _rounded_up(max(epsilon, 0.01))
        usable_delta(rounded, privacy.delta, privacy.delta_sum)
    except BudgetError:
        return None
    return rounded


def _rounded_up(value: float) -> float:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 9)


def _all(audience: Audience) -> int:
    return audience.trained + audience.held_out


def _evaluation(
    order: CampaignFile, privacy: PrivacyTerms, audience: Audience, ground: _Ground
) -> tuple[ExpectedCounts, ...]:
    """The defaulted counts of an evaluation's bands, which tell its AUC."""
    sigmas = _sigmas(privacy, "evaluation")
    if "evaluation" not in order.stages:
        return ()
    bands = order.evaluation.bands if order.evaluation else _DEFAULT_BANDS
    noise = Noise.of(sigmas[0], sum(audience.nodes.values()), privacy.t_collude)
    mean = ground.default_rate * audience.held_out / bands
    signal = mean / noise.opened if noise.opened > 0 else None
    return (ExpectedCounts("bands", bands, noise, mean, mean, signal, float(mean < 2 * noise.opened)),)


def _rounds(privacy: PrivacyTerms, audience: Audience, schema: Schema) -> Rounds | None:
    for each in privacy.mechanisms:
        if not isinstance(each, TablesMechanism):
            nodes = audience.nodes.get(schema.label.kind, 1)
            return Rounds(each.rounds, Noise.of(each.sigma_over_sensitivity, nodes, privacy.t_collude))
    return None


def _sigmas(privacy: PrivacyTerms, stage: Stage) -> list[float]:
    """σ of a stage's counts; 0 where noise is off."""
    found = [each.sigma for each in privacy.mechanisms if isinstance(each, TablesMechanism) and each.stage == stage]
    return found or [0.0]


def _of_loss(order: CampaignFile, loss: ExpectedLoss) -> list[PlanWarning]:
    found: list[PlanWarning] = []
    if loss.auc > plan_warnings.MOST_LOSS:
        found.append(plan_warnings.loss_large(loss.auc, loss.target, loss.epsilon_needed, loss.merchants_needed))
    if loss.encoder_price is not None and loss.encoder_price > plan_warnings.MOST_ENCODER_PRICE:
        found.append(plan_warnings.encoder_dear(loss.encoder_price))
    now, least = loss.by_pair_share[order.pair_share], loss.by_pair_share[loss.pair_share]
    if now - least > plan_warnings.LEAST_GAIN and now > plan_warnings.LEAST_RATIO * least:
        found.append(plan_warnings.pair_share(order.pair_share, now, loss.pair_share, least))
    return found


def _of_counts(counts: tuple[ExpectedCounts, ...]) -> list[PlanWarning]:
    found: list[PlanWarning] = []
    for each in counts:
        if each.of == "bands":
            if each.drowned:
                found.append(plan_warnings.bands_thin(each.mean, each.noise.opened))
        elif each.drowned > plan_warnings.MOST_DROWNED:
            found.append(plan_warnings.counts_drowned(each.of, each.drowned, each.noise.opened))
    return found
