"""What joined rows without privacy would give, on the same bins. Settings are chosen on the training rows alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from lightgbm import LGBMClassifier
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.sets import Split

FOLDS = 3
LOGISTIC_GRID: dict[str, list[Any]] = {"model__C": [0.01, 0.03, 0.1, 0.3, 1.0]}
LIGHTGBM_GRID: list[dict[str, list[Any]]] = [
    {"num_leaves": [4, 8, 15], "learning_rate": [0.05], "n_estimators": [150, 300], "min_child_samples": [50]},
    {"num_leaves": [4, 8, 15], "learning_rate": [0.02], "n_estimators": [400], "min_child_samples": [200]},
]


def logistic(split: Split) -> Prediction:
    """L2 logistic regression on one-hot bins; C by cross-validation."""
    widths = [range(feature.width + 1) for feature in split.features]
    steps = [
        ("bins", OneHotEncoder(categories=[list(levels) for levels in widths])),
        ("model", LogisticRegression(max_iter=1000)),
    ]
    search = GridSearchCV(Pipeline(steps), LOGISTIC_GRID, scoring="roc_auc", cv=_folds(split), n_jobs=1)
    search.fit(split.joined(split.train), split.train.bad)
    return Prediction.of_pd(search.predict_proba(split.joined(split.test))[:, 1])


def lightgbm(split: Split) -> Prediction:
    """Gradient-boosted trees on bin codes, nominal features as categories; settings by cross-validation."""
    model = LGBMClassifier(
        reg_lambda=1.0, random_state=split.seed, n_jobs=1, deterministic=True, force_row_wise=True, verbose=-1
    )
    search = GridSearchCV(model, LIGHTGBM_GRID, scoring="roc_auc", cv=_folds(split), n_jobs=1)
    nominal = [index for index, feature in enumerate(split.features) if not feature.ordinal]
    search.fit(split.joined(split.train), split.train.bad, categorical_feature=nominal)
    return Prediction.of_pd(search.predict_proba(split.joined(split.test))[:, 1])


def ebm(split: Split) -> Prediction:
    """Explainable boosting machine with its defaults (pairs included) on bin codes."""
    # Only the extra `bench` brings the library.
    from interpret.glassbox import ExplainableBoostingClassifier  # noqa: PLC0415

    types: list[Any] = [
        [str(code) for code in range(feature.width + 1)] if feature.ordinal else "nominal" for feature in split.features
    ]
    model = ExplainableBoostingClassifier(feature_types=types, random_state=split.seed, n_jobs=1)
    model.fit(_text(split.joined(split.train)), split.train.bad)
    return Prediction.of_pd(model.predict_proba(_text(split.joined(split.test)))[:, 1])


def _folds(split: Split) -> StratifiedKFold:
    return StratifiedKFold(FOLDS, shuffle=True, random_state=split.seed)


def _text(codes: NDArray[np.int64]) -> NDArray[np.object_]:
    return np.asarray(codes.astype(str), dtype=object)
