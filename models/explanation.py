"""What a model makes of one merchant, in words for that merchant alone: where its values lie, and what would lift it.

Unlike reasons (`models.reasons`), which a requester sees, these words tell bins and points. They are made where the
rows are, and go to nobody but the merchant: sealed to its key, or over the counter of its source (docs/merchants.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby

import numpy as np

from models.codes import ABSENT, Codes
from models.counterfactual import Change, Changes, Encoder, Move
from models.errors import DataError
from models.i18n import catalogue, language_of
from models.reasons import feature_title, kind_title, most_points
from models.schema import Schema
from models.scorecard import BANDS, SCORE_MAX, SCORE_MIN, Scorecard, band_of
from models.tables import encoder_feature


@dataclass(frozen=True)
class Standing:
    """Where one value lies.

    Attributes:
        bin: its code.
        points, most: what it gives, and the most that a value of the feature gives (`models.reasons.most_points`).
    """

    kind: str
    feature: str
    bin: int
    points: int
    most: int

    @property
    def lost(self) -> int:
        """Points below the most; none where a missing value or a code gave even more."""
        return max(self.most - self.points, 0)


@dataclass(frozen=True)
class Goal:
    """The score as it was, and the next better band.

    Attributes:
        target: the band, None where it was the best one.
        least: its least score.
        need: points that were missing.
        changes: see `Changes.smallest`.
    """

    score: int
    band: str
    target: str | None = None
    least: int = 0
    need: int = 0
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What some sources, or all, can tell a merchant.

    Attributes:
        standings: of every feature known, source by source, the most points lost first.
        absent: kind without a record → the points that the model gives for that.
        whole: whether every kind of the model is among them.
        goal: None where the score is not known.
        single: changes that add points by themselves; most: what all together can add.
        lapses: adverse feature with a fact on record → the first day on which it is no longer used; None where it has
            not ended.
    """

    schema: Schema
    standings: tuple[Standing, ...]
    absent: Mapping[str, int]
    whole: bool
    goal: Goal | None
    single: tuple[Change, ...]
    most: int
    lapses: Mapping[str, date | None] = field(default_factory=dict)


def explain(
    schema: Schema,
    card: Scorecard,
    codes: Mapping[str, Sequence[int] | Codes],
    *,
    encoders: Mapping[str, Encoder] | None = None,
    score: int | None = None,
    lapses: Mapping[str, date | None] | None = None,
) -> Explanation:
    """Explain a model's view of one merchant, as far as its rows are known.

    Args:
        schema, card: the model's.
        codes: kind → (F_kind,) bins of the schema's own features; ABSENT throughout where there is no record.
        encoders: of the kinds whose encoder's output is a feature of the card.
        score: where not all kinds are known, the score if that is.
        lapses: see `Explanation`.

    Raises:
        DataError: codes do not fit the schema, an encoder is missing, or there is no such score.
        ArtefactError: the card has no features of a kind.
    """
    changes = Changes(schema, card, codes, encoders=encoders)
    standings: list[Standing] = []
    absent: dict[str, int] = {}
    total = card.base
    for kind in (kind for kind in card.kinds if kind in codes):
        row = np.asarray(codes[kind], dtype=np.uint8)
        if row[0] == ABSENT:
            absent[kind] = card.absent[kind]
            total += card.absent[kind]
            continue
        encoder = (encoders or {}).get(kind)
        bins = [*row.tolist(), *(encoder(row[None]).tolist() if encoder is not None else ())]
        here = [
            Standing(kind, entry.feature.name, bin, entry.points[bin], most_points(entry))
            for entry, bin in zip(card.of_kind(kind), bins, strict=True)
        ]
        total += sum(each.points for each in here)
        standings += sorted(here, key=lambda each: -each.lost)
    whole = set(card.kinds) <= set(codes)
    known = total if whole else score
    return Explanation(
        schema=schema,
        standings=tuple(standings),
        absent=absent,
        whole=whole,
        goal=None if known is None else _goal(card, known, changes),
        single=changes.single(),
        most=changes.most(),
        lapses=lapses or {},
    )


def least_score(card: Scorecard, band: str) -> int | None:
    """The least score in a band or a better one; None where no score is."""
    scores = np.arange(SCORE_MIN, SCORE_MAX + 1)
    reached = np.isin(band_of(card.pd_of(scores)), BANDS[: BANDS.index(band) + 1])
    return int(scores[reached].min()) if reached.any() else None


def lines_of(explanation: Explanation, lang: str, *, longest: int | None = None) -> tuple[str, ...]:
    """The explanation in words, a paragraph each.

    Args:
        explanation: what to say.
        lang: ``"zh"`` or ``"en"``.
        longest: characters in all, line ends counted; the values that cost least are then left out first.

    Raises:
        DataError: what remains without any value is still too long.
    """
    for kept in range(len(explanation.standings), -1, -1):
        lines = _lines(explanation, _Voice(explanation.schema, lang), kept)
        if longest is None or sum(len(line) + 1 for line in lines) <= longest:
            return tuple(lines)
    raise DataError(
        f"the explanation has more than {longest} characters", field="longest", remedy="explain it at the counter"
    )


