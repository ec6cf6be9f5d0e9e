"""The opened table: bin counts per class and pair counts between features, exact or noisy.

The order of cells is that of the released vector (docs/protocol.md, 4): for every feature, kinds in order, for
every bin `p` (defaulted) then `n0` (not defaulted: performing, and no label yet); then for every pair of features
f < g in that order bins_f × bins_g, row-major.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations

import numpy as np
from numpy.typing import NDArray

from models.codes import ABSENT, DEFAULTED
from models.errors import DataError
from models.feature import BinAxis, Direction
from models.schema import Schema

FloatArray = NDArray[np.float64]
KindCodes = Mapping[str, NDArray[np.integer]]
"""Per kind an (N, F_kind) array of bin codes; merchants without a record there are rows of ABSENT (or of -1)."""


@dataclass(frozen=True)
class FeatureBins:
    """One feature's one-hot block. Bins in `alone` (missing, other, special codes) have no neighbours.

    Attributes:
        axes: of a product its two sides, the second running fastest; its bins have neighbours along these.
        monotone: how risk must go along the bins that are not alone.
    """

    kind: str
    name: str
    width: int
    ordinal: bool
    alone: tuple[int, ...] = ()
    axes: tuple[BinAxis, ...] = ()
    monotone: Direction | None = None

    @property
    def ordered(self) -> tuple[int, ...]:
        """The bins that lie in one line, in order."""
        return tuple(bin for bin in range(self.width) if self.ordinal and bin not in self.alone)


@dataclass(frozen=True)
class OpenedTable:
    """Counts of a cohort. Sizes in `kind_totals` and `pair_totals` are public membership numbers without noise.

    Attributes:
        features: blocks in the order of the vector; features of a kind are adjacent.
        classes: per feature a (bins, 2) array of p and n0.
        pairs: (f, g) with f < g → (bins_f, bins_g) counts.
        cohort_size: N.
        kind_totals: kind → merchants of the cohort present there, T_k.
        pair_totals: (k, l) in order of kinds, k ≠ l → merchants present at both, T_kl.
        sigma_class: standard deviation of the noise on class counts; 0 when exact.
        sigma_pair: the same on pair counts.
        labelled: merchants that have a label if that number is public, else None (all are taken as labelled).
    """

    features: tuple[FeatureBins, ...]
    classes: tuple[FloatArray, ...]
    pairs: dict[tuple[int, int], FloatArray]
    cohort_size: int
    kind_totals: dict[str, int]
    pair_totals: dict[tuple[str, str], int]
    sigma_class: float
    sigma_pair: float
    labelled: int | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds in order of first appearance."""
        return kinds_of(self.features)

    @property
    def columns(self) -> int:
        """D, the number of one-hot columns over all features."""
        return sum(feature.width for feature in self.features)

    def offsets(self) -> list[int]:
        """First column of every feature's block, and D at the end."""
        return [0, *accumulate(feature.width for feature in self.features)]

    def present_at_both(self, first: str, second: str) -> int:
        """T_kl; for one kind T_k."""
        if first == second:
            return self.kind_totals[first]
        return self.pair_totals[(first, second)]

    def to_vector(self) -> FloatArray:
        """All cells in released order, as they were opened: with little noise on a grid finer than integers."""
        parts = [counts.ravel() for counts in self.classes]
        parts += [self.pairs[pair].ravel() for pair in _pairs(len(self.features))]
        return np.concatenate(parts)

    def digest(self) -> str:
        """Hex SHA-256 over the public layout and every cell, in released order."""
        header = {
            "cohort_size": self.cohort_size,
            "features": [
                [
                    f.kind,
                    f.name,
                    f.width,
                    f.ordinal,
                    list(f.alone),
                    [[a.width, list(a.alone)] for a in f.axes],
                    f.monotone,
                ]
                for f in self.features
            ],
            "kind_totals": self.kind_totals,
            "labelled": self.labelled,
            "pair_totals": [[*pair, total] for pair, total in sorted(self.pair_totals.items())],
            "sigma_class": f"{self.sigma_class:.10g}",
            "sigma_pair": f"{self.sigma_pair:.10g}",
        }
        head = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        cells = self.to_vector() + 0.0  # one zero, whatever its sign
        return hashlib.sha256(head + b"\n" + cells.astype("<f8").tobytes()).hexdigest()

    def with_gaussian_noise(self, rng: np.random.Generator, sigma_class: float, sigma_pair: float) -> OpenedTable:
        """This exact table with rounded Gaussian noise: central experiments only, no privacy claim."""

        def noisy(counts: FloatArray, sigma: float) -> FloatArray:
            return np.asarray(np.rint(counts + rng.normal(0.0, sigma, counts.shape)), dtype=np.float64)

        return OpenedTable(
            features=self.features,
            classes=tuple(noisy(counts, sigma_class) for counts in self.classes),
            pairs={pair: noisy(self.pairs[pair], sigma_pair) for pair in _pairs(len(self.features))},
            cohort_size=self.cohort_size,
            kind_totals=self.kind_totals,
            pair_totals=self.pair_totals,
            sigma_class=sigma_class,
            sigma_pair=sigma_pair,
            labelled=self.labelled,
        )


