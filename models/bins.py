"""From columns to bin codes, and from codes to the 0/1 rows that the protocol counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from models.codes import ABSENT, DEFAULTED, N_OUTCOMES, PERFORMING, UNLABELLED, Codes
from models.derived_values import derived_values
from models.errors import DataError
from models.feature import Feature
from models.rounding import coins, knot_codes, rounded_alone
from models.said import Said, said
from models.schema import FeatureSpec, Label, Schema

Values = npt.NDArray[np.float64]
_BOOLEANS = {"true": 1.0, "false": 0.0}
_SAME_AS = {"1": "true", "0": "false", "true": "true", "false": "false"}
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
    what: Said


@dataclass(frozen=True)
class Binned:
    """A kind's table in bins, whatever its cells hold.

    Attributes:
        codes: (n, F) bins, features in the order of the schema; a cell that does not fit counts as missing.
        problems: those cells, column by column.
        outside: (F,) how many values lie outside the feature's ``range``; 0 where it has none.
    """

    codes: Codes
    problems: list[CellProblem]
    outside: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """Binned rows of one kind.

    Attributes:
        codes: (n, F) bins, features in the order of the schema.
        outcome: (n,) 0 defaulted, 1 performing, 2 no label; ``None`` where the kind has no label.
    """

    codes: Codes
    outcome: Codes | None


def bin_checked(feature: Feature | FeatureSpec, series: pl.Series) -> tuple[Codes, list[CellProblem]]:
    """Bin one column and list every cell that does not fit (such cells count as missing).

    Args:
        feature: public bins of a feature that is neither derived nor a product.
        series: (n,) values; null, NaN and empty text are missing.

    Returns:
        (n,) codes, and the problems in order of rows.

    Raises:
        SchemaError: the bins are still to come from quantiles; see `models.quantile_bins.on_grid`. Or they are knots,
            to which `bin_frame` rounds by the merchants' identifiers.
    """
    spec = feature.spec if isinstance(feature, FeatureSpec) else feature
    if not spec.ordinal:
        return _categories(spec, series)
    if spec.rounded:
        raise rounded_alone(series.name)
    values, problems = _numbers(series)
    return _codes_of(spec, values), problems


def bin_frame(schema: Schema, kind: str, frame: pl.DataFrame) -> Binned:
    """Bin all features of a kind, derived ones and products included.

    Args:
        schema: the public schema.
        kind: whose features to bin.
        frame: the columns of ``schema.columns(kind)``, and the identifier's where a feature is rounded to knots; others
            are ignored.

    Raises:
        SchemaError: the schema has no such kind, bins of it are still to come from quantiles, or a feature is rounded
            and the frame has no identifiers.
    """
    features = schema.features(kind)
    place = {feature.name: index for index, feature in enumerate(features)}
    codes = np.empty((frame.height, len(features)), dtype=np.uint8)
    outside = np.zeros(len(features), dtype=np.int64)
    problems: list[CellProblem] = []
    amounts: dict[str, Values] = {}
    numbers = _read_as_numbers(features)
    for name in schema.columns(kind):
        spec = features[place[name]].spec if name in place else None
        if spec is not None and not spec.rounded:
            codes[:, place[name]], found = bin_checked(spec, frame[name])
        if name in numbers:
            values, found = _numbers(frame[name])
            amounts[name] = _amounts(values, spec)
        if spec is not None and spec.rounded and spec.bins is not None:
            if schema.id.column not in frame.columns:
                raise rounded_alone(name)
            identifiers = text_values(frame[schema.id.column]).to_list()
            codes[:, place[name]] = knot_codes(spec.bins, amounts[name], coins(schema.name, name, identifiers))
            low = np.flatnonzero(amounts[name] < spec.bins[0])
            found = found + [CellProblem(int(row), name, said("is below the least knot")) for row in low]
        problems += found
    for index, feature in enumerate(features):
        spec = feature.spec
        if spec.derived is not None:
            values = derived_values(spec.derived, amounts)
            codes[:, index] = _codes_of(spec, values)
            amounts[feature.name] = _amounts(values, spec)
        if spec.range is not None:
            values = amounts[feature.name]
            outside[index] = int(((values < spec.range[0]) | (values > spec.range[1])).sum())
    for index, feature in enumerate(features):
        if feature.spec.product is not None:
            first, second = (place[name] for name in feature.spec.product)
            pair = codes[:, first].astype(np.int64) * features[second].width + codes[:, second]
            codes[:, index] = pair.astype(np.uint8)
    return Binned(codes, problems, outside)


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
    codes = np.full(len(series), UNLABELLED, dtype=np.uint8)
    is_positive, is_negative = _reads(text, positive), _reads(text, negative)
    codes[is_positive] = DEFAULTED
    codes[is_negative] = PERFORMING
    wrong = np.flatnonzero(text.is_not_null().to_numpy() & ~is_positive & ~is_negative)
    what = said("is neither {positive} nor {negative}", positive=positive, negative=negative)
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
    wanted = [*schema.columns(kind)]
    labelled = schema.label.kind == kind
    if labelled:
        wanted.append(schema.label.column)
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise DataError(
            f"missing columns: {', '.join(absent)}", field=absent[0], remedy=f"add the columns that {kind} must have"
        )
    binned = bin_frame(schema, kind, frame)
    _refuse(binned.problems, first_row)
    outcome = bin_outcome(schema.label, frame[schema.label.column], first_row=first_row) if labelled else None
    return Encoded(binned.codes, outcome)


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
    elif series.dtype.is_decimal():
        text = series.cast(pl.String).str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")
    else:
        text = series.cast(pl.String, strict=False)
    text = text.str.strip_chars()
    return text.set(text == "", None)


def _refuse(problems: list[CellProblem], first_row: int) -> None:
    if not problems:
        return
    first = problems[0]
    count = sum(problem.column == first.column for problem in problems)
    more = f" ({count - 1} more cells of this column)" if count > 1 else ""
    raise DataError(
        f"row {first.row + first_row}, column {first.column}: {first.what}{more}", field=first.column, remedy=REMEDY
    )


def _codes_of(spec: Feature, values: Values) -> Codes:
    """Bins of an ordinal feature's values; NaN and what is infinite are missing."""
    if spec.bins is None:
        raise spec.no_bins_yet()
    codes = np.searchsorted(np.asarray(spec.bins), values, side="left").astype(np.uint8)
    codes[~np.isfinite(values)] = spec.missing_bin
    return codes


