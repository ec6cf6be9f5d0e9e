"""What joined rows without privacy would give: logistic regression and LightGBM on the same bins.

For simulations and benchmarks, where one process holds everything; no deployment can run these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.codes import DEFAULTED, PERFORMING
from models.evaluation import auc
from models.tables import FeatureBins, KindCodes, joined_codes


def auc_nonprivate(
    features: Sequence[FeatureBins],
    train: KindCodes,
    train_outcomes: NDArray[np.integer],
    test: KindCodes,
    test_outcomes: NDArray[np.integer],
) -> float:
    """Held-out AUC of an L2 logistic regression on the joined one-hot bins (C = 1)."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    known = _known(train_outcomes)
    model = LogisticRegression(C=1.0, max_iter=1000)
    model.fit(_one_hot(features, train, len(train_outcomes))[known], train_outcomes[known] == DEFAULTED)
    risk = model.decision_function(_one_hot(features, test, len(test_outcomes)))
    return auc(-np.asarray(risk), test_outcomes)


def auc_lightgbm(
    features: Sequence[FeatureBins],
    train: KindCodes,
    train_outcomes: NDArray[np.integer],
    test: KindCodes,
    test_outcomes: NDArray[np.integer],
    *,
    seed: int = 0,
) -> float:
    """Held-out AUC of gradient-boosted trees on the joined bin codes; nominal features as categories."""
    from lightgbm import LGBMClassifier  # noqa: PLC0415

    known = _known(train_outcomes)
    model = LGBMClassifier(
        n_estimators=200,
        learning_rate=0.05,
        num_leaves=15,
        min_child_samples=50,
        reg_lambda=1.0,
        random_state=seed,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    rows = joined_codes(features, train, len(train_outcomes))[known]
    nominal = [index for index, feature in enumerate(features) if not feature.ordinal]
    model.fit(rows, train_outcomes[known] == DEFAULTED, categorical_feature=nominal)
    risk = model.predict_proba(joined_codes(features, test, len(test_outcomes)))[:, 1]
    return auc(-np.asarray(risk), test_outcomes)


def _known(outcomes: NDArray[np.integer]) -> NDArray[np.bool_]:
    return np.asarray((outcomes == DEFAULTED) | (outcomes == PERFORMING))


def _one_hot(features: Sequence[FeatureBins], codes: KindCodes, rows: int) -> sparse.csr_matrix:
    joined = joined_codes(features, codes, rows)
    widths = np.array([feature.width for feature in features])
    columns = joined + np.concatenate([[0], np.cumsum(widths)[:-1]])
    present = joined >= 0
    row_index = np.broadcast_to(np.arange(rows)[:, None], joined.shape)[present]
    return sparse.csr_matrix(
        (np.ones(int(present.sum())), (row_index, columns[present])), shape=(rows, int(widths.sum()))
    )
