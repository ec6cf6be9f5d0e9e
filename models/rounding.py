"""Rounding at random to public knots, so that the mean of what is counted is the mean of the values.

x between knots a < b goes to b with probability (x − a)/(b − a): E = x. The coin is a hash of feature and identifier:
the same merchant falls the same way whenever it is asked, so that repeated reports tell no more about its value. It is
taken at the node, and neither coin nor identifier leaves it. Whatever the coins, a merchant is counted at one knot:
they have no part in the privacy argument.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import SchemaError

Values = NDArray[np.float64]


def coins(schema: str, feature: str, identifiers: Sequence[str | None]) -> Values:
    """(n,) in [0, 1), uniform over identifiers and independent between features; without an identifier 0."""
    prefix = hashlib.sha256(b"digua/rounded\x00" + schema.encode() + b"\x00" + feature.encode() + b"\x00")
    drawn = np.zeros(len(identifiers), dtype=np.uint64)
    for row, identifier in enumerate(identifiers):
        if identifier is not None:
            of_row = prefix.copy()
            of_row.update(identifier.upper().encode())
            drawn[row] = int.from_bytes(of_row.digest()[:8], "big") >> 11
    return drawn.astype(np.float64) / 2.0**53


def knot_codes(knots: Sequence[float], values: Values, drawn: Values) -> NDArray[np.uint8]:
    """Bins of values: the knot 0 to m − 1 that each is rounded to, m above the last one, m + 1 missing.

    Args:
        knots: (m,) ascending, at least two.
        values: (n,); NaN is missing. Below the first knot counts at the first.
        drawn: (n,) coins in [0, 1).
    """
    edges, m = np.asarray(knots, dtype=np.float64), len(knots)
    lower = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, m - 2)
    share = (values - edges[lower]) / (edges[lower + 1] - edges[lower])
    codes = lower + (drawn < share)
    codes = np.where(values > edges[-1], m, codes)
    return np.where(np.isfinite(values), codes, m + 1).astype(np.uint8)


def rounded_alone(feature: str) -> SchemaError:
    """The error of whoever rounds to knots without knowing whose values they are."""
    return SchemaError(
        f"{feature} is rounded to knots by the merchants' identifiers, and there are none",
        field=feature,
        remedy="give the table with its column of identifiers",
    )
