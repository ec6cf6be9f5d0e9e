"""A model card's words on scores: bands, probabilities, and every feature's points with the evidence beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.artefact import EncoderEntry
from models.card_charts import PointsChart
from models.card_content import Block, CardFacts, Facts, Figure, Section, Table, Text
from models.card_voice import Voice, percent, ratio, signed, whole
from models.encoder_scores import encoder_feature_edges
from models.evaluation import Interval
from models.evidence import FeatureEvidence, evidence_of
from models.schema import Schema
from models.scorecard import BAND_EDGES, BANDS, SCORE_MAX, SCORE_MIN, FeaturePoints, Scorecard, band_of, points_range
from models.stability import FeatureStability
from models.tables import encoder_feature


def bands_section(say: Voice, card: Scorecard) -> Section:
    """What a score means: bands with their scores, and PD at some scores."""
    low, high = (card.base + points for points in points_range(card.features, card.absent))
    scores = np.arange(low, high + 1)
    names = band_of(card.pd_of(scores))
    rows = []
    for band, edge in zip(BANDS, _band_texts(), strict=True):
        within = scores[names == band]
        rows.append((band, edge, f"{within[0]} – {within[-1]}" if within.size else "–"))
    formula = say(
        "Scores from {low} to {high} can occur. Log-odds of default = {intercept} − {slope} × score:",
        low=low,
        high=high,
        intercept=f"{card.calibration.intercept:.4f}",
        slope=f"{-card.calibration.slope:.6f}",
    )
    shown = [low, *range(50 * (low // 50 + 1), high, 50), high]
    at_scores = tuple((str(score), percent(float(card.pd_of(score)))) for score in shown)
    return Section(
        "bands",
        say("Bands"),
        (
            Table((say("Band"), say("Probability of default"), say("Score")), tuple(rows), numeric=1),
            Text(formula),
            Table((say("Score"), say("Probability of default")), at_scores, numeric=0),
        ),
    )


def points_sections(say: Voice, facts: CardFacts, card: Scorecard) -> tuple[Section, ...]:
    """The whole table of points: a part for each source, a chart and a table for each feature."""
    schema = facts.artefact.schema_of()
    text = say(
        "Score = {base} + points, between {low} and {high}; every {double} points the odds of default halve.",
        base=card.base,
        low=SCORE_MIN,
        high=SCORE_MAX,
        double=f"{card.points_to_double:.1f}",
    )
    blocks: list[Block] = [Text(text)]
    evidence: Sequence[FeatureEvidence | None] = [None] * len(card.features)
    if facts.table is not None:
        evidence = evidence_of(facts.table)
        blocks.append(
            Text(
                say(
                    "Beside the points stand shares, rates and weights of evidence (WoE) from the same noisy table: a "
                    "WoE above 0 is safer than the average. Intervals of 95 % (WoE: ±) allow for chance and noise, – "
                    "stands where they leave nothing to be said. What noise and chance add to an information value is "
                    "taken off it. Points also allow for the other features, so both may differ."
                )
            )
        )
        blocks.append(_values(say, schema, card, [each for each in evidence if each is not None]))
    reach = (
        min(min(entry.points) for entry in card.features),
        max(max(entry.points) for entry in card.features),
    )
    spreads: Sequence[FeatureStability | None] = [None] * len(card.features)
    if facts.stability is not None:
        spreads = facts.stability.features
    sections = [Section("points", say("Table of points"), tuple(blocks))]
    for kind in card.kinds:
        alone = say.named("Points without any record there", signed(card.absent[kind]))
        figures = [
            _feature(say, schema, entry, known, spread, reach)
            for entry, known, spread in zip(card.features, evidence, spreads, strict=True)
            if entry.feature.kind == kind
        ]
        heading = say.named("Source", say.kind(schema, kind))
        sections.append(Section(f"points-{kind}", heading, (Text(alone), *figures), level=3))
    return tuple(sections)


def encoder_section(say: Voice, schema: Schema, entry: EncoderEntry) -> Section:
    """What an encoder reads and gives."""
    titles = [feature.spec.title.text(say.lang) for feature in schema.features(entry.kind)]
    text = say("It reads the rows of one kind of source and gives a probability of default; it has no table of points.")
    items = (
        (say("Source"), say.kind(schema, entry.kind)),
        (say("Features"), say.listed(titles)),
        (say("Parameters"), whole(math.prod(entry.shape))),
        (say("Bins of its result as a feature of a scorecard, missing included"), str(len(entry.edges) + 2)),
    )
    return Section("encoder", say("Encoder"), (Text(text), Facts(items)))


def _values(say: Voice, schema: Schema, card: Scorecard, evidence: Sequence[FeatureEvidence]) -> Table:
    rows = []
    for entry, known in zip(card.features, evidence, strict=True):
        feature = entry.feature
        span = max(entry.points) - min(entry.points)
        names = (say.kind(schema, feature.kind), say.feature(schema, feature.kind, feature.name))
        value = known.information
        stated = ("–", "–") if value is None else (f"{value.value:.3f}", f"{value.low:.3f} – {value.high:.3f}")
        rows.append((span, (*names, *stated, str(span))))
    rows.sort(key=lambda row: -row[0])
    columns = (say("Source"), say("Feature"), say("Information value"), say("95 % interval"), say("Span of points"))
    return Table(columns, tuple(row for _, row in rows), numeric=2, caption=say("Features by weight"))


def _feature(
    say: Voice,
    schema: Schema,
    entry: FeaturePoints,
    known: FeatureEvidence | None,
    spread: FeatureStability | None,
    reach: tuple[int, int],
) -> Figure:
    feature = entry.feature
    title = say.feature(schema, feature.kind, feature.name)
    labels = bin_names(say, schema, entry)
    columns = [say("Bin"), say("Points") if spread is None else say("Points ± noise")]
    rows = [[label, signed(points)] for label, points in zip(labels, entry.points, strict=True)]
    if spread is not None:
        for row, deviation in zip(rows, spread.spread, strict=True):
            row[1] += f" ± {deviation:.0f}"
    if known is not None:
        columns += [say("Share of merchants"), say("Share of defaults"), "WoE"]
        for row, each in zip(rows, known.bins, strict=True):
            row += [percent(each.share, 1), _rate(each.rate), _weight(each.woe_interval)]
    best, worst = labels[int(np.argmax(entry.points))], labels[int(np.argmin(entry.points))]
    text = say(
        "From {low} points ({worst}) to {high} ({best}).",
        low=signed(min(entry.points)),
        high=signed(max(entry.points)),
        worst=worst,
        best=best,
    )
    chart = PointsChart(tuple(labels), entry.points, reach)
    table = Table(tuple(columns), tuple(tuple(row) for row in rows), numeric=1)
    return Figure(f"points-{feature.name}".replace(":", "-"), title, text, chart, table)


def _rate(of: Interval | None) -> str:
    if of is None:
        return "–"
    digits = 0 if of.high >= 0.1 else 1
    return f"{percent(of.value, 1)} ({100 * of.low:.{digits}f}–{100 * of.high:.{digits}f})"


def _weight(of: Interval | None) -> str:
    """A WoE with half of its interval, which is symmetric."""
    return "–" if of is None else f"{ratio(of.value)} ± {of.high - of.value:.2f}"


def bin_names(say: Voice, schema: Schema, entry: FeaturePoints) -> list[str]:
    """What the bins of a feature are called, an encoder's output included."""
    feature = entry.feature
    if feature.name != encoder_feature(feature.kind):
        return schema.bin_labels(feature.name, say.lang)
    shares = [f"{100 / (1 + math.exp(-edge)):.3g} %" for edge in encoder_feature_edges()]
    middle = [f"{low} – {high}" for low, high in pairwise(shares)]
    return [f"≤ {shares[0]}", *middle, f"> {shares[-1]}", say("missing")]


def _band_texts() -> list[str]:
    shares = [f"{100 * edge:g} %" for edge in BAND_EDGES]
    middle = [f"{low} – {high}" for low, high in pairwise(shares)]
    return [f"< {shares[0]}", *middle, f"≥ {shares[-1]}"]
