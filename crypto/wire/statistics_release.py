"""Published programme statistics as the hub gives them to anybody (S7 of docs/programme-statistics.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crypto.wire.audit import InclusionProof
from crypto.wire.base import Identifier, Suite, Token, WireModel


class StatisticsLine(WireModel):
    """A published report: the campaign that opened its counts, and the year that it is of."""

    campaign_id: Identifier
    year: Annotated[int, Field(ge=2000, le=2200)]


class StatisticsList(WireModel):
    """Body of GET /v1/programme-statistics: reports, the oldest first."""

    reports: tuple[StatisticsLine, ...]


class StatisticsRelease(WireModel):
    """Body of GET /v1/programme-statistics/{campaign_id}: opened counts, and what proves that they are these.

    The entry `manifest` binds the terms to the root h that the witness released, the entry `table-opened` the counts
    and the choice to the attempt. The report is a pure function of terms, choice and counts.
    """

    suite: Suite
    campaign_id: Identifier
    terms: Token
    """JWS `terms`, by the hub."""
    decision: Token
    """JWS `decision`, by the witness: released."""
    choice: Annotated[str, Field(max_length=65536)]
    """Canonical JSON of models.statistics.choice.StatisticsChoice: which feature is which."""
    counts: Annotated[bytes, Field(max_length=64 << 20)]
    """The noisy cells in released order, each a little-endian IEEE 754 double."""
    manifest: InclusionProof
    opened: InclusionProof
