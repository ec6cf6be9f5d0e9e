"""The table of points as data for a spreadsheet: what each bin gives, and what the noisy table says of it by itself.

Numbers stay numbers. Shares, rates, weights of evidence and information values come from the published noisy table
(`models.evidence`), with intervals of 95 % for chance and noise; they are empty where the table is not known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np

from models.card_content import CardFacts
from models.card_points import bin_names
from models.card_sections import limit_texts
from models.card_voice import Voice
from models.evidence import FeatureEvidence, evidence_of
from models.score_bands import score_shares
from models.scorecard import BAND_EDGES, BANDS, SCORE_MIN, Scorecard, band_of, points_range

PointsFormat: TypeAlias = Literal["csv", "xlsx"]
MEDIA: dict[PointsFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
"""Format → media type."""
Value = str | int | float | None
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""A spreadsheet takes a text that begins so for a formula (the wide ones in Chinese settings), also after blanks."""
_PD_STEP = 10


@dataclass(frozen=True)
class Heading:
    """A column: its name, and whether its numbers are shares, counts of points, or plain figures."""

    name: str
    form: str = "text"


@dataclass(frozen=True)
class Sheet:
    """Rows under headings."""

    name: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class PointsTable:
    """All sheets in one language.

    Attributes:
        title: of the file.
        created: of the model.
        points: one row a bin; before them the base, and points without any record at each source.
        bands: bands with their scores.
        probabilities: score → probability of default.
        privacy: what it cost, and what to beware of.
    """

    title: str
    created: datetime
    points: Sheet
    bands: Sheet
    probabilities: Sheet
    privacy: Sheet

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """In the order of a workbook."""
        return (self.points, self.bands, self.probabilities, self.privacy)


def points_table(facts: CardFacts, lang: str) -> PointsTable:
    """The table of points of a scorecard.

    Args:
        facts: of the model; without a table of counts the columns of evidence are empty.
        lang: ``"zh"`` or ``"en"``.

    Raises:
        ArtefactError: this is no scorecard, or it is malformed.
    """
    say, card = Voice(lang), facts.artefact.card()
    return PointsTable(
        title=say.named("Table of points", facts.artefact.model_id),
        created=facts.artefact.created,
        points=_points(say, facts, card),
        bands=_bands(say, facts, card),
        probabilities=_probabilities(say, card),
        privacy=_privacy(say, facts),
    )