def kinds_of(features: Sequence[FeatureBins]) -> tuple[str, ...]:
    """Kinds of the features in order of first appearance."""
    return tuple(dict.fromkeys(feature.kind for feature in features))


def feature_bins(schema: Schema, encoders: Mapping[str, int] | None = None) -> tuple[FeatureBins, ...]:
    """Blocks of a schema's features, kinds in order.

    Args:
        encoders: kind → bins of the encoder feature appended to that kind's own features, if an encoder stage ran.
    """
    blocks: list[FeatureBins] = []
    for kind in schema.kinds_in_order():
        for feature in schema.features(kind):
            spec = feature.spec
            blocks.append(
                FeatureBins(
                    kind, feature.name, spec.width, spec.ordinal, spec.standalone_bins, spec.axes, spec.monotone
                )
            )
        if encoders and kind in encoders:
            blocks.append(FeatureBins(kind, encoder_feature(kind), encoders[kind], ordinal=True))
    return tuple(blocks)


def encoder_feature(kind: str) -> str:
    """Name of the feature that holds the binned output of a kind's encoder."""
    return f"encoder:{kind}"


def cells(features: Sequence[FeatureBins]) -> int:
    """Number of released cells."""
    widths = [feature.width for feature in features]
    return 2 * sum(widths) + sum(widths[f] * widths[g] for f, g in _pairs(len(widths)))


def from_vector(
    vector: NDArray[np.integer] | NDArray[np.floating],
    features: Sequence[FeatureBins],
    *,
    cohort_size: int,
    kind_totals: Mapping[str, int],
    pair_totals: Mapping[tuple[str, str], int],
    sigma_class: float,
    sigma_pair: float,
    labelled: int | None = None,
) -> OpenedTable:
    """The opened vector as a table.

    Raises:
        DataError: if the vector's length is not that of the layout, or a kind or pair of kinds has no total.
    """
    layout = tuple(features)
    _check_totals(layout, cohort_size, kind_totals, pair_totals)
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (cells(layout),):
        raise DataError(
            f"the opened vector has {values.size} cells, its layout {cells(layout)}",
            field="vector",
            remedy="open it with the schema of the campaign's terms",
        )
    place = 0
    classes: list[FloatArray] = []
    for feature in layout:
        classes.append(values[place : place + 2 * feature.width].reshape(feature.width, 2))
        place += 2 * feature.width
    pairs: dict[tuple[int, int], FloatArray] = {}
    for f, g in _pairs(len(layout)):
        size = layout[f].width * layout[g].width
        pairs[(f, g)] = values[place : place + size].reshape(layout[f].width, layout[g].width)
        place += size
    return OpenedTable(
        features=layout,
        classes=tuple(classes),
        pairs=pairs,
        cohort_size=cohort_size,
        kind_totals=dict(kind_totals),
        pair_totals=dict(pair_totals),
        sigma_class=sigma_class,
        sigma_pair=sigma_pair,
        labelled=labelled,
    )


