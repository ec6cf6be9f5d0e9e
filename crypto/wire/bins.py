"""What a bins stage's parties exchange beside what all attempts do (docs/protocol.md, 6a)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from crypto.wire.base import Hash, Identifier, KindName, Sha256Hex, Suite, WireModel

MAX_TREES = 1_000


class TreeTerms(WireModel):
    """The tree of counts of one feature whose bins come from quantiles.

    `nodes` is how many counts it has, `levels` in how many of them one merchant stands.
    """

    kind: KindName
    feature: Annotated[str, Field(min_length=1, max_length=80)]
    nodes: Annotated[int, Field(ge=2, le=1 << 16)]
    levels: Annotated[int, Field(ge=1, le=32)]


class BinsTerms(WireModel):
    """The trees that are opened, in the order of the schema; `sigma` is the total noise's on each count."""

    trees: Annotated[tuple[TreeTerms, ...], Field(min_length=1, max_length=MAX_TREES)]
    sigma: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [each.feature for each in self.trees]
        if len(set(names)) != len(names):
            raise ValueError("trees name a feature twice")
        return self


class BinsRelease(WireModel):
    """Q4, JWS type `bins-release`, by the witness, after it opened the counts itself and made the bins from them."""

    suite: Suite
    campaign_id: Identifier
    attempt: Identifier
    h: Hash
    open_schema_sha256: Sha256Hex
    """Of the schema without these bins."""
    schema_sha256: Sha256Hex
    """Of the schema with them."""
    counts_sha256: Hash
    """Of the opened counts, in units of the noise's grid, as little-endian 64-bit integers."""
