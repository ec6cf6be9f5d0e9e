"""The smallest changes of what a merchant can change after which it would have had so many points more.

A *move* takes one feature from its bin to another of its ordered bins, the way that the schema calls `actionable` and
never the way that it declares to be riskier. It is never from or to a missing value, a code or an absent record.
Derived features, nominal ones and adverse facts do not move (`models.feature`). Products and an encoder's output are
counted anew from what moves, by the scorecard itself, so points are those that the changed row would have had.

*Cost* is the number of bins moved plus the number of features touched. The cheapest set of moves is found exactly:
features that only add up are combined by dynamic programming over the points still missing; those that meet in a
product, or in an encoder, are tried together, at most `MOST_JOINED` of them at a time. Features that the schema ties
by `moves_with` go to the end of their ways together and count as one of them. Ties go to fewer features, then by the
schema's order, so everybody finds the same.

What is found says how the model counts (Wachter, Mittelstadt & Russell 2018), not what causes what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from models.codes import ABSENT, Codes
from models.errors import DataError
from models.feature import SAFER
from models.schema import Schema
from models.scorecard import Scorecard
from models.tables import encoder_feature

MOST_JOINED = 3
MOST_ALTERNATIVES = 3
_BLOCK = 8192

Encoder = Callable[[Codes], Codes]
"""(n, F) codes of a kind's own features → (n,) codes of its encoder's output."""


@dataclass(frozen=True)
class Move:
    """One feature in another bin."""

    kind: str
    feature: str
    before: int
    after: int
    steps: int


@dataclass(frozen=True)
class Change:
    """Moves that would be made together, in the schema's order, and the points that they add."""

    moves: tuple[Move, ...]
    gain: int

    @property
    def cost(self) -> int:
        """Bins moved plus features touched."""
        return sum(move.steps for move in self.moves) + len(self.moves)


_Way = tuple[tuple[int, Move], ...]
"""Moves, by column, that are made together or not at all."""
_Lever = tuple[_Way, ...]
"""The ways to move what moves by itself: one column, or those that are tied."""
_Option = tuple[tuple[int, int, tuple[tuple[int, int], ...]], int]
"""Of moves tried together: (cost, features, ((feature's place, its bin after), …)), and points added."""


