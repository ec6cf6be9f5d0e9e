"""What an evaluation stage's parties exchange beside what all attempts do (docs/protocol.md, 6)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from crypto.wire.base import Hash, Identifier, ModelId, PartyId, Suite, WireModel

MAX_BANDS = 50
MAX_PARITY = 8


class ParityTerms(WireModel):
    """A feature of the label's kind whose public bins are the groups that are compared."""

    feature: Annotated[str, Field(min_length=1, max_length=80)]
    groups: Annotated[int, Field(ge=2, le=255)]


class EvaluationTerms(WireModel):
    """The histogram that is opened: score band × outcome, and once more by group for each `parity`.

    `edges` are upper ends: band i holds scores above edge i − 1, up to edge i; the last band has no end. `sigma` is the
    standard deviation of the total noise on each count.
    """

    model_id: ModelId
    edges: Annotated[tuple[Annotated[int, Field(ge=0, le=2000)], ...], Field(min_length=1, max_length=MAX_BANDS - 1)]
    parity: Annotated[tuple[ParityTerms, ...], Field(max_length=MAX_PARITY)] = ()
    sigma: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        names = [each.feature for each in self.parity]
        if len(set(names)) != len(names):
            raise ValueError("parity names a feature twice")
        return self


class PointsHeader(WireModel):
    """V2, JWS type `points`, by a source, inside the box to the bank, before the masked points themselves."""

    suite: Suite
    attempt: Identifier
    h: Hash
    sender: PartyId
    receiver: PartyId
    positions_sha256: Hash
    points_sha256: Hash
    """Of the words and of the answered marks, in this order."""
    rows: Annotated[int, Field(ge=0)]
