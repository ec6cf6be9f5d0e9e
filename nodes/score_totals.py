"""What the sources' answers add up to, opened by the requester alone (docs/protocol.md, 7; A3 of `nodes.requester`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crypto.errors import CryptoError
from crypto.score_masks import open_points
from crypto.wire.audit import InclusionProof
from crypto.wire.scoring import AnswerItem, ScoreAnswer, ScoreItem, ScoreRequest
from models.reasons import main_reasons
from models.scorecard import Scorecard, band_of
from nodes.model_book import BookedModel

FAILED = "source-failed"


@dataclass(frozen=True)
class Opened:
    """What one source said: opened items by place, refusal codes by place, or what is wrong with all of it."""

    items: dict[int, AnswerItem]
    refusals: dict[int, str]
    failure: str | None = None


@dataclass(frozen=True)
class _Sum:
    """What all sources of one item said together: its points, or who refused and why."""

    points: int | None
    reasons: tuple[str, ...]
    refusals: dict[str, str]


def totals(
    model: BookedModel, request: ScoreRequest, opened: Mapping[str, Opened], proofs: Sequence[InclusionProof]
) -> list[ScoreAnswer]:
    """A3: the answers to all items of a request, in order.

    Args:
        model: the request's.
        request: asks about n merchants.
        opened: what sources said, by their ids; one that is named and missing gave no answer.
        proofs: (n,) of the queries' log entries.
    """
    card = model.card
    # A source speaks of its own kind's features only: any other text in their place is left out.
    own = {kind: frozenset(entry.feature.name for entry in card.of_kind(kind)) for kind in card.kinds}
    sums = [_sum(card, own, item, place, opened) for place, item in enumerate(request.items)]
    complete = [place for place, each in enumerate(sums) if each.points is not None]
    scores = card.score_of(np.array([sums[place].points for place in complete], dtype=np.int64))
    pds = dict(zip(complete, zip(scores.tolist(), card.pd_of(scores).tolist(), strict=True), strict=True))
    answers: list[ScoreAnswer] = []
    for place, each in enumerate(sums):
        score, pd = pds.get(place, (None, None))
        answers.append(
            ScoreAnswer(
                score=score,
                pd=pd,
                band=None if pd is None else str(band_of(pd)),
                reasons=each.reasons,
                model_id=model.model_id,
                epsilon=model.artefact.privacy.epsilon,
                refusals=each.refusals,
                proof=proofs[place],
            )
        )
    return answers


def _sum(
    card: Scorecard, own: Mapping[str, frozenset[str]], item: ScoreItem, place: int, opened: Mapping[str, Opened]
) -> _Sum:
    """A3, for one item; its points are those of absent kinds too."""
    refusals: dict[str, str] = {}
    found: list[AnswerItem] = []
    for source in item.sources.values():
        said = opened.get(source, Opened({}, {}, "source-unreachable"))
        if said.failure is not None or place in said.refusals:
            refusals[source] = said.failure or said.refusals[place]
        else:
            found.append(said.items[place])
    if refusals:
        return _Sum(None, (), refusals)
    try:
        points = open_points([each.masked_points for each in found])
    except CryptoError:
        # Someone masked for another request or set; whose fault it is cannot be told from the sum.
        return _Sum(None, (), dict.fromkeys(item.sources.values(), FAILED))
    unnamed = (card.absent[kind] for kind in card.kinds if kind not in item.sources)
    ranked = [
        [reason for reason in each.reasons if reason in own[kind]]
        for kind, each in zip(item.sources, found, strict=True)
    ]
    return _Sum(points + sum(unnamed), main_reasons(ranked), {})