class Changes:
    """What one merchant could have changed, at the sources whose codes are known."""

    def __init__(
        self,
        schema: Schema,
        card: Scorecard,
        codes: Mapping[str, Sequence[int] | Codes],
        *,
        encoders: Mapping[str, Encoder] | None = None,
    ) -> None:
        """Args:
        schema, card: the model's.
        codes: kind → (F_kind,) bins of the schema's own features; ABSENT throughout where there is no record. Kinds
            that are left out do not change.
        encoders: of the kinds whose encoder's output is a feature of the card.

        Raises:
            DataError: codes do not fit the schema, or a kind's encoder is wanted and not given.
            ArtefactError: the card has no features of a kind.
        """
        self._moves: dict[tuple[int, int], Move] = {}
        self._groups: list[list[_Option]] = []
        self._levers: set[tuple[int, ...]] = set()
        start = 0
        for kind in card.kinds:
            if kind in codes:
                self._add(_Rows(schema, card, kind, codes[kind], encoders or {}), start)
            start += len(card.of_kind(kind))

    def single(self) -> tuple[Change, ...]:
        """What adds points all by itself, in the schema's order and from the nearest bin to the farthest."""
        found = [
            option
            for group in self._groups
            for option in group
            if tuple(place for place, _ in option[0][2]) in self._levers
        ]
        return tuple(self._change(option) for option in sorted(found, key=lambda each: (each[0][2][0][0], each[0][0])))

    def most(self) -> int:
        """The most points that moves can add in all."""
        return sum(max((gain for _, gain in group), default=0) for group in self._groups)

    def smallest(self, need: int, *, limit: int = MOST_ALTERNATIVES) -> tuple[Change, ...]:
        """The cheapest changes that add at least so many points, the cheapest first.

        Args:
            need: points, at least 1.
            limit: at most this many. Each after the first does without a feature of every one before it.

        Returns:
            None where no change adds so many.

        Raises:
            DataError: `need` is less than 1.
        """
        if need < 1:
            raise DataError(f"{need} points are not missing", field="need", remedy="ask for at least one point")
        found: list[_Option] = []
        while len(found) < limit:
            sets = [[place for place, _ in option[0][2]] for option in found]
            tries = (self._cheapest(need, frozenset(left_out)) for left_out in product(*sets))
            best = min((each for each in tries if each is not None), default=None)
            if best is None:
                break
            found.append(best)
        return tuple(self._change(option) for option in found)

    def _cheapest(self, need: int, left_out: frozenset[int]) -> _Option | None:
        """Points reached so far, at most `need` → the cheapest way there; group by group."""
        best: dict[int, _Option] = {0: ((0, 0, ()), 0)}
        for group in self._groups:
            usable = [each for each in group if left_out.isdisjoint(place for place, _ in each[0][2])]
            for points, (key, gain) in [each for each in best.items() if each[0] < need]:
                for (cost, features, moves), more in usable:
                    reached = min(points + more, need)
                    longer = ((key[0] + cost, key[1] + features, key[2] + moves), gain + more)
                    if reached not in best or longer < best[reached]:
                        best[reached] = longer
        return best.get(need)

    def _change(self, option: _Option) -> Change:
        (_, _, moves), gain = option
        return Change(tuple(self._moves[move] for move in sorted(moves)), gain)

    def _add(self, rows: _Rows, start: int) -> None:
        levers = rows.levers()
        for way in (way for lever in levers for way in lever):
            self._moves |= {(start + column, move.after): move for column, move in way}
            self._levers.add(tuple(start + column for column, _ in way))
        self._groups += [_options(rows, group, start) for group in rows.joined(levers)]