def from_codes(
    features: Sequence[FeatureBins], codes: KindCodes, outcomes: NDArray[np.integer], *, labelled: int | None = None
) -> OpenedTable:
    """The exact table of joined rows: what the protocol opens when no noise is added.

    Args:
        features: blocks; column c of `codes[kind]` belongs to the c-th feature of that kind.
        codes: see `KindCodes`.
        outcomes: (N,) of 0 defaulted, 1 performing, 2 no label yet.
        labelled: passed on to the table.

    Raises:
        DataError: if shapes or codes do not fit the features.
    """
    layout = tuple(features)
    kinds = kinds_of(layout)
    defaulted = np.asarray(outcomes) == DEFAULTED
    columns = joined_codes(layout, codes, defaulted.size)
    present = {kind: columns[:, next(i for i, f in enumerate(layout) if f.kind == kind)] >= 0 for kind in kinds}
    classes: list[FloatArray] = []
    for index, feature in enumerate(layout):
        here = columns[:, index] >= 0
        p = np.bincount(columns[here & defaulted, index], minlength=feature.width)
        n0 = np.bincount(columns[here & ~defaulted, index], minlength=feature.width)
        classes.append(np.stack([p, n0], axis=1).astype(np.float64))
    pairs: dict[tuple[int, int], FloatArray] = {}
    for f, g in _pairs(len(layout)):
        both = present[layout[f].kind] & present[layout[g].kind]
        flat = columns[both, f] * layout[g].width + columns[both, g]
        counts = np.bincount(flat, minlength=layout[f].width * layout[g].width)
        pairs[(f, g)] = counts.reshape(layout[f].width, layout[g].width).astype(np.float64)
    return OpenedTable(
        features=layout,
        classes=tuple(classes),
        pairs=pairs,
        cohort_size=int(defaulted.size),
        kind_totals={kind: int(present[kind].sum()) for kind in kinds},
        pair_totals={(k, m): int((present[k] & present[m]).sum()) for k, m in combinations(kinds, 2)},
        sigma_class=0.0,
        sigma_pair=0.0,
        labelled=labelled,
    )


def joined_codes(features: Sequence[FeatureBins], codes: KindCodes, rows: int) -> NDArray[np.int64]:
    """(N, F) codes in order of features, -1 where the merchant is absent at the feature's kind.

    Raises:
        DataError: if a kind is missing, a shape is wrong, a code is out of its feature's bins, or a row is half absent.
    """
    out = np.empty((rows, len(features)), dtype=np.int64)
    for kind in kinds_of(features):
        members = [index for index, feature in enumerate(features) if feature.kind == kind]
        if kind not in codes:
            raise DataError(f"no codes of kind {kind}", field=kind, remedy="give every kind of the model")
        block = np.asarray(codes[kind]).astype(np.int64)
        if block.shape != (rows, len(members)):
            raise DataError(
                f"codes of kind {kind} have shape {block.shape}, not {(rows, len(members))}",
                field=kind,
                remedy="one column per feature of the kind, one row per merchant",
            )
        widths = np.array([features[index].width for index in members])
        block[block == ABSENT] = -1
        absent = (block == -1).all(axis=1)
        valid = ((block >= 0) & (block < widths)).all(axis=1)
        if not (absent | valid).all():
            row = int(np.flatnonzero(~(absent | valid))[0])
            raise DataError(
                f"row {row} of kind {kind} has a code outside its bins",
                field=kind,
                remedy="encode rows with the schema's bins; an absent merchant has 255 in the whole row",
            )
        out[:, members] = block
    return out


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return combinations(range(count), 2)


def _check_totals(
    features: tuple[FeatureBins, ...],
    cohort_size: int,
    kind_totals: Mapping[str, int],
    pair_totals: Mapping[tuple[str, str], int],
) -> None:
    kinds = kinds_of(features)
    missing = [kind for kind in kinds if kind not in kind_totals]
    missing += ["–".join(pair) for pair in combinations(kinds, 2) if pair not in pair_totals]
    if missing:
        raise DataError(
            f"no membership totals for {', '.join(missing)}",
            field="totals",
            remedy="take them from the campaign's terms",
        )
    if any(not 0 <= total <= cohort_size for total in (*kind_totals.values(), *pair_totals.values())):
        raise DataError(
            "a membership total is larger than the cohort", field="totals", remedy="take totals from the terms"
        )