def _read_as_numbers(features: Sequence[FeatureSpec]) -> set[str]:
    """Columns whose values are needed, not only their bins."""
    derived = {name for feature in features if feature.spec.derived for name in feature.spec.derived.columns}
    return derived | {each.name for each in features if each.spec.range is not None or each.spec.rounded}


def _amounts(values: Values, spec: Feature | None) -> Values:
    """Values as derived features read them: NaN for codes and what is infinite."""
    most = np.inf if spec is None or spec.special_from is None else spec.special_from
    return np.where(np.isfinite(values) & (values <= most), values, np.nan)


def _numbers(series: pl.Series) -> tuple[Values, list[CellProblem]]:
    """Values as float64 with NaN for missing, and what is not a finite number.

    What a column's type is must not matter: decimals and 32-bit floats are read as the decimal text they stand for
    (0.1 lies in the bin that ends at 0.1), and text may be a number, or true or false as Booleans are.
    """
    name = series.name
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        given = text_values(series)
        numbers = given.cast(pl.Float64, strict=False)
        if numbers.null_count() > given.null_count():
            words = given.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Float64)
            numbers = numbers.fill_null(words)
    elif series.dtype.is_decimal() or series.dtype == pl.Float32:
        given = series
        numbers = series.cast(pl.String).cast(pl.Float64)
    elif series.dtype.is_numeric() or series.dtype in (pl.Null, pl.Boolean):
        given = series
        numbers = series.cast(pl.Float64)
    else:
        # dates, lists, bytes: no cell of such a column can be a number
        empty = np.full(len(series), np.nan)
        rows = np.flatnonzero(series.is_not_null().to_numpy())
        return empty, [CellProblem(int(row), name, said("is {type}, not a number", type=series.dtype)) for row in rows]
    values = numbers.fill_null(float("nan")).to_numpy().astype(np.float64)
    unread = given.is_not_null().to_numpy() & numbers.is_null().to_numpy()
    problems = [CellProblem(int(row), name, said("is text, not a number")) for row in np.flatnonzero(unread)]
    problems += [CellProblem(int(row), name, said("is infinite")) for row in np.flatnonzero(np.isinf(values))]
    return values, sorted(problems, key=lambda problem: problem.row)


def _reads(text: pl.Series, value: str) -> npt.NDArray[np.bool_]:
    """Which cells are this value of a label; where it is a whole number, 1.0 is 1, and true is 1 and false 0."""
    found = text.eq(value)
    if value.lstrip("-").isdigit():
        found |= text.cast(pl.Float64, strict=False).eq(float(value))
    if value.lower() in _BOOLEANS:
        found |= text.cast(pl.Float64, strict=False).eq(_BOOLEANS[value.lower()])
    if value.lower() in _SAME_AS:
        found |= text.str.to_lowercase().eq(_SAME_AS[value.lower()])
    return np.asarray(found.fill_null(value=False).to_numpy(), dtype=np.bool_)


def _categories(spec: Feature, series: pl.Series) -> tuple[Codes, list[CellProblem]]:
    if series.dtype.is_nested() or series.dtype == pl.Binary:
        rows = np.flatnonzero(series.is_not_null().to_numpy())
        codes = np.full(len(series), spec.missing_bin, dtype=np.uint8)
        return codes, [
            CellProblem(int(row), series.name, said("is {type}, not text", type=series.dtype)) for row in rows
        ]
    names = spec.categories or ()
    other = len(names)
    index = {name: position for position, name in enumerate(names)}
    text = text_values(series)
    # a file written from floats has 2.0 where the category is 2
    whole = text.str.replace(r"^([+-]?\d+)\.0+$", "$1")
    found = text.replace_strict(index, default=None, return_dtype=pl.Int64)
    found = found.fill_null(whole.replace_strict(index, default=other, return_dtype=pl.Int64))
    codes = found.fill_null(spec.missing_bin).to_numpy().astype(np.uint8)
    codes[text.is_null().to_numpy()] = spec.missing_bin
    return codes, []