class _Rows:
    """One kind's row, and what its changed copies would be worth."""

    def __init__(
        self,
        schema: Schema,
        card: Scorecard,
        kind: str,
        codes: Sequence[int] | Codes,
        encoders: Mapping[str, Encoder],
    ) -> None:
        self.kind = kind
        self._card = card
        self._features = schema.features(kind)
        self._blocks = [entry.feature for entry in card.of_kind(kind)]
        self._own = np.asarray(codes, dtype=np.uint8)
        if self._own.shape != (len(self._features),):
            raise DataError(
                f"{self._own.size} codes of kind {kind} for {len(self._features)} features",
                field=kind,
                remedy="give one code for each feature of the schema",
            )
        self._encoder = encoders.get(kind)
        if self._blocks[-1].name == encoder_feature(kind) and self._encoder is None:
            raise DataError(
                f"the model has an encoder's output of kind {kind}, and its encoder was not given",
                field=kind,
                remedy="give the encoder that the model names",
            )
        place = {feature.name: index for index, feature in enumerate(self._features)}
        self._products = {
            place[feature.name]: tuple(place[factor] for factor in feature.spec.product)
            for feature in self._features
            if feature.spec.product is not None
        }
        self._before = int(self._worth(self._own[None])[0])

    def levers(self) -> list[_Lever]:
        """What can move, in the schema's order."""
        place = {feature.name: index for index, feature in enumerate(self._features)}
        tied = [{at, place[of.spec.moves_with]} for at, of in enumerate(self._features) if of.spec.moves_with]
        found: list[_Lever] = []
        for columns in _merged([{column} for column in place.values()], tied):
            ways = {column: self._moves(column) for column in columns}
            if len(columns) == 1:
                found.append(tuple(((column, move),) for column in columns for move in ways[column] or ()))
            elif None not in ways.values():
                last = [(column, moves[-1]) for column, moves in ways.items() if moves]
                found.append((tuple(last),) if last else ())
        return [lever for lever in found if lever]

    def _moves(self, column: int) -> list[Move] | None:
        """A feature's moves, the nearest bin first; None where it cannot move wherever it is."""
        feature, block, before = self._features[column], self._blocks[column], int(self._own[column])
        way, line = feature.spec.actionable, block.ordered
        if way is None or before not in line:
            return None
        safer = None if feature.spec.monotone is None else SAFER[feature.spec.monotone]
        at = line.index(before)
        after = [
            *(line[at + 1 :] if way != "down" and safer != "down" else ()),
            *(line[:at] if way != "up" and safer != "up" else ()),
        ]
        moves = [Move(self.kind, feature.name, before, bin, abs(line.index(bin) - at)) for bin in after]
        return sorted(moves, key=lambda move: (move.steps, move.after))

    def joined(self, levers: list[_Lever]) -> list[list[_Lever]]:
        """Levers that meet in a product, or all where there is an encoder, together; others alone."""
        if self._encoder is not None:
            return [levers] if levers else []
        columns = [{column for way in lever for column, _ in way} for lever in levers]
        groups = _merged(columns, [set(factors) for factors in self._products.values()])
        return [[lever for lever, of in zip(levers, columns, strict=True) if of <= set(group)] for group in groups]

    def gains(self, changed: Sequence[Sequence[tuple[int, int]]]) -> NDArray[np.int64]:
        """(m,) points that m changed copies have more; each is (column, bin) pairs."""
        rows = np.tile(self._own, (len(changed), 1))
        for row, cells in enumerate(changed):
            for column, bin in cells:
                rows[row, column] = bin
        for column, (first, second) in self._products.items():
            pair = rows[:, first].astype(np.int64) * self._features[second].width + rows[:, second]
            rows[:, column] = pair.astype(np.uint8)
        return self._worth(rows) - self._before

    def _worth(self, rows: Codes) -> NDArray[np.int64]:
        if self._encoder is not None:
            there = rows[:, 0] != ABSENT
            column = np.full(len(rows), ABSENT, dtype=np.uint8)
            if there.any():
                column[there] = self._encoder(rows[there])
            rows = np.column_stack([rows, column])
        return self._card.kind_points(self.kind, rows)


def _merged(sets: list[set[int]], ties: list[set[int]]) -> list[list[int]]:
    """Sets, with those that one tie meets made one, each in order and all by their first member."""
    for tie in ties:
        meeting = [each for each in sets if each & tie]
        sets = [*(each for each in sets if not each & tie), *([set().union(*meeting)] if meeting else [])]
    return sorted(sorted(each) for each in sets)


def _options(rows: _Rows, levers: Sequence[_Lever], start: int) -> list[_Option]:
    """Ways of some levers together that add points: of the same columns none that costs more and adds no more."""
    found: dict[tuple[int, ...], list[_Option]] = {}
    for block in _blocks(levers):
        gains = rows.gains([[(column, move.after) for column, move in moves] for moves in block])
        for moves, gain in zip(block, gains.tolist(), strict=True):
            if gain > 0:
                cost = sum(move.steps for _, move in moves) + len(moves)
                places = tuple((start + column, move.after) for column, move in moves)
                columns = tuple(column for column, _ in moves)
                found.setdefault(columns, []).append(((cost, len(moves), places), gain))
    kept: list[_Option] = []
    for options in found.values():
        most = 0
        for key, gain in sorted(options, key=lambda each: (each[0][0], -each[1], each[0])):
            if gain > most:
                kept.append((key, gain))
                most = gain
    return kept


def _blocks(levers: Sequence[_Lever]) -> Iterator[list[_Way]]:
    """All ways to move one to `MOST_JOINED` of the levers, some thousands at a time."""
    block: list[_Way] = []
    for size in range(1, min(MOST_JOINED, len(levers)) + 1):
        for chosen in combinations(levers, size):
            for ways in product(*chosen):
                block.append(tuple(sorted(chain.from_iterable(ways), key=itemgetter(0))))
                if len(block) == _BLOCK:
                    yield block
                    block = []
    if block:
        yield block
