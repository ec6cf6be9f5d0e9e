"""F1 and F2 of `models.fit`: noisy counts made to agree with each other and with the public totals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.errors import FitError
from models.tables import FloatArray, OpenedTable


@dataclass(frozen=True)
class Margins:
    """Counts made consistent.

    Attributes:
        n: per column.
        p: per column, scaled by `label_scale`.
        size: N.
        defaults: P, scaled by `label_scale`.
        label_scale: N / N_labelled; labels are assumed to be missing at random.
        pairs: G, (D, D).
    """

    n: FloatArray
    p: FloatArray
    size: float
    defaults: float
    label_scale: float
    pairs: FloatArray


def consistent_margins(table: OpenedTable) -> Margins:
    """F1 and F2: noisy counts made to agree with each other and with the public totals.

    Raises:
        FitError: if the cohort has fewer than ten defaults or ten others, noise included.
    """
    offsets = table.offsets()
    # F1: P of a kind's merchants is pooled over its features; a sum over q bins has q times the noise.
    defaults_at: dict[str, float] = {}
    for kind in table.kinds:
        here = [i for i, f in enumerate(table.features) if f.kind == kind]
        precision = np.array([1.0 / table.features[i].width for i in here])
        sums = np.array([table.classes[i][:, 0].sum() for i in here])
        defaults_at[kind] = float((precision * sums).sum() / precision.sum())
    complete = [k for k in table.kinds if table.kind_totals[k] == table.cohort_size]
    if complete:
        weights = {k: sum(1.0 / f.width for f in table.features if f.kind == k) for k in complete}
        pooled = sum(weights[k] * defaults_at[k] for k in complete) / sum(weights.values())
        defaults_at.update(dict.fromkeys(complete, pooled))
        defaults = pooled
    else:
        defaults = max(defaults_at.values())
    size = float(table.cohort_size)
    if not 10 <= defaults <= size - 10:
        raise FitError(
            f"the cohort of {table.cohort_size} shows {max(defaults, 0):.0f} defaults; ten of each class are needed",
            field="table",
            remedy="train on more merchants, or check the label column",
        )
    n, p = np.empty(table.columns), np.empty(table.columns)
    for i, feature in enumerate(table.features):
        block = slice(offsets[i], offsets[i + 1])
        counts = table.classes[i]
        n[block] = _rescaled(counts.sum(axis=1), float(table.kind_totals[feature.kind]))
        p[block] = _within(counts[:, 0], n[block], defaults_at[feature.kind])
    # F2
    pairs = np.zeros((table.columns, table.columns))
    for i in range(len(table.features)):
        block = slice(offsets[i], offsets[i + 1])
        pairs[block, block] = np.diag(n[block])
    for (f, g), counts in table.pairs.items():
        rows, columns = slice(offsets[f], offsets[f + 1]), slice(offsets[g], offsets[g + 1])
        total = float(table.present_at_both(table.features[f].kind, table.features[g].kind))
        row_margin = _margin(table, f, table.features[g].kind, n[rows])
        column_margin = _margin(table, g, table.features[f].kind, n[columns])
        projected = (
            counts
            + (row_margin - counts.sum(axis=1))[:, None] / counts.shape[1]
            + (column_margin - counts.sum(axis=0))[None, :] / counts.shape[0]
            - (total - counts.sum()) / counts.size
        )
        pairs[rows, columns] = projected
        pairs[columns, rows] = projected.T
    scale = size / table.labelled if table.labelled else 1.0
    return Margins(n=n, p=p * scale, size=size, defaults=defaults * scale, label_scale=scale, pairs=pairs)


def _rescaled(counts: FloatArray, total: float) -> FloatArray:
    """Counts shifted to the total, kept at least 1, then scaled to the total again."""
    shifted = np.maximum(counts + (total - counts.sum()) / counts.size, 1.0)
    return np.asarray(shifted * (max(total, 1.0) / shifted.sum()))


def _within(counts: FloatArray, most: FloatArray, total: float) -> FloatArray:
    """Counts shifted to the total, each kept from 0 to `most`: no bin has −12 defaults."""
    if not 0 < total < most.sum():
        return np.asarray(most * float(np.clip(total / most.sum(), 0, 1)))
    low, high = -float(counts.max()), float((most - counts).max())
    for _ in range(100):
        shift = (low + high) / 2
        if float(np.clip(counts + shift, 0, most).sum()) < total:
            low = shift
        else:
            high = shift
    return np.asarray(np.clip(counts + high, 0, most))


def _margin(table: OpenedTable, feature: int, other: str, n: FloatArray) -> FloatArray:
    """Counts of a feature's bins among merchants that `other` holds as well.

    These are n itself when all are held there; else they are pooled over the pair blocks with `other`'s features.
    """
    own = table.features[feature].kind
    total = table.present_at_both(*((own, other) if (own, other) in table.pair_totals else (other, own)))
    if own == other or total == table.kind_totals[own]:
        return n
    estimate, precision = np.zeros_like(n), 0.0
    for g, partner in enumerate(table.features):
        if partner.kind == other:
            counts = table.pairs[(feature, g)] if feature < g else table.pairs[(g, feature)].T
            estimate += counts.sum(axis=1) / partner.width
            precision += 1.0 / partner.width
    return _rescaled(estimate / precision, float(total))
