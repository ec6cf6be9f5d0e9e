"""Who may be scored in an evaluation, and how often (docs/protocol.md, V2): what its steps ask of a node's consents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from models.schema import Schema
from nodes.attempts import AttemptStore
from nodes.model_book import BookedModel

POINTS_BLOB = "points"
"""Under which an attempt's sealed points are kept."""

_LOG = structlog.get_logger("nodes.points_book")

Pseudonyms = NDArray[np.uint8]
Seal = Callable[[Sequence[NDArray[np.bool_]]], bytes]


@dataclass(frozen=True)
class PointsBatch:
    """Held-out merchants whose points one source is to seal to one bank.

    Attributes:
        recipient: the bank.
        pseudonyms: (n, 32).
        sources: kind → n parties, None where the slice names nobody; this source and the bank among them.
    """

    recipient: str
    pseudonyms: Pseudonyms
    sources: Mapping[str, Sequence[str | None]]


@dataclass(frozen=True)
class PointsRequest:
    """What an evaluation asks of a source, all banks in one.

    Attributes:
        attempt, h: whose.
        model: under evaluation.
        schema: the campaign's.
    """

    attempt: str
    h: bytes
    model: BookedModel
    schema: Schema
    batches: tuple[PointsBatch, ...]


class PointsBook(Protocol):
    """Who may be scored in an evaluation, by consents as a node holds them (docs/protocol.md, V2)."""

    def settle(self, request: PointsRequest, seal: Seal) -> bytes:
        """Decides each merchant, counts uses, writes the journal and keeps the sealed points, in one transaction.

        Args:
            request: what is asked.
            seal: per batch (n,) who is answered → the bytes to keep.

        Returns:
            What `seal` gave, or what is on record of this attempt.

        Raises:
            PolicyRefusal: the model was withdrawn, or revocations might not have arrived.
        """

    def scored(self, pseudonyms: Pseudonyms, schema: Schema) -> NDArray[np.bool_]:
        """(n,) which merchants' consents let this node, as the recipient, have a credit score."""


class AssumedUses:
    """INSECURE stand-in for simulations: takes it that every merchant consented to be scored for its bank.

    Args:
        attempts: where sealed points are kept.
    """

    def __init__(self, attempts: AttemptStore) -> None:
        _warn()
        self._attempts = attempts

    def settle(self, request: PointsRequest, seal: Seal) -> bytes:
        """As `PointsBook.settle`, everybody answered."""
        kept = self._attempts.blob(request.attempt, POINTS_BLOB)
        if kept is None:
            kept = seal([np.ones(len(batch.pseudonyms), dtype=np.bool_) for batch in request.batches])
            self._attempts.save_blob(request.attempt, POINTS_BLOB, kept)
        return kept

    def scored(self, pseudonyms: Pseudonyms, schema: Schema) -> NDArray[np.bool_]:
        """As `PointsBook.scored`: all of them."""
        return np.ones(len(pseudonyms), dtype=np.bool_)


@lru_cache(maxsize=1)
def _warn() -> None:
    """Once, however many nodes a process holds."""
    _LOG.warning("score-consents-assumed", what="for synthetic data and simulations only")
