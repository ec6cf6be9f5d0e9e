"""All that is compared: digua, private rivals at the same (ε, δ), and learners without privacy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.accuracy import dp_ebm, dp_sgd, nonprivate, ours
from benchmarks.accuracy.digests import imports_of
from benchmarks.accuracy.measures import Prediction
from benchmarks.accuracy.sets import Split

DELTA = 1e-5
SPLITS, MORE_SPLITS = (0, 1, 2, 3, 4), tuple(range(5, 20))
DEEPER = ("scorecard", "dp-ebm", "dp-ebm-defaults")
"""Methods that are so near to one another that five splits do not tell them apart: fitted on more of them as well."""
Family = Literal["digua", "private", "without privacy"]
Setting = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One fit.

    Attributes:
        epsilon, noise: budget and seed of the noise; None where nothing is private.
        setting: what was tuned for this set and ε; None where nothing is.
    """

    epsilon: float | None
    noise: int | None
    setting: Setting | None = None

    @property
    def private(self) -> tuple[float, float, int]:
        """ε, δ and the seed of the noise."""
        if self.epsilon is None or self.noise is None:
            raise SystemExit("a private method needs epsilon and a noise seed")
        return self.epsilon, DELTA, self.noise


@dataclass(frozen=True)
class Method:
    """A way to train and what its results depend on.

    Attributes:
        title: as the report names it.
        fit: trains on a split and predicts its held-out rows.
        modules: whose code counts; of ours all that the product's fit imports.
        libraries: whose versions count.
        default: setting where none was tuned; None where nothing is to be set.
    """

    title: str
    family: Family
    fit: Callable[[Split, Task], Prediction]
    modules: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    default: Setting | None = None

    @property
    def private(self) -> bool:
        """Whether ε and noise matter."""
        return self.family != "without privacy"


def _product(*modules: str) -> tuple[str, ...]:
    found = {each for name in modules for each in imports_of(name, "models")}
    return (*sorted(found - _OUTSIDE), ours.__name__)


_OUTSIDE = {"models.i18n", "models.said", "models.errors"}
"""Modules of texts, which no result depends on."""
_SCORECARD = _product("models.scorecard_fit", "models.accounting", "models.tables")
_ENCODER = _product("models.central", "models.encoder_scores", "models.accounting")

METHODS: dict[str, Method] = {
    "scorecard": Method(
        "digua, scorecard from noisy tables",
        "digua",
        lambda split, task: ours.scorecard(split, *task.private),
        _SCORECARD,
    ),
    "encoder": Method(
        "digua, encoder of a bank consortium",
        "digua",
        lambda split, task: ours.encoder(split, *task.private),
        _ENCODER,
    ),
    "dp-ebm-defaults": Method(
        "DP-EBM, defaults, columns as they are",
        "private",
        lambda split, task: dp_ebm.defaults(split, *task.private),
        (dp_ebm.__name__,),
        ("interpret-core",),
    ),
    "dp-ebm": Method(
        "DP-EBM, tuned, on our bins",
        "private",
        lambda split, task: dp_ebm.on_public_bins(split, dp_ebm.Setting(**_given(task)), *task.private),
        (dp_ebm.__name__,),
        ("interpret-core",),
        dp_ebm.Setting().plain(),
    ),
    "dp-sgd-linear": Method(
        "DP-SGD, logistic, tuned",
        "private",
        lambda split, task: dp_sgd.central(split, dp_sgd.Setting(**_given(task)), *task.private),
        (dp_sgd.__name__,),
        ("opacus", "torch"),
        dp_sgd.Setting().plain(),
    ),
    "dp-sgd-mlp": Method(
        "DP-SGD, MLP, tuned",
        "private",
        lambda split, task: dp_sgd.central(split, dp_sgd.Setting(**_given(task)), *task.private),
        (dp_sgd.__name__,),
        ("opacus", "torch"),
        dp_sgd.Setting(hidden=16, learning_rate=2.0).plain(),
    ),
    "local-fedavg": Method(
        "FedAvg with local DP, logistic, tuned",
        "private",
        lambda split, task: dp_sgd.local_fedavg(split, dp_sgd.Setting(**_given(task)), *task.private),
        (dp_sgd.__name__,),
        ("opacus", "torch"),
        dp_sgd.Setting(steps=20, learning_rate=2.0).plain(),
    ),
    "scorecard-exact": Method(
        "digua's scorecard from the exact table",
        "without privacy",
        lambda split, _: ours.scorecard_without_noise(split),
        _SCORECARD,
    ),
    "logistic": Method(
        "Logistic regression",
        "without privacy",
        lambda split, _: nonprivate.logistic(split),
        (nonprivate.__name__,),
        ("scikit-learn",),
    ),
    "lightgbm": Method(
        "LightGBM",
        "without privacy",
        lambda split, _: nonprivate.lightgbm(split),
        (nonprivate.__name__,),
        ("lightgbm", "scikit-learn"),
    ),
    "ebm": Method(
        "EBM",
        "without privacy",
        lambda split, _: nonprivate.ebm(split),
        (nonprivate.__name__,),
        ("interpret-core",),
    ),
}


def _given(task: Task) -> Mapping[str, Any]:
    return task.setting or {}
