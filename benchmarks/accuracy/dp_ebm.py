"""DP-EBM (Nori et al. 2021, `interpret`): the private learner that a bank would most likely pick instead.

Its guarantee is (ε, δ)-DP for adding or removing one row, its noise Gaussian and composed by Gaussian DP. Ours is for
replacing one merchant's rows by empty ones, which moves every count that a row enters by one, as removing it does: the
two can be compared.

The library splits ε and δ between bins and boosting and adds the two parts up. `joint` composes both as Gaussians
instead (μ² adds up), which the mechanism allows and which gives it more: the tuned rival gets that.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import brentq

from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.sets import Part, Split, public_range
from models.accounting import gdp_budget
from models.derived_values import derived_values

_GRID = 31
"""Steps into which the library cuts a range at its default of 32 bins, halved once."""


@dataclass(frozen=True)
class Setting:
    """What can be chosen without looking at private rows.

    Attributes:
        learning_rate, max_rounds, max_leaves: of the boosting.
        bin_share: part of ε for the noisy bin sizes.
        least_bin: on public bins: levels with fewer rows than this (noise included) are joined.
        joint: compose bins and boosting as Gaussians, instead of adding up their ε and δ.
    """

    learning_rate: float = 0.01
    max_rounds: int = 300
    max_leaves: int = 3
    bin_share: float = 0.1
    least_bin: float = 30.0
    joint: bool = True

    def plain(self) -> dict[str, float | bool]:
        """For files."""
        return asdict(self)


def defaults(split: Split, epsilon: float, delta: float, seed: int) -> Prediction:
    """DP-EBM as it comes, on the columns as they are; only types and public ranges are given.

    A missing number stands a step below the range, since the library takes no missing values.
    """
    train, types, bounds = _raw(split, split.train)
    test, _, _ = _raw(split, split.test)
    model = _classifier(
        feature_types=types,
        privacy_bounds={index: bound for index, bound in enumerate(bounds) if bound is not None},
        epsilon=epsilon,
        delta=delta,
        random_state=seed,
    )
    _fit(model, train, split.train.bad)
    return Prediction.of_pd(model.predict_proba(test)[:, 1])


def on_public_bins(split: Split, setting: Setting, epsilon: float, delta: float, seed: int) -> Prediction:
    """DP-EBM on the very bins that our tables count: every level is public, so no budget finds cuts."""
    train, test = split.joined(split.train), split.joined(split.test)
    levels = [[str(code) for code in range(feature.width + 1)] for feature in split.features]
    given = outer_epsilon(setting, epsilon, delta) if setting.joint else epsilon
    model = _classifier(
        feature_types=[
            names if feature.ordinal else "nominal" for feature, names in zip(split.features, levels, strict=True)
        ],
        max_bins=max(3, int(len(train) / setting.least_bin) + 1),
        learning_rate=setting.learning_rate,
        max_rounds=setting.max_rounds,
        max_leaves=setting.max_leaves,
        bin_budget_frac=setting.bin_share,
        epsilon=given,
        delta=delta,
        random_state=seed,
    )
    _fit(model, _text(train), split.train.bad)
    return Prediction.of_pd(model.predict_proba(_text(test))[:, 1])


def outer_epsilon(setting: Setting, epsilon: float, delta: float) -> float:
    """The ε to give to the library so that its bins and boosting together are (ε, δ)-DP, composed as Gaussians.

    The library calibrates each part to half of δ: bins to μ(share·x, δ/2), boosting to μ((1 − share)·x, δ/2).
    """
    whole = gdp_budget(epsilon, delta)

    def excess(given: float) -> float:
        parts = [gdp_budget(share * given, delta / 2) for share in (setting.bin_share, 1 - setting.bin_share)]
        return float(np.hypot(*parts)) - whole  # type: ignore[call-overload]  # the stubs count no starred arguments

    return float(brentq(excess, epsilon / 4, 4 * epsilon, xtol=1e-6))


def _classifier(**options: Any) -> Any:
    # Only the extra `bench` brings the library.
    from interpret.privacy import DPExplainableBoostingClassifier  # noqa: PLC0415

    return DPExplainableBoostingClassifier(n_jobs=1, **options)


def _fit(model: Any, rows: NDArray[np.object_], bad: NDArray[np.bool_]) -> None:
    with warnings.catch_warnings():
        # A benchmark must be repeatable; deployments must not fix the seed.
        warnings.filterwarnings("ignore", message="Privacy violation: using a fixed random_state")
        model.fit(rows, bad)


def _text(codes: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.asarray(codes.astype(str), dtype=object)


def _raw(split: Split, part: Part) -> tuple[NDArray[np.object_], list[str], list[tuple[float, float] | None]]:
    """Labelled rows as they were before binning: numbers clipped to public ranges, categories as text."""
    columns: list[NDArray[np.object_]] = []
    types: list[str] = []
    bounds: list[tuple[float, float] | None] = []
    frame = part.frame.filter(pl.Series(part.known))
    for feature in split.schema.all_features():
        spec = feature.spec
        if spec.product is not None:
            continue
        if spec.bins is None:
            columns.append(frame[feature.name].cast(pl.String).fill_null("missing").to_numpy().astype(object))
            types.append("nominal")
            bounds.append(None)
            continue
        read = (feature.name,) if spec.derived is None else spec.derived.columns
        amounts = {name: frame[name].cast(pl.Float64, strict=False).to_numpy() for name in read}
        values = amounts[feature.name] if spec.derived is None else derived_values(spec.derived, amounts)
        low, high = public_range(spec.bins, spec.range)
        missing = low - (high - low) / _GRID
        columns.append(np.where(np.isnan(values), missing, np.clip(values, low, high)).astype(object))
        types.append("continuous")
        bounds.append((missing, high))
    return np.column_stack(columns), types, bounds