def _goal(card: Scorecard, score: int, changes: Changes) -> Goal:
    if not SCORE_MIN <= score <= SCORE_MAX:
        raise DataError(
            f"{score} is no score", field="score", remedy=f"give the score, a number from {SCORE_MIN} to {SCORE_MAX}"
        )
    band = str(band_of(card.pd_of(score)))
    for target in reversed(BANDS[: BANDS.index(band)]):
        least = least_score(card, target)
        if least is not None:
            need = least - score
            return Goal(score, band, target, least, need, changes.smallest(need))
    return Goal(score, band)


class _Voice:
    """Says things about one schema's features in one language."""

    def __init__(self, schema: Schema, lang: str) -> None:
        self._schema = schema
        self.lang = language_of(lang)

    def __call__(self, text: str, **params: object) -> str:
        return catalogue("models").translate(self.lang, text, **params)

    def source(self, kind: str) -> str:
        return kind_title(self._schema, kind, self.lang)

    def title(self, feature: str) -> str:
        return feature_title(self._schema, feature, self.lang)

    def range(self, kind: str, feature: str, bin: int) -> str:
        if feature == encoder_feature(kind):
            return self("level {level}, where 1 is the safest", level=bin + 1)
        spec = self._schema.feature(feature).spec
        return self("no value on record") if bin == spec.missing_bin else spec.bin_labels(self.lang)[bin]

    def moves(self, moves: Sequence[Move]) -> str:
        said = [
            self(
                "{feature}: {after} instead of {before}",
                feature=self.title(move.feature),
                after=self.range(move.kind, move.feature, move.after),
                before=self.range(move.kind, move.feature, move.before),
            )
            for move in moves
        ]
        return ("；" if self.lang == "zh" else "; ").join(said)


def _lines(explanation: Explanation, say: _Voice, kept: int) -> list[str]:
    lines: list[str] = []
    shown = set(sorted(explanation.standings, key=lambda each: -each.lost)[:kept])
    for kind, standings in groupby(explanation.standings, key=lambda each: each.kind):
        lines.append(say("On record at {source}, and what it counts:", source=say.source(kind)))
        lines += [_standing(explanation, say, each) for each in standings if each in shown]
    for kind, points in explanation.absent.items():
        text = "{source} has no record of you; the model counts {points} points for that."
        lines.append(say(text, source=say.source(kind), points=points))
    left_out = len(explanation.standings) - kept
    if left_out:
        lines.append(say("Values that cost fewer points and are not listed here: {count}.", count=left_out))
    lines += _single(explanation, say) if explanation.goal is None else _goal_lines(explanation, explanation.goal, say)
    lines.append(
        say(
            "This says how the model counts; it promises nothing. A later score depends on all data of its day, "
            "and a lender looks at more than a score."
        )
    )
    return lines


def _standing(explanation: Explanation, say: _Voice, each: Standing) -> str:
    words = {"feature": say.title(each.feature), "range": say.range(each.kind, each.feature, each.bin)}
    if each.lost > 0:
        text = say("{feature}: {range}. Points below the most possible: {lost}.", **words, lost=each.lost)
    else:
        text = say("{feature}: {range}. No other value counts more.", **words)
    if each.feature not in explanation.lapses:
        return text
    until = explanation.lapses[each.feature]
    if until is None:
        note = say("This adverse fact has not ended; it is used for five years from its end.")
    else:
        note = say("This adverse fact is no longer used from {day} on.", day=until.isoformat())
    return text + note if say.lang == "zh" else f"{text} {note}"


def _goal_lines(explanation: Explanation, goal: Goal, say: _Voice) -> list[str]:
    if goal.target is None:
        return [
            say("The score is {score}, in band {band}, the best there is: nothing need change.", **_at(goal)),
        ]
    lines = [
        say(
            "The score is {score}, in band {band}. Band {target} begins at {least}; points missing: {need}.",
            **_at(goal),
            target=goal.target,
            least=goal.least,
            need=goal.need,
        )
    ]
    if goal.changes:
        text = "All else being equal, the score would have been in band {target} with any one of these:"
        lines.append(say(text, target=goal.target))
        for number, change in enumerate(goal.changes, start=1):
            lines.append(
                say("{number}. {moves} (+{gain})", number=number, moves=say.moves(change.moves), gain=change.gain)
            )
        return lines
    lines.append(say("No change of what can be changed here would have reached band {target}.", target=goal.target))
    if not explanation.whole:
        lines.append(say("Other sources hold more; each explains its own part to you."))
    return [*lines, *_single(explanation, say)]


def _at(goal: Goal) -> dict[str, object]:
    return {"score": goal.score, "band": goal.band}


def _single(explanation: Explanation, say: _Voice) -> list[str]:
    if not explanation.single:
        return [say("Nothing that can be changed here would have added points.")]
    lines = [say("What single changes would have added, all else being equal:")]
    for change in explanation.single:
        lines.append(say("{moves}: +{gain}", moves=say.moves(change.moves), gain=change.gain))
    return lines
