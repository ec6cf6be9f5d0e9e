"""A cohort in blocks of positions: what travels and is counted at a time (docs/protocol.md, 4).

The signed terms say how many positions a block has, so all parties cut alike. Block b is [b·rows, (b+1)·rows), the last
one up to the cohort's size; a node without merchants in a block takes part in it with nothing. So what a party holds
in memory does not grow with the cohort.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crypto.errors import ManifestError
from crypto.wire.campaign import Terms


@dataclass(frozen=True)
class Blocks:
    """`size` positions in blocks of `rows`."""

    size: int
    rows: int

    @property
    def count(self) -> int:
        """Number of blocks, at least one."""
        return max(1, -(-self.size // self.rows))

    def span(self, block: int) -> tuple[int, int]:
        """First position of a block, and the one after its last.

        Raises:
            ManifestError: there is no such block.
        """
        if not 0 <= block < self.count:
            raise ManifestError(
                f"block {block} of {self.count}", field="block", remedy="number the blocks as the terms cut them"
            )
        return block * self.rows, min((block + 1) * self.rows, self.size)

    def within(self, positions: NDArray[np.uint32], block: int) -> slice:
        """Which rows of ascending positions lie in a block.

        Raises:
            ManifestError: there is no such block.
        """
        first, last = np.searchsorted(positions, self.span(block))
        return slice(int(first), int(last))


def terms_blocks(terms: Terms) -> Blocks:
    """The blocks that terms cut their cohort into."""
    return Blocks(terms.cohort_size, terms.block_rows)


def even_rows(size: int, most: int) -> int:
    """Positions per block: one block up to `most`, else alike blocks of at most half of that.

    With several blocks a trip carries one of them to the nodes and brings the next one back; halves keep a trip as
    large as that of a single block.
    """
    if size <= most:
        return max(size, 1)
    return -(-size // Blocks(size, max(most // 2, 1)).count)
