"""Merchants in blocks. Block k of a seed depends on the seed and k alone.

So a larger population of the same seed begins with the smaller one, and memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from models.lishui.merchants import TRADES, Merchants, draw_merchants
from models.lishui.outcomes import Outcomes, draw_outcomes
from models.lishui.places import AREAS, COUNTIES, PROVINCES
from models.lishui.records import Records, bank_records, tax_records, utility_records
from models.lishui.turnover import Turnover, draw_turnover

BLOCK_ROWS = 50_000
MAX_MERCHANTS = 100_000_000
KINDS = ("bank", "tax", "utility")


@dataclass(frozen=True)
class Block:
    """A block with all that its sources know and what became of the loans.

    Attributes:
        rows: merchants in it.
        records: kind → what sources of that kind have written down.
    """

    index: int
    merchants: Merchants
    turnover: Turnover
    records: dict[str, Records]
    outcomes: Outcomes

    @property
    def rows(self) -> int:
        """Number of merchants."""
        return len(self.merchants)

    def table(self, kind: str) -> pl.DataFrame:
        """What a kind knows, one row a merchant; whoever has no record there has empty cells."""
        return pl.DataFrame({**self._public(kind), **self.records[kind].columns, **self._outcomes(kind)})

    def joined(self) -> pl.DataFrame:
        """All kinds' columns."""
        return pl.concat([self.table(kind) for kind in KINDS], how="horizontal")

    def _public(self, kind: str) -> dict[str, pl.Series]:
        # Every source knows these; they stand once, with the bank, which has all merchants.
        if kind != "bank":
            return {}
        who = self.merchants
        return {
            "trade": pl.Series(TRADES).gather(who.trade),
            "origin": pl.Series(list(COUNTIES)).gather(who.county),
            "province": pl.Series(list(PROVINCES)).gather(who.province),
            "area": pl.Series(AREAS).gather(who.area),
        }

    def _outcomes(self, kind: str) -> dict[str, pl.Series]:
        return self.outcomes.columns() if kind == "bank" else {}


def blocks(seed: int, merchants: int) -> Iterator[tuple[Block, int]]:
    """The blocks that make up a population, each with how many of its rows (the first ones) belong to it.

    Args:
        seed: of everything; the same seed gives the same merchants.
        merchants: how many.
    """
    for index in range(-(-merchants // BLOCK_ROWS)):
        yield draw_block(seed, index), min(BLOCK_ROWS, merchants - index * BLOCK_ROWS)


def draw_block(seed: int, index: int) -> Block:
    """Block `index` of a seed: `BLOCK_ROWS` merchants, whatever came before it."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    who = draw_merchants(rng, BLOCK_ROWS)
    trading = draw_turnover(rng, who)
    bank = bank_records(rng, who, trading)
    tax = tax_records(rng, who, trading)
    utility = utility_records(rng, who, trading)
    return Block(
        index=index,
        merchants=who,
        turnover=trading,
        records={"bank": bank, "tax": tax, "utility": utility},
        outcomes=draw_outcomes(rng, who, trading, bank.columns["credit_utilisation"]),
    )
