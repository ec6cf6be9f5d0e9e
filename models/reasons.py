"""Reason codes: which features cost a merchant most points, named without their points.

After the "points below maximum" method of Regulation B (ECOA, 12 CFR 1002.9(b)(2), official interpretation 5): a
feature's loss is the most points that a value can give less those it gave; *missing* and codes are no values that
anybody could aim at, and noise can leave odd points there. Each source names its own kind's features only. A
merchant without a record there counts as having 0 points in each, so that its answer looks like any other's.

Whoever asks sees the sources' rankings, not their points, so it cannot rank features of different sources. It takes
turns: every source's first reason, then every source's second, and so on, four in all, the number that the official
interpretation of Regulation B holds to be enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.i18n import language_of
from models.schema import Schema
from models.scorecard import FeaturePoints, Scorecard
from models.tables import encoder_feature, joined_codes

MAX_REASONS = 4


def reasons_of(
    card: Scorecard, kind: str, codes: NDArray[np.integer], *, limit: int = MAX_REASONS
) -> list[tuple[str, ...]]:
    """Names of a kind's features by points lost, greatest first.

    Args:
        card: the model.
        kind: the source's kind.
        codes: (n, F_kind) bin codes; rows of ABSENT are absent merchants.
        limit: at most this many names a merchant.

    Returns:
        n tuples; features that cost nothing are not named, ties keep the schema's order.
    """
    if not 0 <= limit <= MAX_REASONS:
        raise DataError(f"limit {limit} is not between 0 and {MAX_REASONS}", field="limit", remedy="use at most 4")
    entries = card.of_kind(kind)
    rows = joined_codes([entry.feature for entry in entries], {kind: codes}, len(codes))
    lost = np.stack(
        [
            most_points(entry) - np.array([*entry.points, 0], dtype=np.int64)[rows[:, column]]
            for column, entry in enumerate(entries)
        ],
        axis=1,
    )
    order = np.argsort(-lost, axis=1, kind="stable")[:, :limit]
    names = [entry.feature.name for entry in entries]
    return [tuple(names[column] for column in order[row] if lost[row, column] > 0) for row in range(len(rows))]


def most_points(entry: FeaturePoints) -> int:
    """The most points that a value of a feature can give: neither a missing one nor a code."""
    feature = entry.feature
    bins = feature.ordered if feature.ordinal else range(feature.width if feature.axes else feature.width - 1)
    return max(entry.points[bin] for bin in bins)


def main_reasons(ranked: Sequence[Sequence[str]], *, limit: int = MAX_REASONS) -> tuple[str, ...]:
    """The reasons of one answer, taken from the sources in turn.

    Args:
        ranked: each source's own ranking, sources in the order of the model's kinds.
        limit: at most this many in all.

    Returns:
        Names, each once; places in it say nothing of points lost at one source against another.
    """
    turns = (name for turn in zip_longest(*ranked) for name in turn if name is not None)
    return tuple(dict.fromkeys(turns))[:limit]


def reason_texts(schema: Schema, names: Sequence[str], lang: str) -> list[str]:
    """Sentences for persons, one a feature name, in Chinese or English.

    Raises:
        SchemaError: if a name is not a feature of the schema.
    """
    texts: list[str] = []
    for name in names:
        title = feature_title(schema, name, lang)
        texts.append(f"{title}：降低了评分" if language_of(lang) == "zh" else f"{title}: lowered the score")
    return texts


def feature_title(schema: Schema, name: str, lang: str) -> str:
    """A feature's name for persons; an encoder's output is the overall assessment at its source.

    Raises:
        SchemaError: if the name is not a feature of the schema.
    """
    encoders = {encoder_feature(kind): kind for kind in schema.kinds_in_order()}
    if name not in encoders:
        return schema.feature(name).spec.title.text(language_of(lang))
    source = kind_title(schema, encoders[name], lang)
    return f"{source}模型综合评估" if language_of(lang) == "zh" else f"Overall assessment at: {source}"


def kind_title(schema: Schema, kind: str, lang: str) -> str:
    """A kind's name for persons, or its plain name where the schema gives none."""
    held = schema.kinds[kind].title
    return held.text(language_of(lang)) if held is not None else kind
