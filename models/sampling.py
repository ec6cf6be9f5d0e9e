"""Who takes part in a round of DP-SGD: each row by a secret coin of its own (docs/protocol.md, 5).

Poisson sampling, as the sampled Gaussian mechanism has it: independent over rows and tries, with one public
probability q. It amplifies privacy only against those who do not learn who took part. Coins are drawn at the node that
holds the row, from the operating system's randomness, are used once and kept nowhere. Rows that sit a round out stay in
their place with weight zero (`models.dpsgd`): the others' results stay as they were, and the time that a sum takes says
nothing about how many took part.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

Coins = Callable[[int], bytes]
"""n → n secret random bytes."""

_WORD_BYTES = 8


def poisson_sample(n: int, rate: float, coins: Coins) -> NDArray[np.bool_]:
    """(n,) whether each row takes part, with probability ⌊rate·2^64⌋/2^64.

    Args:
        n: rows.
        rate: q, above 0 and at most 1; at 1 no coin is tossed.
        coins: source of randomness, `secrets.token_bytes` but for tests.

    Raises:
        DataError: the rate is out of range, or the source gave too few bytes.
    """
    if not 0 < rate <= 1:
        raise DataError(f"a sampling rate of {rate}", field="sampling_rate", remedy="use a rate above 0, at most 1")
    if rate == 1 or n == 0:
        return np.ones(n, dtype=np.bool_)
    drawn = coins(_WORD_BYTES * n)
    if len(drawn) != _WORD_BYTES * n:
        raise DataError("too few coins", field="coins", remedy="use the operating system's randomness")
    words = np.frombuffer(drawn, dtype="<u8")
    taken: NDArray[np.bool_] = words < np.uint64(int(rate * 2.0**64))
    return taken
