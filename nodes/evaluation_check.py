"""Whether an evaluation's terms can be accepted: checks that node and witness make alike (docs/protocol.md, 6)."""

from __future__ import annotations

from crypto.histogram import evaluation_terms, histogram_delta, histogram_grid, terms_histogram
from crypto.wire.campaign import TablesMechanism
from models.mechanisms import DiscreteGaussianCells
from nodes.terms_check import CheckedTerms, check_epsilon, contradiction, dishonest

_TOLERANCE = 1e-9
_STAGE = "evaluation"


def check_evaluation(checked: CheckedTerms) -> None:
    """T0, T1: the histogram is one of this schema, and its privacy is computed anew from σ and the accountant.

    Raises:
        ManifestError: a parity feature is not the label kind's, or kinds are neither all of the schema's nor the
            label's alone.
        NoiseError, RangeError: noise shares or sums are out of range.
        BudgetError: the mechanisms are not those of the histogram, or cost more than the terms claim.
    """
    terms, schema = checked.terms, checked.schema
    evaluation = evaluation_terms(terms)
    kinds = tuple(each.kind for each in terms.kinds)
    if kinds not in {schema.kinds_in_order(), (terms.label_kind,)}:
        raise contradiction("kinds", "kinds are neither all of the schema's nor the label's alone")
    if terms.evaluation_due:
        raise contradiction("evaluation_due", "an evaluation gives no model that could be evaluated")
    widths = dict(zip(_names(checked), schema.widths(terms.label_kind), strict=True))
    for each in evaluation.parity:
        if widths.get(each.feature) != each.groups:
            raise contradiction("parity", f"{each.feature} is no feature of {terms.label_kind} with {each.groups} bins")
    privacy = terms.privacy
    if privacy.noise == "off":
        if privacy.mechanisms or evaluation.sigma:
            raise dishonest("terms without noise claim mechanisms")
        return
    if evaluation.sigma <= 0:
        raise dishonest("terms with noise have a histogram without it")
    layout = terms_histogram(terms)
    due = (DiscreteGaussianCells(evaluation.sigma, layout.touched, histogram_grid(terms).scale),)
    claimed = tuple(
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        for each in privacy.mechanisms
        if isinstance(each, TablesMechanism) and each.stage == _STAGE
    )
    if claimed != due:
        raise dishonest("the mechanisms of the terms are not those of their histogram")
    due_delta = histogram_delta(len(terms.roster), layout.n_cells)
    if privacy.delta_sum < due_delta * (1 - _TOLERANCE):
        raise dishonest(f"the terms set aside delta {privacy.delta_sum:g} for noise shares where {due_delta:g} is due")
    check_epsilon(checked)


def _names(checked: CheckedTerms) -> list[str]:
    return [feature.name for feature in checked.schema.features(checked.terms.label_kind)]
