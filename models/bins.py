"""From columns to bin codes, and from codes to the 0/1 rows that the protocol counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from models.errors import DataError
from models.schema import Feature, FeatureSpec, Label, Schema

Codes = npt.NDArray[np.uint8]
ABSENT = 255  # the code of every feature of a merchant without a record at this kind
DEFAULTED, PERFORMING, UNLABELLED = 0, 1, 2
N_OUTCOMES = 3
REMEDY = "correct the cell, or leave it empty where the value is unknown"


@dataclass(frozen=True)
class CellProblem:
    """A cell that does not fit the schema.

    Attributes:
        row: 0-based position in the column.
        column: its name.
        what: what is wrong, without the value (it may be personal information).
    """

    row: int
    column: str
    what: str


@dataclass(frozen=True)
class Encoded:
    """Binned rows of one kind.

    Attributes:
        codes: (n, F) bins, features in the order of the schema.
        outcome: (n,) 0 defaulted, 1 performing, 2 no label; ``None`` where the kind has no label.
    """

    codes: Codes
    outcome: Codes | None


def bin_column(feature: Feature | FeatureSpec, series: pl.Series, *, first_row: int = 1) -> Codes:
    """Bin one column.

    Args:
        feature: the feature's public bins.
        series: (n,) values; null, NaN and empty text are missing.
        first_row: number of the first row, for messages.

    Returns:
        (n,) codes.

    Raises:
        DataError: text or an infinite number in a numeric column; the message names row and column.
    """
    codes, problems = bin_checked(feature, series)
    _refuse(problems, first_row)
    return codes


def bin_checked(feature: Feature | FeatureSpec, series: pl.Series) -> tuple[Codes, list[CellProblem]]:
    """Bin one column and list every cell that does not fit (such cells count as missing)."""
    spec = feature.spec if isinstance(feature, FeatureSpec) else feature
    if spec.bins is None:
        return _categories(spec, series)
    values, problems = _numbers(series)
    kind: type[np.floating] = np.float32 if series.dtype == pl.Float32 else np.float64
    # a value stored as float32 is compared in float32, or 0.1 would fall above the edge 0.1
    edges = np.asarray(spec.bins, dtype=kind)
    codes = np.searchsorted(edges, values.astype(kind), side="left").astype(np.uint8)
    codes[~np.isfinite(values)] = spec.missing_bin
    return codes, problems


def bin_outcome(label: Label, series: pl.Series, *, first_row: int = 1) -> Codes:
    """Read the label column: 0 defaulted, 1 performing, 2 no label.

    Raises:
        DataError: a value that is neither ``label.positive`` nor ``label.negative``.
    """
    codes, problems = outcome_checked(label, series)
    _refuse(problems, first_row)
    return codes


def outcome_checked(label: Label, series: pl.Series) -> tuple[Codes, list[CellProblem]]:
    """Read the label column and list every cell that is no outcome (such cells count as unlabelled)."""
    text = text_values(series)
    positive, negative = str(label.positive).strip(), str(label.negative).strip()
    if series.dtype == pl.Boolean:
        positive, negative = _boolean(positive), _boolean(negative)
    codes = np.full(len(series), UNLABELLED, dtype=np.uint8)
    is_positive = text.eq(positive).fill_null(value=False).to_numpy()
    is_negative = text.eq(negative).fill_null(value=False).to_numpy()
    codes[is_positive] = DEFAULTED
    codes[is_negative] = PERFORMING
    wrong = np.flatnonzero(text.is_not_null().to_numpy() & ~is_positive & ~is_negative)
    what = f"is neither {positive} nor {negative}"
    return codes, [CellProblem(int(row), series.name, what) for row in wrong]


def encode(schema: Schema, kind: str, frame: pl.DataFrame, *, first_row: int = 1) -> Encoded:
    """Bin a table of one kind.

    Args:
        schema: the public schema.
        kind: whose features to read.
        frame: at least the kind's columns (and the label's, at the label's kind); others are ignored.
        first_row: number of the first row, for messages.

    Raises:
        DataError: a missing column, or a cell that does not fit.
    """
    features = schema.features(kind)
    wanted = [feature.name for feature in features]
    labelled = schema.label.kind == kind
    if labelled:
        wanted.append(schema.label.column)
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise DataError(
            f"missing columns: {', '.join(absent)}", field=absent[0], remedy=f"add the columns that {kind} must have"
        )
    codes = np.empty((frame.height, len(features)), dtype=np.uint8)
    for index, feature in enumerate(features):
        codes[:, index] = bin_column(feature, frame[feature.name], first_row=first_row)
    outcome = bin_outcome(schema.label, frame[schema.label.column], first_row=first_row) if labelled else None
    return Encoded(codes, outcome)


def one_hot(codes: Codes, widths: Sequence[int], outcome: Codes | None = None) -> Codes:
    """Turn codes into the 0/1 rows that the cross-source tables count.

    Args:
        codes: (n, F); a code of ``ABSENT`` leaves its block empty.
        widths: bins per feature.
        outcome: (n,) 0, 1 or 2; adds three columns: defaulted, performing, no label.

    Returns:
        (n, d) with d = Σ widths (+ 3).

    Raises:
        DataError: shapes disagree, or a code is outside its block.
    """
    codes = np.asarray(codes, dtype=np.uint8)
    if codes.ndim != 2 or codes.shape[1] != len(widths):
        raise DataError(
            f"codes have shape {codes.shape}, but there are {len(widths)} features",
            field="codes",
            remedy="encode the rows with the same schema",
        )
    blocks = list(widths)
    if outcome is not None:
        if outcome.shape != (codes.shape[0],):
            raise DataError(
                f"outcome has shape {outcome.shape}, codes have {codes.shape[0]} rows",
                field="outcome",
                remedy="pass the outcome of the same rows",
            )
        codes = np.column_stack([codes, np.asarray(outcome, dtype=np.uint8)])
        blocks.append(N_OUTCOMES)
    limits = np.asarray(blocks)
    wrong = (codes >= limits) & (codes != ABSENT)
    if outcome is not None:
        wrong[:, -1] |= codes[:, -1] == ABSENT
    if wrong.any():
        row, block = (int(index[0]) for index in np.nonzero(wrong))
        raise DataError(
            f"row {row}, block {block}: code {codes[row, block]} is outside its {blocks[block]} bins",
            field="codes",
            remedy="encode the rows with the same schema",
        )
    rows = np.zeros((codes.shape[0], int(limits.sum())), dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(limits)])
    for index, (start, stop) in enumerate(pairwise(offsets)):
        np.equal(codes[:, index, None], np.arange(stop - start), out=rows[:, start:stop], casting="unsafe")
    return rows


def text_values(series: pl.Series) -> pl.Series:
    """Values as stripped text, null for missing (null, NaN, empty text); 1.0 reads "1" as 1 does."""
    if series.dtype.is_float():
        whole = series.is_finite() & (series == series.round(0))
        as_integer = series.set(~whole.fill_null(value=False), None).cast(pl.Int64, strict=False).cast(pl.String)
        text = as_integer.zip_with(as_integer.is_not_null(), series.fill_nan(None).cast(pl.String))
    else:
        text = series.cast(pl.String, strict=False)
    text = text.str.strip_chars()
    return text.set(text == "", None)


def _refuse(problems: list[CellProblem], first_row: int) -> None:
    if not problems:
        return
    first = problems[0]
    more = f" ({len(problems) - 1} more cells of this column)" if len(problems) > 1 else ""
    raise DataError(
        f"row {first.row + first_row}, column {first.column}: {first.what}{more}", field=first.column, remedy=REMEDY
    )


def _numbers(series: pl.Series) -> tuple[npt.NDArray[np.float64], list[CellProblem]]:
    """Values as float64 with NaN for missing, and what is not a finite number."""
    name = series.name
    if series.dtype == pl.String:
        given = text_values(series)
        numbers = given.cast(pl.Float64, strict=False)
    elif series.dtype.is_numeric() or series.dtype in (pl.Null, pl.Boolean):
        given = series
        numbers = series.cast(pl.Float64)
    else:
        # dates, lists, bytes: no cell of such a column can be a number
        empty = np.full(len(series), np.nan)
        rows = np.flatnonzero(series.is_not_null().to_numpy())
        return empty, [CellProblem(int(row), name, f"is {series.dtype}, not a number") for row in rows]
    values = numbers.fill_null(float("nan")).to_numpy().astype(np.float64)
    unread = given.is_not_null().to_numpy() & numbers.is_null().to_numpy()
    problems = [CellProblem(int(row), name, "is text, not a number") for row in np.flatnonzero(unread)]
    problems += [CellProblem(int(row), name, "is infinite") for row in np.flatnonzero(np.isinf(values))]
    return values, sorted(problems, key=lambda problem: problem.row)


def _boolean(value: str) -> str:
    return "true" if value.lower() in {"1", "true"} else "false" if value.lower() in {"0", "false"} else value


def _categories(spec: Feature, series: pl.Series) -> tuple[Codes, list[CellProblem]]:
    if series.dtype.is_nested() or series.dtype == pl.Binary:
        rows = np.flatnonzero(series.is_not_null().to_numpy())
        codes = np.full(len(series), spec.missing_bin, dtype=np.uint8)
        return codes, [CellProblem(int(row), series.name, f"is {series.dtype}, not text") for row in rows]
    names = spec.categories or ()
    other = len(names)
    index = {name: position for position, name in enumerate(names)}
    codes_or_null = text_values(series).replace_strict(index, default=other, return_dtype=pl.Int64)
    missing = text_values(series).is_null().to_numpy()
    codes = codes_or_null.fill_null(spec.missing_bin).to_numpy().astype(np.uint8)
    codes[missing] = spec.missing_bin
    return codes, []