def points_csv(table: PointsTable) -> bytes:
    """The sheet of points as CSV (RFC 4180) in UTF-8 with the mark by which Excel knows it.

    Texts that a spreadsheet would take for a formula get an apostrophe in front: titles come from a schema file.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([harmless(heading.name) for heading in table.points.headings])
    for row in table.points.rows:
        writer.writerow(
            ["" if value is None else harmless(value) if isinstance(value, str) else value for value in row]
        )
    return out.getvalue().encode("utf-8-sig")


def file_name(model_id: str, form: PointsFormat) -> str:
    """Under which name a browser keeps it."""
    return f"digua-points-{model_id.removeprefix('sha256:')[:12]}.{form}"


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _points(say: Voice, facts: CardFacts, card: Scorecard) -> Sheet:
    headings = (
        Heading(say("Source")),
        Heading(say("Feature")),
        Heading(say("Bin")),
        Heading(say("Points"), "points"),
        Heading(say("Share of merchants"), "share"),
        *(Heading(name, "share") for name in _with_ends(say, say("Share of defaults"))),
        *(Heading(name, "figure") for name in _with_ends(say, "WoE")),
        *(Heading(name, "figure") for name in _with_ends(say, say("Information value"))),
    )
    empty = (None,) * (len(headings) - 4)
    schema = facts.artefact.schema_of()
    rows: list[tuple[Value, ...]] = [("", say("Base points"), "", card.base, *empty)]
    evidence: Sequence[FeatureEvidence | None] = [None] * len(card.features)
    if facts.table is not None:
        evidence = evidence_of(facts.table)
    for kind in card.kinds:
        source = say.kind(schema, kind)
        rows.append((source, say("Points without any record there"), "", card.absent[kind], *empty))
        for entry, known in zip(card.features, evidence, strict=True):
            if entry.feature.kind != kind:
                continue
            title = say.feature(schema, kind, entry.feature.name)
            for at, (label, points) in enumerate(zip(bin_names(say, schema, entry), entry.points, strict=True)):
                rows.append((source, title, label, points, *(empty if known is None else _evidence(known, at))))
    return Sheet(say("Points"), headings, tuple(rows))


def _evidence(known: FeatureEvidence, at: int) -> tuple[Value, ...]:
    found, value = known.bins[at], known.information
    values: list[Value] = [_rounded(found.share)]
    for each in (found.rate, found.woe_interval, value):
        ends = (None, None, None) if each is None else (each.value, each.low, each.high)
        values += [None if end is None else _rounded(end) for end in ends]
    return tuple(values)


def _bands(say: Voice, facts: CardFacts, card: Scorecard) -> Sheet:
    low, high = (card.base + points for points in points_range(card.features, card.absent))
    scores = np.arange(low, high + 1)
    names = band_of(card.pd_of(scores))
    shares = None if facts.table is None else score_shares(card, facts.table)
    rows: list[tuple[Value, ...]] = []
    for band, start, end in zip(BANDS, (0.0, *BAND_EDGES), (*BAND_EDGES, 1.0), strict=True):
        within = scores[names == band]
        ends = (int(within[0]), int(within[-1])) if within.size else (None, None)
        share = None if shares is None else _rounded(float(shares[within - SCORE_MIN].sum()))
        rows.append((band, start, end, *ends, share))
    headings = (
        Heading(say("Band")),
        Heading(say("Probability of default, from"), "share"),
        Heading(say("Probability of default, below"), "share"),
        Heading(say("Score, from"), "points"),
        Heading(say("Score, to"), "points"),
        Heading(say("Expected share of merchants, features taken as independent"), "share"),
    )
    return Sheet(say("Bands"), headings, tuple(rows))


def _probabilities(say: Voice, card: Scorecard) -> Sheet:
    low, high = (card.base + points for points in points_range(card.features, card.absent))
    scores = sorted({low, *range(_PD_STEP * (low // _PD_STEP + 1), high, _PD_STEP), high})
    pds = card.pd_of(np.array(scores))
    bands = band_of(pds)
    rows = tuple((score, round(float(pd), 6), str(band)) for score, pd, band in zip(scores, pds, bands, strict=True))
    headings = (
        Heading(say("Score"), "points"),
        Heading(say("Probability of default"), "share"),
        Heading(say("Band")),
    )
    return Sheet(say("Score and probability"), headings, rows)


def _privacy(say: Voice, facts: CardFacts) -> Sheet:
    artefact, privacy = facts.artefact, facts.artefact.privacy
    rows: list[tuple[Value, ...]] = [
        (say("Model id"), artefact.model_id),
        (say("Created"), artefact.created.isoformat()),
        (say("Training merchants"), artefact.cohort_size),
        ("ε", say("none") if privacy.epsilon is None else privacy.epsilon),
        ("δ", say("none") if privacy.delta is None else privacy.delta),
        (say("ε, one merchant's data replaced by any other"), privacy.epsilon_replace_one),
        (say("Noise on each count by outcome (σ)"), privacy.sigma_class),
        (say("Noise on each count of two bins together (σ)"), privacy.sigma_pair),
        (say("Digest of the opened table"), artefact.table_digest),
    ]
    if facts.evaluation is not None:
        rows += [
            ("AUC", facts.evaluation.auc.value),
            (say("AUC, lower end of the 95 % interval"), facts.evaluation.auc.low),
            (say("AUC, upper end of the 95 % interval"), facts.evaluation.auc.high),
        ]
    if privacy.epsilon is None:
        rows.append((say("Warning"), say("No privacy: this model was made without noise, for synthetic data only.")))
    if facts.table is None:
        rows.append((say("Warning"), say("The noisy table is not known here, so the columns of evidence are empty.")))
    rows += [(say("Warning"), say(text)) for text in limit_texts(artefact)]
    return Sheet(say("Privacy and limits"), (Heading(say("Name")), Heading(say("Value"))), tuple(rows))


def _with_ends(say: Voice, name: str) -> tuple[str, str, str]:
    return (
        name,
        say("{name}, lower end of the 95 % interval", name=name),
        say("{name}, upper end of the 95 % interval", name=name),
    )


def _rounded(value: float) -> float:
    """Six decimals: more is noise, and files stay the same wherever they are made."""
    return round(value, 6) + 0.0
