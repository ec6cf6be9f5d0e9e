"""How merchants would move between bands if one scorecard took another's place.

Nobody may see both scores of a merchant, so none are counted: both cards score merchants drawn from the newer model's
noisy table (`models.reference`), which has the table's bins and pairs of features and costs no privacy. Dependence of
three features at once is not in it, and a bin that noise made is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.card_content import CardFacts
from models.scorecard import BANDS, band_of
from models.stability import rank_correlation

_ROWS = 20_000


@dataclass(frozen=True)
class Migration:
    """Moves between bands.

    Attributes:
        bands: from the safest.
        shares: [older band][newer band] → share of all merchants.
        same, safer, riskier: shares that stay, that get a safer band, that get a riskier one.
        correlation: rank correlation of both scores.
    """

    bands: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    same: float
    safer: float
    riskier: float
    correlation: float


def migration_of(before: CardFacts, after: CardFacts) -> Migration | None:
    """Moves from the older model's bands to the newer one's; None where they read other features or no table is known.

    Raises:
        ArtefactError: one of them is malformed.
        FitError: the newer model's table cannot be fitted.
    """
    from models.reference import PublishedPopulation, by_kind  # noqa: PLC0415  (who shows models need not fit them)

    table = after.table
    if table is None or before.artefact.scorecard is None or after.artefact.scorecard is None:
        return None
    old, new = before.artefact.card(), after.artefact.card()
    if [entry.feature for entry in old.features] != [entry.feature for entry in new.features]:
        return None
    rng = np.random.default_rng(int(table.digest()[:16], 16))
    codes = by_kind(table.features, PublishedPopulation(table).draw(_ROWS, rng).codes)
    scores = old.score(codes), new.score(codes)
    places = [np.searchsorted(BANDS, band_of(card.pd_of(each))) for card, each in zip((old, new), scores, strict=True)]
    counts = np.zeros((len(BANDS), len(BANDS)))
    np.add.at(counts, (places[0], places[1]), 1.0)
    shares = counts / counts.sum()
    return Migration(
        bands=BANDS,
        shares=tuple(tuple(float(share) for share in row) for row in shares),
        same=float(np.trace(shares)),
        safer=float(np.tril(shares, -1).sum()),
        riskier=float(np.triu(shares, 1).sum()),
        correlation=rank_correlation(*scores),
    )
