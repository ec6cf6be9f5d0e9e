"""What this node's own table says about merchants under a released scorecard: integer points, and reasons by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.codes import ABSENT
from models.reasons import reasons_of
from nodes.encoder_models import ReleasedEncoder
from nodes.errors import PolicyRefusal
from nodes.model_book import BookedModel
from nodes.settled_tables import SettledTables
from nodes.training_context import Codes, TrainingData


@dataclass(frozen=True)
class OwnPoints:
    """Points of one merchant, and the features that cost it most, at this node's kind."""

    points: int
    reasons: tuple[str, ...]


class PointsDesk:
    """Looks merchants up in the node's tables."""

    def __init__(
        self,
        kind: str,
        dataset: Callable[[str], TrainingData | None],
        encoder: Callable[[str], ReleasedEncoder],
    ) -> None:
        """Args:
        kind: the node's.
        dataset: schema hash (hex) → the node's table, or None.
        encoder: model id → the released encoder.
        """
        self._kind = kind
        self._tables = SettledTables(dataset, kind)
        self._encoder = encoder

    def points(self, model: BookedModel, pseudonyms: Sequence[bytes]) -> list[OwnPoints]:
        """Points of merchants; one without a record gets the model's public absent points.

        Raises:
            PolicyRefusal: `source-failed`: the node has no table under the model's schema.
            SourceError: the table cannot be read.
        """
        data = self._table(model)
        rows = data.rows(np.frombuffer(b"".join(pseudonyms), dtype=np.uint8).reshape(-1, 32))
        codes = self._codes(model, data, rows)
        points = model.card.kind_points(self._kind, codes)
        reasons = reasons_of(model.card, self._kind, codes)
        return [OwnPoints(int(each), why) for each, why in zip(points, reasons, strict=True)]

    def default_probabilities(self, model: BookedModel, pseudonyms: Sequence[bytes]) -> list[float | None]:
        """Probabilities by an encoder of this node's own kind, from its own rows; None without a record.

        Raises:
            PolicyRefusal: `source-failed`: the node has no table under the model's schema, or is of another kind.
            ArtefactError: the model is no encoder.
        """
        encoder = self._encoder(model.model_id)
        if encoder.kind != self._kind:
            raise _failed("the encoder is for another kind of source")
        data = self._table(model)
        rows = data.rows(np.frombuffer(b"".join(pseudonyms), dtype=np.uint8).reshape(-1, 32))
        found: list[float | None] = [None] * len(rows)
        here = np.flatnonzero(rows >= 0)
        if len(here):
            for place, value in zip(here, encoder.default_probability(data.codes[rows[here]]), strict=True):
                found[place] = float(value)
        return found

    def _table(self, model: BookedModel) -> TrainingData:
        data = self._tables.under(model.artefact.schema_sha256, model.artefact.schema_of)
        if data is None:
            raise _failed("this node has no table under the model's schema")
        return data

    def _codes(self, model: BookedModel, data: TrainingData, rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Codes:
        codes = data.codes[rows] if len(data.codes) else np.zeros((len(rows), data.codes.shape[1]), dtype=np.uint8)
        encoder_id = model.artefact.encoders_used.get(self._kind)
        if encoder_id is not None:
            codes = np.column_stack([codes, self._encoder(encoder_id).codes(codes)])
        return np.where((rows >= 0)[:, None], codes, np.uint8(ABSENT)).astype(np.uint8)


def _failed(what: str) -> PolicyRefusal:
    return PolicyRefusal(
        "source-failed",
        what,
        field="schema_sha256",
        remedy="add the schema and its table to datasets in the node's configuration",
    )
