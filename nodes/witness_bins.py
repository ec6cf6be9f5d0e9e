"""The witness's word on the bins of a bins stage: Q4 (docs/protocol.md, 6a).

It opens the counts itself, from shares that the nodes receipted and its own term, and makes the bins from them. Nothing
is decided here and nothing is kept: the same released attempt gives the same bytes, however often it is asked.
"""

from __future__ import annotations

import numpy as np

from crypto.count_trees import counts_sha256, plain_sum
from crypto.jws import sign_model
from crypto.parcel import Parcel
from crypto.secure_sum import open_sum
from crypto.wire.base import SUITE
from crypto.wire.bins import BinsRelease
from models.quantile_bins import settled
from nodes.terms_check import contradiction
from nodes.witness_stage import WitnessContext, released_terms


def settle(context: WitnessContext, parcel: Parcel) -> Parcel:
    """Q4: the signed `bins-release` of a released bins attempt.

    Raises:
        AttemptError: the attempt was not released here, or the shares are not those of its receipts.
        ManifestError: it is of another stage.
        RangeError: a total is beyond its bound.
    """
    shares = {party: parcel.blob(name) for party, name in parcel.names("share.").items()}
    checked, h, parts = released_terms(context, parcel.text("attempt"), shares)
    terms = checked.terms
    if terms.stage != "bins":
        raise contradiction("stage", f"attempt {terms.attempt} is of stage {terms.stage}, which gives no bins")
    counts = open_sum(parts, bound=plain_sum(terms)[1].bound).astype(np.int64, copy=False)
    release = BinsRelease(
        suite=SUITE,
        campaign_id=terms.campaign_id,
        attempt=terms.attempt,
        h=h,
        open_schema_sha256=terms.schema_sha256,
        schema_sha256=settled(checked.schema, counts).hash(),
        counts_sha256=counts_sha256(counts),
    )
    token = sign_model(release, context.identity, typ="bins-release", kid=context.party_id)
    return Parcel({"bins_release": token})
