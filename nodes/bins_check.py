"""Whether a bins stage's terms, and the bins that came of one, can be accepted: checks that node and witness make alike
(docs/protocol.md, 6a)."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from crypto.count_trees import bins_terms, counts_sha256, n_touched, n_tree_counts, trees_grid
from crypto.dated import verify_dated
from crypto.histogram import histogram_delta
from crypto.parcel import Parcel
from crypto.table_grid import table_delta
from crypto.wire.bins import BinsRelease
from crypto.wire.campaign import TablesMechanism
from models.mechanisms import DiscreteGaussianCells
from models.quantile_bins import count_trees, open_form, settled
from nodes.errors import PolicyRefusal
from nodes.terms_check import CheckedTerms, check_epsilon, contradiction, dishonest
from nodes.training_context import RosterLookup

_TOLERANCE = 1e-9
_STAGE = "bins"


def check_bins(checked: CheckedTerms) -> None:
    """Q0, Q1: the trees are the schema's, and the privacy is computed anew from σ and the accountant.

    Raises:
        ManifestError: the trees are not those that the schema implies.
        NoiseError, RangeError: noise shares or sums are out of range.
        BudgetError: the mechanisms are not those of the trees, or cost more than the terms claim.
    """
    terms = checked.terms
    bins = bins_terms(terms)
    stated = [(each.kind, each.feature, each.nodes, each.levels) for each in bins.trees]
    if stated != [(each.kind, each.feature, each.nodes, each.levels) for each in count_trees(checked.schema)]:
        raise contradiction("bins", "the trees of counts are not those of the schema's features without bins")
    if terms.evaluation_due or terms.encoders_used:
        raise contradiction("bins", "a bins stage gives no model, and uses none")
    privacy = terms.privacy
    if privacy.noise == "off":
        if privacy.mechanisms or bins.sigma:
            raise dishonest("terms without noise claim mechanisms")
        return
    if bins.sigma <= 0:
        raise dishonest("terms with noise have trees without it")
    due = (DiscreteGaussianCells(bins.sigma, n_touched(bins), trees_grid(terms).scale),)
    claimed = tuple(
        DiscreteGaussianCells(each.sigma, each.count, each.scale)
        for each in privacy.mechanisms
        if isinstance(each, TablesMechanism) and each.stage == _STAGE
    )
    if claimed != due:
        raise dishonest("the mechanisms of the terms are not those of their trees")
    nodes = len(terms.roster)
    due_delta = table_delta(nodes, checked.layout.n_cells) + histogram_delta(nodes, n_tree_counts(bins))
    if privacy.delta_sum < due_delta * (1 - _TOLERANCE):
        raise dishonest(f"the terms set aside delta {privacy.delta_sum:g} for noise shares where {due_delta:g} is due")
    check_epsilon(checked)


def check_settled(checked: CheckedTerms, roster: RosterLookup, parcel: Parcel, now: datetime) -> None:
    """T0, T1, V1 after a bins stage: the schema's bins are those that the opened counts give, by the witness's word.

    Args:
        checked: terms of a later stage; those that name no bins attempt have public bins, and nothing is asked.
        roster: the pinned witness.
        parcel: with the witness's release and the opened counts.
        now: the time, as the release has no date.

    Raises:
        PolicyRefusal: `bins-not-released`.
        SignatureError: the release is not signed by the key of the witness that holds now.
        ExchangeError: release or counts are missing.
        ManifestError: the counts are others, or give other bins.
    """
    terms = checked.terms
    if terms.bins_attempt is None:
        return
    release = verify_dated(
        parcel.text("bins_release"),
        roster.witness_keys,
        BinsRelease,
        typ="bins-release",
        kid=roster.witness_id,
        date=lambda _release: now,
    )
    named = (release.campaign_id, release.attempt, release.schema_sha256)
    if named != (terms.campaign_id, terms.bins_attempt, terms.schema_sha256):
        raise PolicyRefusal(
            "bins-not-released",
            f"the terms came without the witness's release of their bins in campaign {terms.campaign_id}",
            field="bins_attempt",
            remedy="have the witness release the bins before the next stage begins",
        )
    counts = parcel.array("bins_counts", np.int64, 1)
    before = open_form(checked.schema)
    if counts_sha256(counts) != release.counts_sha256 or before.hash() != release.open_schema_sha256:
        raise contradiction("bins_counts", "counts or schema are not those that the witness released bins from")
    if settled(before, counts).hash() != terms.schema_sha256:
        raise contradiction("schema_document", "the schema's bins are not those that the opened counts give")
