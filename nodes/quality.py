"""What a node's table is like, before a campaign counts it: shares, labels, and how it has moved since the last one.

Nothing here leaves the node. Findings are warnings: what would keep the node out of a campaign is an error of
`NodeTable.load`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from models.codes import DEFAULTED, PERFORMING
from models.drift import MOVED, MOVED_MUCH, stability_index
from models.quantile_bins import on_grid
from models.schema import FeatureSpec, Schema
from nodes.frozen_counts import BinCounts, KeptCounts
from nodes.sources.table import NodeTable

OUTCOMES = ("defaulted", "performing", "no label")
MOSTLY_MISSING, MANY_OTHERS = 0.5, 0.1
FEW_OF_A_CLASS = 10

WARNINGS = {
    "constant": "{feature}: all values lie in one bin, so it tells nothing",
    "mostly-missing": "{feature}: {share} of the rows have no value",
    "many-others": "{feature}: {share} of the rows have a value that is not among the categories",
    "out-of-range": "{feature}: {count} values lie outside the range that the schema expects",
    "moved": "{feature}: the rows have moved since campaign {campaign} (stability index {index})",
    "moved-much": "{feature}: the rows have moved much since campaign {campaign} (stability index {index})",
    "adverse-too-old": "{feature}: {count} adverse facts ended more than five years ago and are not used",
    "few-of-a-class": "labels: {defaulted} defaulted and {performing} performing; a campaign needs ten of each in all",
}
"""Code → text for persons."""


@dataclass(frozen=True)
class Warned:
    """A finding: its code, and what its text needs."""

    code: str
    params: dict[str, str]


@dataclass(frozen=True)
class FeatureQuality:
    """One feature.

    Attributes:
        counts: rows per bin.
        missing, other, special: shares of the rows.
        outside: values outside the schema's range; None where it has none.
        constant: no two values lie in different bins.
        stability: index against the last accepted campaign; None where there was none.
    """

    name: str
    counts: tuple[int, ...]
    missing: float
    other: float
    special: float
    outside: int | None
    constant: bool
    stability: float | None


@dataclass(frozen=True)
class DataQuality:
    """A table under a schema.

    Attributes:
        labels: outcome → rows; None where the kind has no label.
        default_rate: among rows with a label; None where there are none.
        compared: the campaign whose counts were compared with.
        too_old: column of an adverse fact → values past the five-year limit, which are not used.
    """

    rows: int
    features: tuple[FeatureQuality, ...]
    labels: dict[str, int] | None
    default_rate: float | None
    compared: KeptCounts | None
    too_old: Mapping[str, int] = field(default_factory=dict)

    def warnings(self) -> list[Warned]:
        """Findings, features in order."""
        found = [warned for feature in self.features for warned in self._of(feature)]
        found += [
            Warned("adverse-too-old", {"feature": column, "count": str(count)})
            for column, count in self.too_old.items()
            if count
        ]
        if self.labels is not None and min(self.labels["defaulted"], self.labels["performing"]) < FEW_OF_A_CLASS:
            found.append(Warned("few-of-a-class", {name: str(count) for name, count in self.labels.items()}))
        return found

    def _of(self, feature: FeatureQuality) -> Iterator[Warned]:
        name = {"feature": feature.name}
        if feature.constant:
            yield Warned("constant", name)
        if feature.missing >= MOSTLY_MISSING:
            yield Warned("mostly-missing", {**name, "share": f"{feature.missing:.1%}"})
        if feature.other >= MANY_OTHERS:
            yield Warned("many-others", {**name, "share": f"{feature.other:.1%}"})
        if feature.outside:
            yield Warned("out-of-range", {**name, "count": str(feature.outside)})
        if self.compared is not None and feature.stability is not None and feature.stability >= MOVED:
            code = "moved-much" if feature.stability >= MOVED_MUCH else "moved"
            yield Warned(code, {**name, "campaign": self.compared.campaign_id, "index": f"{feature.stability:.2f}"})


def assess(table: NodeTable, schema: Schema, kind: str, before: KeptCounts | None) -> DataQuality:
    """Look at a table that fits its schema.

    Args:
        table: as loaded.
        schema: that it follows.
        kind: of the node.
        before: counts of the last accepted campaign under this schema, if there was one.
    """
    features = on_grid(schema).features(kind)
    counted = BinCounts([feature.width for feature in features])
    counted.add(table.codes)
    counts = counted.counts()
    compared = before if before is not None and [*map(len, before.counts)] == [*map(len, counts)] else None
    found = tuple(
        _feature(feature, counts[at], table.outside[at], None if compared is None else compared.counts[at])
        for at, feature in enumerate(features)
    )
    labels, rate = None, None
    if table.outcome is not None:
        numbers = np.bincount(table.outcome, minlength=len(OUTCOMES)).tolist()
        labels = dict(zip(OUTCOMES, numbers, strict=True))
        labelled = numbers[DEFAULTED] + numbers[PERFORMING]
        rate = numbers[DEFAULTED] / labelled if labelled else None
    return DataQuality(len(table.ids), found, labels, rate, compared, table.too_old)


def as_plain(quality: DataQuality, schema: Schema, kind: str, lang: str) -> dict[str, Any]:
    """The report as JSON has it; bins and titles in a language."""
    features = []
    for spec, each in zip(on_grid(schema).features(kind), quality.features, strict=True):
        labels = spec.spec.bin_labels(lang)
        top = int(np.argmax(each.counts))
        features.append(
            {
                "name": each.name,
                "title": spec.spec.title.text(lang),
                "bins": spec.width,
                "missing_share": round(each.missing, 6),
                "other_share": round(each.other, 6),
                "special_share": round(each.special, 6),
                "out_of_range": each.outside,
                "constant": each.constant,
                "stability_index": None if each.stability is None else round(each.stability, 4),
                "largest_bin": labels[top],
                "largest_share": round(each.counts[top] / max(quality.rows, 1), 6),
                "empty_bins": sum(count == 0 for count in each.counts),
                "counts": [{"bin": label, "rows": count} for label, count in zip(labels, each.counts, strict=True)],
            }
        )
    compared = None
    if quality.compared is not None:
        compared = {
            "campaign_id": quality.compared.campaign_id,
            "accepted_at": quality.compared.accepted_at.isoformat(),
        }
    return {
        "rows": quality.rows,
        "features": features,
        "labels": quality.labels,
        "default_rate": None if quality.default_rate is None else round(quality.default_rate, 6),
        "adverse_too_old": dict(quality.too_old),
        "compared_with": compared,
        "warnings": [asdict(each) for each in quality.warnings()],
    }


def _feature(feature: FeatureSpec, counts: Sequence[int], outside: int, before: Sequence[int] | None) -> FeatureQuality:
    spec, rows = feature.spec, max(sum(counts), 1)
    valued = [count for code, count in enumerate(counts) if code not in spec.missing_bins]
    other = 0 if spec.other_bin is None else counts[spec.other_bin]
    return FeatureQuality(
        name=feature.name,
        counts=tuple(counts),
        missing=sum(counts[code] for code in spec.missing_bins) / rows,
        other=other / rows,
        special=sum(counts[code] for code in spec.special_bins) / rows,
        outside=outside if spec.range is not None else None,
        constant=sum(count > 0 for count in valued) <= 1,
        stability=None if before is None else stability_index(before, counts),
    )
