"""What speaks against an order as it stands, each with what would mend it; message ids of the hub's catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.said import Said, said

WarningCode = Literal[
    "loss-large",
    "counts-drowned",
    "defaults-few",
    "bands-thin",
    "pair-share",
    "encoder-dear",
    "limit-short",
    "noise-off",
]
MOST_LOSS = 0.01
"""AUC."""
MOST_DROWNED = 0.5
LEAST_DEFAULTS = 10
MOST_ENCODER_PRICE = 0.001
"""Of AUC: a linear encoder on bins that are in the tables already never earned that (docs/adr/0001)."""
LEAST_GAIN, LEAST_RATIO = 0.002, 1.3
"""Of AUC lost: smaller gains of another pair_share are within what such figures are off."""

COUNTS = {
    "defaulted": "defaulted merchants of a bin",
    "others": "other merchants of a bin",
    "pairs": "merchants of two bins",
    "bands": "defaulted merchants of a band",
}
"""Sorts of counts (`hub.expected_counts.CountsOf`), as messages."""


@dataclass(frozen=True)
class PlanWarning:
    """A warning of a plan; it forbids nothing."""

    code: WarningCode
    what: Said
    remedy: Said


def noise_off() -> PlanWarning:
    """The result would have no privacy guarantee."""
    return PlanWarning(
        "noise-off",
        said("Noise is off: the result has no privacy guarantee."),
        said("Leave it off for synthetic data alone; otherwise write noise: on."),
    )


def loss_large(loss: float, target: float, epsilon: float | None, merchants: int | None) -> PlanWarning:
    """The noise costs more than a hundredth of AUC.

    Args:
        loss: expected.
        target: the loss that is wanted.
        epsilon, merchants: what would reach it, each with the other as it is; None where nothing in reach does.
    """
    ways: dict[str, object] = {"target": f"{target:.3g}"}
    if merchants is not None:
        ways["merchants"] = f"{merchants:,}"
    if epsilon is not None:
        ways["epsilon"] = f"{epsilon:.2g}"
    if epsilon is not None and merchants is not None:
        remedy = said(
            "To lose at most {target}, take epsilon {epsilon}, or collect consents of {merchants} merchants.", **ways
        )
    elif merchants is not None:
        remedy = said("To lose at most {target}, collect consents of {merchants} merchants.", **ways)
    else:
        remedy = said("Take a larger epsilon, fewer features or wider bins, or collect many more consents first.")
    what = said("The noise is expected to cost {loss} of AUC: too few merchants for this epsilon.", loss=f"{loss:.3f}")
    return PlanWarning("loss-large", what, remedy)


def counts_drowned(of: str, share: float, sigma: float) -> PlanWarning:
    """More than half of the counts of a sort are below twice the noise."""
    return PlanWarning(
        "counts-drowned",
        said(
            "{share} of the counts “{counts}” are expected below twice the noise of {sigma}.",
            share=f"{share:.0%}",
            counts=said(COUNTS[of]),
            sigma=f"{sigma:.3g}",
        ),
        said("Merge bins or drop features in the schema, take a larger epsilon, or collect more consents."),
    )


def defaults_few(expected: float) -> PlanWarning:
    """A fit needs ten defaults."""
    return PlanWarning(
        "defaults-few",
        said("Only {n} defaults are expected among the merchants to train on.", n=f"{expected:.3g}"),
        said("Collect more consents, or choose an outcome that is less rare: ten are the least."),
    )


def bands_thin(expected: float, sigma: float) -> PlanWarning:
    """An evaluation would tell little."""
    return PlanWarning(
        "bands-thin",
        said(
            "Bands of the evaluation are expected to hold {n} defaults, with noise of {sigma}: its AUC will be vague.",
            n=f"{expected:.3g}",
            sigma=f"{sigma:.3g}",
        ),
        said("Take fewer bands, drop parity features, hold out more, or take a larger epsilon."),
    )


def pair_share(now: float, loss: float, best: float, least: float) -> PlanWarning:
    """Another split of the noise over class and pair counts loses less."""
    return PlanWarning(
        "pair-share",
        said(
            "pair_share {now} is expected to lose {loss} of AUC, {best} only {least}.",
            now=f"{now:g}",
            loss=f"{loss:.4f}",
            best=f"{best:g}",
            least=f"{least:.4f}",
        ),
        said("Write pair_share: {best} in the campaign file.", best=f"{best:g}"),
    )


def encoder_dear(price: float) -> PlanWarning:
    """An encoder before the tables takes more than it is known to give."""
    return PlanWarning(
        "encoder-dear",
        said("What the encoder takes of the budget costs the tables {loss} of AUC.", loss=f"{price:.4f}"),
        said("Leave the encoder out or lower encoder_share, unless it finds what the bins cannot hold."),
    )


def limit_short(limit: float, most: int, wanted: int) -> PlanWarning:
    """The owners' limit does not allow the year's campaigns."""
    return PlanWarning(
        "limit-short",
        said(
            "A limit of epsilon {limit} allows {most} of the {wanted} campaigns.",
            limit=f"{limit:g}",
            most=most,
            wanted=wanted,
        ),
        said("Take a smaller epsilon or fewer campaigns, or have the owners raise budget.epsilon."),
    )
